"""Temporary copies of the project, whose commands run as a user's, and which leave nothing running.

The micro project is that of the end-to-end tests: 60 short documents, 12 updates, two tasks. Every
copy is a repository of its own with a state root of its own, so that its servers, its MLflow store
and DVC's cache are its own too.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.tuning import TUNED
from stages.core.settings import PARAMS_FILE
from tests.e2e.conftest import ROOT, Project

_PATIENCE_SECONDS = 10


class UserProject(Project):
    """A copy whose commands have a user's environment: nothing of it is tuned for a comparison."""

    def environment(self, **variables: str) -> dict[str, str]:
        """As the tests', without what paired measurements run with."""
        environment = super().environment(**variables)
        return {name: value for name, value in environment.items() if name not in TUNED}

    def require(self, *command: str, **variables: str) -> str:
        """Run a command; returns what it said.

        Raises: RuntimeError: it failed.
        """
        result = self.run(*command, **variables)
        said = result.stdout + result.stderr
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {result.returncode}:\n{said}")
        return said


@contextmanager
def micro_project() -> Iterator[UserProject]:
    """The small one of the tests."""
    with tempfile.TemporaryDirectory(prefix="cloze-bench-") as folder:
        project = UserProject(Path(folder))
        try:
            yield project
        finally:
            _end_processes(project.root)


@contextmanager
def default_project() -> Iterator[UserProject]:
    """The project with params.yaml as it is: what `make run` runs on a fresh machine."""
    with micro_project() as project:
        shutil.copyfile(ROOT / PARAMS_FILE, project.root / PARAMS_FILE)
        yield project


def _end_processes(root: Path) -> None:
    """End what still works in or below a copy: its shipper, and servers that did not stop."""
    left = [process for process in psutil.process_iter() if _works_in(process, root)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=_PATIENCE_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_PATIENCE_SECONDS)


def _works_in(process: psutil.Process, root: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(root)
    except (psutil.Error, OSError):
        return False
