"""Deployed flows on a Prefect server with PostgreSQL and Redis, run by a process worker."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tests.e2e.conftest import Project
from tests.services.daemons import require
from tests.services.prefect_server import Server
from tests.services.slurm import Slurm, running_slurm

pytestmark = pytest.mark.services
STAGES = ["tasks", "corpus", "tokenizer", "encoding", "masking", "pretraining", "finetuning@first"]
WORKER = {
    "CLOZE_TRACKING": "off",
    "CLOZE_PARALLEL_RUNS": "3",
    "CLOZE_LOG_INTERVAL_STEPS": "5",
    "CLOZE_GPUS": "0",
    "OMP_NUM_THREADS": "1",
    "CLOZE_WORKERS": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
}
STEPS = 400
ON_TWO_NODES = {
    "CLOZE_TRACKING": "on",
    "CLOZE_NODES": "2",
    "CLOZE_POLL_SECONDS": "0.2",
    "CLOZE_LOG_INTERVAL_STEPS": "1",
    "CLOZE_CHECKPOINT_INTERVAL_STEPS": "20",
}
LONG = {"overrides": {"pretraining": {"seed": 3, "budget": {"unit": "steps", "amount": 1500}}}}


@pytest.fixture(scope="module")
def server(postgres, redis_port, tmp_path_factory) -> Iterator[Server]:
    started = Server(postgres("prefect"), redis_port, tmp_path_factory.mktemp("server")).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def project(server, tmp_path_factory) -> Iterator[Project]:
    """The micro project with one task, its flows deployed and a worker at work."""
    made = Project(tmp_path_factory.mktemp("deployed"))
    tasks = {"first": made.params["finetuning"]["tasks"]["first"]}
    made.change({"finetuning": {"tasks": tasks, "seeds": [1, 2]}})
    bring_up(made, server)
    yield made
    made.run("python", "-m", "pipelines", "down", PREFECT_API_URL=server.url)


@pytest.fixture(scope="module")
def both(server, project) -> list[str]:
    """Two runs at once, with other parameters and of another revision; nothing is computed yet."""
    leave_revision(project, "second-seed", {"pretraining": {"seed": 2}})
    runs = [
        server.run("train/cpu", {"overrides": {"finetuning": {"seeds": [1]}}}),
        server.run("pretrain/cpu", {"revision": "second-seed"}),
    ]
    for run in runs:
        assert server.ended(run) == "Completed", server.log(run)[-6000:]
    return runs


@pytest.fixture(scope="module")
def schedule(server, both) -> str:
    """A cron that fires once, within a minute: `pretrain` in the checkout; its deployment's id."""
    deployment = server.deployment("pretrain/cpu")["id"]
    soon = datetime.now(UTC) + timedelta(seconds=65)
    cron = {"cron": f"{soon.minute} {soon.hour} * * *", "timezone": "UTC"}
    server.post(f"/deployments/{deployment}/schedules", [{"schedule": cron, "active": True}])
    return deployment


@pytest.fixture
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def bring_up(project: Project, server: Server) -> None:
    """Deploy the flows and start a worker, unless it runs."""
    up = project.run("python", "-m", "pipelines", "up", **WORKER, PREFECT_API_URL=server.url)
    assert up.returncode == 0, up.stderr[-4000:]


def workspace(project: Project, run: str) -> Path:
    """The worktree of a run."""
    for file in (project.root / ".cloze" / "runs").glob("*/run.json"):
        facts = json.loads(file.read_text())
        if facts["flow_run_id"] == run:
            return Path(facts["workspace"])
    raise AssertionError(f"no worktree of {run}")


def lock(folder: Path) -> dict[str, Any]:
    """Out -> hash, of a dvc.lock."""
    stages = YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"]
    outs = [out for stage in stages.values() for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs}


def git(project: Project, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=project.root, capture_output=True, text=True, check=True
    ).stdout


def leave_revision(project: Project, name: str, changes: dict[str, Any]) -> None:
    """A branch with other settings; the checkout stays as it is."""
    params = project.root / "params.yaml"
    before = params.read_bytes()
    project.change(changes)
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    git(project, "branch", name, git(project, *author, "stash", "create").strip())
    params.write_bytes(before)


def job_of(project: Project) -> tuple[str, Path]:
    """The id of the one job of a cluster, and the folder of its checkpoints; empty before it."""
    for record in (project.root / ".cloze" / "checkpoints").glob("*/job.json"):
        return json.loads(record.read_text()).get("id", ""), record.parent
    return "", project.root


