"""What sbatch is given, and how Slurm is read; the real one is in tests/services."""

import shlex
import sys
from pathlib import Path

import pytest

from stages.core.errors import SettingsError
from stages.pretraining.launchers import slurm
from stages.pretraining.launchers.cluster import ClusterError, Job, ask
from stages.pretraining.launchers.inside import read_words
from stages.pretraining.launchers.torchrun import Shape

ROOT = Path(__file__).resolve().parents[3]
WORKER = ["--out", "/state/checkpoints/key/export", "--params", "params file.yaml"]
WORKER += [word for name in ("encoding", "masking", "tokenizer") for word in (f"--{name}", name)]
WORKER += ["--checkpoints", "/state/checkpoints/key", "--run-key", "key"]


@pytest.fixture
def job():
    return Job("key-1", Path("/state/checkpoints/key"), WORKER, Shape(2, 8))


def options(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if "#SBATCH" in line]


def test_the_script_starts_one_task_a_node_and_is_queued_again(job, monkeypatch):
    monkeypatch.setenv("CLOZE_SLURM_PARTITION", "gpu")
    monkeypatch.setenv("CLOZE_SLURM_GPUS_PER_NODE", "8")
    script = slurm.script(job)
    assert script.startswith("#!/bin/sh\n")
    for option in (
        "--requeue",
        '"--nodes=2"',
        '"--ntasks-per-node=1"',
        '"--signal=B:USR1@180"',
        '"--open-mode=append"',
        '"--partition=gpu"',
        '"--gpus-per-node=8"',
    ):
        assert option in options(script), option
    assert not any("account" in option for option in options(script))


def test_the_example_is_what_the_launcher_submits(monkeypatch):
    for name, value in {
        "PARTITION": "gpu",
        "ACCOUNT": "nlp",
        "TIME": "24:00:00",
        "GPUS_PER_NODE": "8",
        "CPUS_PER_NODE": "64",
    }.items():
        monkeypatch.setenv(f"CLOZE_SLURM_{name}", value)
    monkeypatch.setattr(slurm, "state_root", lambda: Path("/cloze/state"))
    monkeypatch.setattr(Path, "cwd", lambda: Path("/cloze/checkout"))
    monkeypatch.setattr(sys, "executable", "/cloze/checkout/.venv/bin/python")
    key = "pretraining-0123456789abcdef"
    folder = Path("/cloze/state/checkpoints") / key
    words = ["--out", str(folder / "export"), "--params", str(folder / "params.yaml")]
    for name in ("encoding", "masking", "tokenizer"):
        words += [f"--{name}", f"artifacts/{name}"]
    words += ["--checkpoints", str(folder), "--run-key", key]
    example = (ROOT / "infra" / "slurm" / "pretraining.sbatch").read_text().splitlines()
    lines = [line for line in example if not line.startswith("# ")]
    script = slurm.script(Job(f"{key}-1", folder, words, Shape(2, 8)))
    assert lines == script.splitlines()


def test_the_program_reads_its_words_as_they_were_written(job):
    words = shlex.split(slurm.script(job).splitlines()[-1])
    inside = read_words(words[words.index(slurm.PROGRAM) + 1 :])
    assert (inside.name, inside.shape, inside.code) == ("key-1", job.shape, job.code)
    assert inside.worker == WORKER
    assert inside.paths["params"] == Path("params file.yaml")
    assert (inside.checkpoints, inside.run_key) == (Path("/state/checkpoints/key"), "key")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("PENDING", "waiting"),
        ("RUNNING", "running"),
        ("COMPLETING", "running"),  # also of a job that goes back into the queue
        ("SUSPENDED", "running"),
        ("COMPLETED", "over"),
        ("CANCELLED", "over"),
        ("NODE_FAIL", "over"),
    ],
)
def test_the_state_is_the_controllers(monkeypatch, state, expected):
    answer = f"JobId=7 JobName=key-1 JobState={state} Reason=None"
    monkeypatch.setattr(slurm, "ask", lambda _: answer)
    assert slurm.Slurm().poll("7") == expected


