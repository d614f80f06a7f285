import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.processes import Children, OverdueError, Patience, StoppedError, stop_tree

# A child whose grandchild has left the group, and which both ignore what TREE_IGNORES says.
TREE = """
import os, signal, subprocess, sys, time
for name in os.environ["TREE_IGNORES"].split():
    signal.signal(getattr(signal, name), signal.SIG_IGN)
if sys.argv[1:] == ["grandchild"]:
    print("grandchild", os.getpid(), flush=True)
else:
    subprocess.Popen([sys.executable, __file__, "grandchild"], start_new_session=True)
    print("child", os.getpid(), flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Tree:
    """Runs TREE in a thread and collects its pids."""

    def __init__(self, folder: Path, children: Children, ignores: str) -> None:
        script = folder / "tree.py"
        script.write_text(TREE)
        self.pids: list[int] = []
        self.error: BaseException | None = None
        environment = {**os.environ, "TREE_IGNORES": ignores}
        command = [sys.executable, str(script)]

        def run() -> None:
            try:
                children.run(command, cwd=folder, environment=environment, on_line=self.note)
            except StoppedError as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()
        wait_for(lambda: len(self.pids) == 2)

    def note(self, line: str) -> None:
        words = line.split()
        if words and words[0] in ("child", "grandchild"):
            self.pids.append(int(words[1]))


def test_every_line_is_handed_over_and_the_exit_code_returned(tmp_path):
    lines: list[str] = []
    script = "import sys; print('one'); print('two\\rthree', file=sys.stderr); sys.exit(7)"
    code = Children().run(
        [sys.executable, "-u", "-c", script],
        cwd=tmp_path,
        environment=os.environ,
        on_line=lines.append,
    )
    assert (code, lines) == (7, ["one", "two", "three"])


def test_bytes_that_are_no_utf8_do_not_break_the_stream(tmp_path):
    lines: list[str] = []
    Children().run(
        ["printf", "a\\377b\\n"], cwd=tmp_path, environment=os.environ, on_line=lines.append
    )
    assert lines == ["a\ufffdb"]


@pytest.mark.parametrize("ignores", ["", "SIGINT", "SIGINT SIGTERM"])
def test_stopping_leaves_no_process_even_of_another_session(tmp_path, ignores):
    children = Children(Patience(interrupt=0.3, terminate=0.3, kill=5))
    tree = Tree(tmp_path, children, ignores)
    assert all(is_alive(pid) for pid in tree.pids)
    children.stop_all()
    tree.thread.join(timeout=10)
    assert not any(is_alive(pid) for pid in tree.pids)
    assert isinstance(tree.error, StoppedError)


def test_after_stopping_no_child_is_begun(tmp_path):
    children = Children()
    children.stop_all()
    with pytest.raises(StoppedError, match="cancelled: true was stopped or not begun"):
        children.run(["true"], cwd=tmp_path, environment=os.environ, on_line=print)


def test_a_failing_reader_ends_the_child(tmp_path):
    pids: list[int] = []

    def fail(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("reader")

    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(RuntimeError, match="reader"):
        Children().run(
            [sys.executable, "-c", script], cwd=tmp_path, environment=os.environ, on_line=fail
        )
    assert not is_alive(pids[0])


def test_stopping_a_tree_that_has_ended_is_done_at_once():
    assert stop_tree(2**22 - 1, Patience())


def test_the_shipper_outlives_the_tree(tmp_path):
    children = Children(Patience(interrupt=0.3, terminate=0.3, kill=5))
    shipper = "stages.core.tracking.shipper"
    script = f"""
import subprocess, sys, time
code = "import time; time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code, {shipper!r}], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
    pids: list[int] = []
    environment, command = dict(os.environ), [sys.executable, "-c", script]

    def run() -> None:
        with pytest.raises(StoppedError):
            children.run(
                command,
                cwd=tmp_path,
                environment=environment,
                on_line=lambda line: pids.append(int(line)) if line.isdigit() else None,
            )

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: bool(pids))
    children.stop_all()
    assert is_alive(pids[0])
    os.kill(pids[0], signal.SIGKILL)
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_child_that_takes_too_long_is_ended_and_told_apart():
    children = Children(Patience(interrupt=2, terminate=2, kill=2))
    with pytest.raises(OverdueError, match=r"was ended after 0\.2 s"):
        children.run(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            cwd=Path.cwd(),
            environment=dict(os.environ),
            on_line=lambda _line: None,
            timeout_seconds=0.2,
        )
    assert not children.is_stopping


COMMAND = """
import os, pathlib, signal, sys
from pipelines import __main__ as line
from pipelines.processes import Children

def work(arguments):
    \"\"\"Start a child that waits.\"\"\"
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    environment = dict(os.environ)
    Children().run([sys.executable, "-c", code], cwd=pathlib.Path.cwd(), environment=environment,
                   on_line=lambda text: print(text, flush=True))

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run below nohup
line.COMMANDS = (work,)
sys.argv[1:] = ["work"]
sys.exit(line.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_ends_its_children(number):
    command = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    child = int(command.stdout.readline())
    command.send_signal(number)
    assert command.wait(60) == 128 + number
    assert not is_alive(child)