def last_step(checkpoints: Path) -> int:
    """The last step that a job's log has."""
    text = "".join(file.read_text() for file in checkpoints.glob("*.log"))
    return max(map(int, re.findall(r" step number=(\d+)", text)), default=0)


def kill_worker(project: Project) -> None:
    """Kill the worker and all below it, as when its machine goes down."""
    record = json.loads((project.root / ".cloze/servers/worker-cpu.json").read_text())
    worker = psutil.Process(record["pid"])
    for process in (worker, *worker.children(recursive=True)):
        process.send_signal(signal.SIGKILL)


def alive_below(folder: Path) -> list[str]:
    """Command lines of the processes that work below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve().is_relative_to(folder):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [words for words in found if words and "shipper" not in words]


def test_every_flow_is_deployed_with_pools_queues_and_a_schedule_that_waits(server, project):
    found = server.post("/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in server.post("/flows/filter", {})}
    names = {f"{flows[one['flow_id']]}/{one['name']}" for one in found}
    six = ("train", "pretrain", "finetune", "evaluate", "compare", "refresh")
    assert names == {f"{flow}/{pool}" for flow in six for pool in ("cpu", "gpu")}
    assert server.get("/work_pools/cloze-cpu")["concurrency_limit"] == 3
    for pool in ("cloze-cpu", "cloze-gpu"):
        queues = server.post(f"/work_pools/{pool}/queues/filter", {})
        assert {one["name"]: one["priority"] for one in queues} == {
            "high": 1,
            "default": 2,
            "low": 3,
        }
    (nightly,) = server.deployment("refresh/cpu")["schedules"]
    assert (nightly["active"], nightly["schedule"]["cron"]) == (False, "0 2 * * *")
    automations = server.post("/automations/filter", {})
    assert [one["name"] for one in automations] == ["cloze-zombie-runs"]


def test_the_form_in_a_browser_shows_the_settings_with_their_sentences(server, project, tmp_path):
    require("chromium")
    place = f"{server.url.removesuffix('/api')}/deployments/deployment"
    page = f"{place}/{server.deployment('train/cpu')['id']}/run"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,2400"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    command += [f"--screenshot={tmp_path / 'form.png'}", "--dump-dom", page]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    text = re.sub(r"<[^>]*>", " ", shown.stdout)
    for name in ("recipe", "overrides", "launcher", "revision", "pretraining", "finetuning"):
        assert re.search(rf"\b{name}\b", text), f"{name} is not shown: {text[-3000:]}"
    assert "A branch, tag or commit whose code and settings are run" in text


def test_a_deployment_runs_from_the_api_and_every_stage_is_a_task(server, both):
    train, pretrain = both
    states = server.tasks(train)
    assert set(states) == {*STAGES, "evaluation", "registration", "gate"}
    assert states.pop("gate") == "Skipped"  # tracking is off
    assert set(states.values()) <= {"Completed", "Cached"}
    assert set(server.tasks(pretrain)) == set(STAGES[:-1])
    assert "### Scores" in server.artifacts(train)["cloze-scores"]
    facts = server.get(f"/flow_runs/{train}")
    assert facts["name"] == f"train-checkout-{train[:6]}"
    assert {"cloze", "cpu", "launcher:local"} <= set(facts["tags"])
    assert "revision:second-seed" in server.get(f"/flow_runs/{pretrain}")["tags"]


def test_two_runs_at_once_are_both_right_and_share_one_cache(server, project, both):
    first, second = (workspace(project, run) for run in both)
    one, other = lock(first), lock(second)
    for stage in ("tasks", "corpus", "tokenizer", "encoding", "masking"):
        assert one[f"artifacts/{stage}"] == other[f"artifacts/{stage}"]
    assert one["artifacts/pretraining"] != other["artifacts/pretraining"]
    params = YAML(typ="safe").load((first / "params.yaml").read_text())
    assert (params["finetuning"]["seeds"], params["pretraining"]["seed"]) == ([1], 1)
    params = YAML(typ="safe").load((second / "params.yaml").read_text())
    assert (params["finetuning"]["seeds"], params["pretraining"]["seed"]) == ([1, 2], 2)
    for run in both:
        assert not re.findall(r"ERROR.*lock.*", server.log(run))
    caches = {
        subprocess.run(
            ["dvc", "cache", "dir"],
            cwd=folder,
            env=project.environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for folder in (first, second)
    }
    assert len(caches) == 1


def test_a_run_leaves_a_branch_with_its_lock_and_the_checkout_as_it_was(project, both):
    branches = git(project, "branch", "--list", "cloze/*", "--format=%(refname:short)").split()
    for run in both:
        (branch,) = [name for name in branches if run[:6] in name]
        kept = git(project, "show", f"{branch}:dvc.lock")
        assert kept == (workspace(project, run) / "dvc.lock").read_text()
    assert git(project, "diff", "--cached", "--name-only") == ""
    assert not (project.root / "dvc.lock").exists()


@pytest.mark.usefixtures("schedule")
def test_cancelling_in_mid_training_ends_all_and_the_next_run_goes_on(server, project):
    run = server.run("pretrain/cpu", LONG)
    server.wait_for(
        lambda: "cloze-training-steps" in server.artifacts(run), lambda: server.log(run)[-4000:]
    )
    shown = server.artifacts(run)
    assert 0 < shown["cloze-training"] < 100
    assert "| step | done | loss | tokens/s |" in shown["cloze-training-steps"]
    place = workspace(project, run)
    server.cancel(run)
    assert server.ended(run) == "Cancelled", server.log(run)[-4000:]
    server.wait_for(lambda: not alive_below(place), lambda: str(alive_below(place)))
    assert "Run again with the same parameters" in server.artifacts(run)["cloze-what-to-do"]
    assert json.loads((place / ".dvc/tmp/rwlock").read_text() or "{}") == {}

    again = server.run("pretrain/cpu", LONG)
    assert server.ended(again) == "Completed", server.log(again)[-6000:]
    (step,) = re.findall(r"resumed step=(\d+)", server.log(again))
    assert 0 < int(step) < 1500


def test_a_cron_fires(server, schedule):
    wanted = {"deployments": {"id": {"any_": [schedule]}}}

    def fired() -> list[dict[str, Any]]:
        runs = server.post("/flow_runs/filter", wanted)
        return [one for one in runs if one["auto_scheduled"] and one["state_type"] != "SCHEDULED"]

    run = server.wait_for(fired)[0]["id"]
    assert server.ended(run) == "Completed", server.log(run)[-6000:]
    assert server.tasks(run)["pretraining"] == "Cached"


def test_a_killed_worker_leaves_its_slurm_job_alone_and_the_retry_attaches(server, project, slurm):
    (automation,) = server.post("/automations/filter", {})
    wanted = YAML(typ="safe").load((project.root / "infra/zombie-runs.yaml").read_text())
    wanted["trigger"]["within"] = 45  # heartbeats come every 30 s
    server.put(f"/automations/{automation['id']}", wanted)
    budget = {"unit": "steps", "amount": STEPS}
    changes = {"pretraining": {"seed": 4, "budget": budget, "eval_interval_steps": STEPS}}
    run = server.run(
        "pretrain/cpu",
        {"launcher": "slurm", "overrides": changes},
        environment={**ON_TWO_NODES, **slurm.environment},
    )
    server.wait_for(lambda: last_step(job_of(project)[1]) > 20, lambda: server.log(run)[-4000:])
    job, checkpoints = job_of(project)
    kill_worker(project)
    before = last_step(checkpoints)
    server.wait_for(lambda: last_step(checkpoints) > before)  # nobody is there, and it trains on
    slurm.ask("scontrol", "suspend", job)  # until somebody is
    bring_up(project, server)
    assert server.ended(run) == "Crashed"  # says the automation, for want of heartbeats
    place = workspace(project, run)

    server.post(f"/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED"}})
    server.wait_for(
        lambda: f"attached job={job}" in server.log(run), lambda: server.log(run)[-4000:]
    )
    slurm.ask("scontrol", "resume", job)
    assert server.ended(run) == "Completed", server.log(run)[-6000:]
    assert workspace(project, run) == place
    assert slurm.facts(job)["Restarts"] == "0"
    assert "resumed step=" not in server.log(run)
    replayed = project.run("python", "-m", "pipelines", "replay")
    assert replayed.returncode == 0, replayed.stderr
    client = MlflowClient(f"sqlite:///{project.root}/.cloze/mlflow/mlflow.db")
    mine = f"tags.`cloze.run_key` = '{checkpoints.name}'"
    experiment = client.get_experiment_by_name("cloze").experiment_id
    (tracked,) = client.search_runs([experiment], mine)
    points = client.get_metric_history(tracked.info.run_id, "loss")
    assert sorted(point.step for point in points) == list(range(1, STEPS + 1))
    assert tracked.info.status == "FINISHED"