def test_a_forgotten_job_is_over_and_a_silent_controller_is_an_error(monkeypatch):
    def answer(message):
        def refuse(_):
            raise ClusterError(message)

        monkeypatch.setattr(slurm, "ask", refuse)

    answer("scontrol: slurm_load_jobs error: Invalid job id specified")
    assert slurm.Slurm().poll("7") == "over"
    answer("scontrol: slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(ClusterError):
        slurm.Slurm().poll("7")


def at(cluster, command):
    return f"--clusters={cluster}" in command


@pytest.fixture
def asked(monkeypatch):
    """The commands that Slurm's programs are called by; the cluster cpu does not know the job."""
    commands = []

    def answer(command, **_):
        commands.append(shlex.join(command))
        if command[0] == "squeue":
            heading = "".join(f"CLUSTER: {name}\n" for name in ("cpu", "gpu") if at(name, command))
            return heading + ("" if at("cpu", command) else "4711\n")
        return {"sbatch": "4711;gpu\n", "scontrol": "JobId=4711 JobState=RUNNING"}.get(
            command[0], ""
        )

    monkeypatch.setattr(slurm, "ask", answer)
    return commands


def test_a_job_of_another_cluster_is_asked_for_there(job, asked, monkeypatch):
    monkeypatch.setenv("CLOZE_SLURM_OPTIONS", "--qos=normal --clusters=cpu,gpu")
    launcher = slurm.Slurm()
    job_id = launcher.submit(job)
    assert job_id == launcher.attach(job) == "4711;gpu"
    assert launcher.poll(job_id) == "running"
    launcher.cancel(job_id, at_once=False)
    launcher.cancel(job_id, at_once=True)
    show = "scontrol --clusters=gpu show job 4711 --oneliner"
    assert [command for command in asked if not command.startswith(("sbatch", "squeue"))] == [
        show,
        "scancel --clusters=gpu --state=PENDING 4711",
        show,
        "scancel --clusters=gpu --batch --signal=USR2 4711",
        "scancel --clusters=gpu 4711",
    ]


@pytest.mark.parametrize("option", ["-M gpu", "-Mgpu", "--clusters gpu", "--cluster=gpu"])
def test_a_cluster_is_read_as_sbatch_reads_it(job, asked, monkeypatch, option):
    monkeypatch.setenv("CLOZE_SLURM_OPTIONS", option)
    assert slurm.Slurm().attach(job) == "4711;gpu"


def test_without_a_cluster_the_one_of_this_machine_is_asked(job, asked, monkeypatch):
    monkeypatch.delenv("CLOZE_SLURM_OPTIONS", raising=False)
    launcher = slurm.Slurm()
    assert launcher.attach(job) == "4711"
    launcher.cancel("4711", at_once=False)
    assert not any("cluster" in command for command in asked)


def test_the_log_is_read_on_from_where_it_was(job, tmp_path):
    job = Job("key-1", tmp_path, [], Shape(1, 1))
    reader = slurm.Slurm()
    assert reader.logs(job, "7") == ""
    job.log.write_text("one\n")
    assert reader.logs(job, "7") == "one\n"
    with job.log.open("a") as stream:
        stream.write("two\n")
    assert reader.logs(job, "7") == "two\n"


def test_options_whose_quotes_do_not_close_are_refused(monkeypatch):
    monkeypatch.setenv("CLOZE_SLURM_OPTIONS", "--comment='a")
    with pytest.raises(SettingsError, match=r"CLOZE_SLURM_OPTIONS is .*No closing quotation"):
        slurm._more_options()


def test_a_client_that_is_not_installed_is_named():
    with pytest.raises(ClusterError, match="no-such-client: not found on PATH"):
        ask(["no-such-client"])


def test_a_byte_of_a_log_that_is_no_text_ends_nothing():
    assert ask(["printf", r"loss \377\n"]) == "loss \N{REPLACEMENT CHARACTER}\n"
