import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.artifacts import content_hash, staged_directory
from stages.core.errors import StorageError
from stages.core.settings import read_yaml


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


@pytest.mark.slow
def test_content_hash_is_what_dvc_writes_to_its_lock_file(tmp_path: Path) -> None:
    _run("git", "init", "-q", cwd=tmp_path)
    _run(sys.executable, "-m", "dvc", "init", "-q", cwd=tmp_path)
    (tmp_path / "make.py").write_text(
        "from pathlib import Path\n"
        "for name in ['a.txt', 'a/b.bin', 'a-b', 'a/é x', 'z/deep/er/c.txt', 'B', 'empty']:\n"
        "    path = Path('out', name)\n"
        "    if name == 'a.txt': path = Path('out/a.txt')\n"
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    path.write_bytes(b'' if name == 'empty' else name.encode() * 1000)\n"
        "Path('one.json').write_text('{}')\n"
    )
    (tmp_path / "dvc.yaml").write_text(
        f"stages:\n  make:\n    cmd: {sys.executable} make.py\n    outs: [out, one.json]\n"
    )
    _run(sys.executable, "-m", "dvc", "repro", "-q", cwd=tmp_path)
    outs = {
        out["path"]: out["md5"]
        for out in read_yaml(tmp_path / "dvc.lock")["stages"]["make"]["outs"]
    }
    assert outs["out"].endswith(".dir")
    assert outs == {name: content_hash(tmp_path / name) for name in ("out", "one.json")}


def test_content_hash_sees_a_renamed_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    before = content_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_hash(tmp_path) != before


def test_a_disk_that_fills_while_a_folder_is_copied_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "weights").write_text("w")
    out = tmp_path / "out"

    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights")

    monkeypatch.setattr(shutil, "copyfile", fill)
    with (
        pytest.raises(StorageError, match=f"^{out}: cannot write: No space left on device; "),
        staged_directory(out) as temporary,
    ):
        shutil.copytree(tmp_path / "export", temporary, dirs_exist_ok=True)
    assert not out.exists()
