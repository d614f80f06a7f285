"""The command line of a stage: argv -> params -> run -> exit code, the same for every stage.

Artefact paths come from dvc.yaml as options; settings from params.yaml; how the stage is executed
from the environment. Exit codes: 0 done, 2 settings or usage, 3 bad input, 4 a server or cluster
that does not answer (another try may help), 1 a bug, 130/143 interrupted.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import ClozeError
from stages.core.logs import set_up_logging
from stages.core.settings import PARAMS_FILE, Section, load_section
from stages.core.tracking.journal import tracked_run

S = TypeVar("S", bound=Section)
log = logging.getLogger(__name__)


def stage_main(
    stage: str,
    model: type[S],
    run: Callable[..., None],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = ("out",),
    item: str | None = None,
    run_key: Callable[..., str] | None = None,
) -> int:
    """Parse argv, read the stage's section, call `run`, and return the exit code.

    Each name of `inputs` and `outputs` is a required option `--name PATH`. `run` is called as
    `run(params, paths, journal)`, the settings' file among the paths as `params`, and with the
    item as a fourth argument where `item` names one.
    `run_key(params, paths)` names a run that may be resumed under one tracking run.
    """
    set_up_logging(stage)
    signal.signal(signal.SIGTERM, _stop)
    arguments = _parser(stage, [*inputs, *outputs], item).parse_args()
    names = ("params", *inputs, *outputs)
    paths = {name: getattr(arguments, name) for name in names}
    extra = [arguments.item] if item else []
    try:
        params = load_section(model, stage, arguments.params)
        with tracked_run(
            stage,
            params=params.model_dump(mode="json"),
            inputs={name: paths[name] for name in inputs},
            outputs={name: paths[name] for name in outputs},
            item=arguments.item if item else None,
            key=run_key(params, paths) if run_key else None,
        ) as journal:
            run(params, paths, journal, *extra)
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130
    return 0


def command_main(
    stage: str, commands: Mapping[str, Callable[[list[str]], int | None]], argv: Sequence[str]
) -> int:
    """Run what is called beside a stage, by the name that `argv` begins with; its exit code.

    A command takes the words behind its name, and returns its code or nothing.
    """
    set_up_logging(stage)
    name, *words = argv
    try:
        return commands[name](words) or 0
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code


def _parser(stage: str, names: Sequence[str], item: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE)
    if item:
        parser.add_argument("item", metavar=item)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    return parser


def _stop(signum: int, _frame: Any) -> None:
    """Turn a signal into an exit, so that temporary folders are removed and the run is closed."""
    sys.exit(128 + signum)
