"""An ending that starting again would repeat, told by a rank to the launcher.

torchrun starts all ranks again when one fails. So a rank among several that ends on purpose (wrong
settings, a full disk, a signal) leaves its exit code in a folder that the launcher named, and ends
with 0; ranks that lose their partner by it end with 0 too.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import ClozeError

FOLDER = "CLOZE_ENDINGS"  # set by the launcher where there are several ranks
log = logging.getLogger(__name__)


@contextmanager
def noting() -> Iterator[None]:
    """Log an error of ours once, however many ranks have it, and note its exit code.

    To be left before the process group is: when the others lose this rank, the note is there.
    """
    try:
        yield
    except ClozeError as error:
        if _note(error):
            log.error("%s", error)
        raise


def is_among_several() -> bool:
    """Whether the launcher reads notes, and not this process's exit code."""
    return FOLDER in os.environ


def is_noted() -> bool:
    """Whether a rank has ended on purpose, so that the rest must end too."""
    return is_among_several() and exit_code(Path(os.environ[FOLDER])) is not None


def exit_code(folder: Path) -> int | None:
    """The exit code that was noted, the lowest rank's; None without one."""
    notes = [path.read_text(encoding="utf-8").split() for path in folder.glob("*.ending")]
    codes = sorted((int(rank), int(code)) for rank, code in notes)
    return codes[0][1] if codes else None


def _note(error: ClozeError) -> bool:
    """Note an error; False where another rank has noted the same."""
    if not is_among_several():
        return True
    name = hashlib.sha256(str(error).encode()).hexdigest()[:16]
    note = Path(os.environ[FOLDER]) / f"{name}.ending"
    rank = os.environ["RANK"]  # a process id may be that of another machine too
    mine = note.with_suffix(f".{rank}")
    mine.write_text(f"{rank} {error.exit_code}", encoding="utf-8")
    try:
        os.link(mine, note)  # whole at once, and by one rank alone
    except FileExistsError:
        return False
    return True
