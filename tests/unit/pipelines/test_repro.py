import subprocess
import threading
import time

import pytest

from pipelines.environment import child_environment
from pipelines.processes import Children, Patience, StoppedError
from pipelines.repro import Outcome, StageError, read_changed, read_graph, reproduce_stage
from stages.core.errors import SettingsError

pytestmark = pytest.mark.slow


def reproduce(project, stage, lines=None):
    return reproduce_stage(
        stage,
        workspace=project,
        children=Children(),
        environment=child_environment(),
        on_line=[].append if lines is None else lines.append,
    )


def set_text(project, before, after):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace(before, after))


def test_the_graph_is_in_an_order_that_can_run(project):
    graph = read_graph(project)
    assert graph == {
        "first": (),
        "each@a": ("first",),
        "each@b": ("first",),
        "last": ("each@a", "each@b"),
    }
    assert next(iter(graph)) == "first"
    assert list(graph)[-1] == "last"


def test_an_unreadable_graph_is_a_settings_error_with_what_dvc_said(project):
    (project / "dvc.yaml").write_text("stages: {first: {cmdd: x}}\n")
    with pytest.raises(SettingsError, match=r"dvc dag --dot failed: .*(\n.*)*cmdd"):
        read_graph(project)


def test_a_stage_runs_then_is_skipped_then_comes_from_the_run_cache(project):
    lines = []
    assert reproduce(project, "first", lines) is Outcome.RAN
    assert "line of first" in lines
    assert "first" not in read_changed(project)
    assert reproduce(project, "first") is Outcome.SKIPPED
    (project / "out" / "first").unlink()
    assert "first" in read_changed(project)
    assert reproduce(project, "first") is Outcome.CACHED
    assert (project / "out" / "first").read_text() == "hello\n"


def test_a_failed_stage_says_its_code_and_its_last_words(project):
    path = project / "dvc.yaml"
    path.write_text(path.read_text().replace("echo line of first", "echo 'bad bounds' && exit 3"))
    with pytest.raises(
        StageError, match=r"'first' failed with exit code 3(.*\n)*.*bad bounds"
    ) as e:
        reproduce(project, "first")
    assert e.value.exit_code == 3


def test_cancelling_ends_dvc_and_its_grandchildren_and_leaves_no_lock(project):
    path = project / "dvc.yaml"
    # The shell of the stage starts one sleeper in its group and one in a session of its own.
    sleepers = "(setsid sleep 61.125 & sleep 61.125)"
    path.write_text(path.read_text().replace("echo line of first", f"echo begun && {sleepers}"))
    children = Children(Patience(interrupt=3, terminate=3, kill=5))
    begun = threading.Event()
    stopped = []

    def run() -> None:
        try:
            reproduce_stage(
                "first",
                workspace=project,
                children=children,
                environment=child_environment(),
                on_line=lambda line: begun.set() if line == "begun" else None,
            )
        except StoppedError as error:
            stopped.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    time.sleep(0.3)
    children.stop_all()
    thread.join(timeout=10)
    found = subprocess.run(["pgrep", "-f", "sleep 61.125"], capture_output=True, check=False)
    assert found.stdout == b""
    assert stopped
    set_text(project, "hello", "again")
    path.write_text(path.read_text().replace(sleepers, "true"))
    assert reproduce(project, "first") is Outcome.RAN  # neither lock nor path lock is held
