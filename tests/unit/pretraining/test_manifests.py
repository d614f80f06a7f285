"""The manifests of a training fit the published schemas; the examples in infra are what is sent.

Nothing may get lost between a manifest and its model: a model leaves out what it does not know.
"""

from pathlib import Path

import kubernetes_validate
import pytest
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet, TrainerV1alpha1TrainJob
from ruamel.yaml import YAML

from stages.core.errors import SettingsError
from stages.pretraining.launchers.cluster import Job
from stages.pretraining.launchers.kubernetes import Kubernetes, read_place
from stages.pretraining.launchers.manifests import job_set, train_job
from stages.pretraining.launchers.torchrun import Shape

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "infra" / "kubernetes"
VERSION = "1.30"  # of Kubernetes, whose schemas are held against the pods
MOUNT = "/cloze"
KEY = "pretraining-0123456789abcdef"


@pytest.fixture
def job(monkeypatch):
    """The job of the examples in infra/kubernetes."""
    monkeypatch.setenv("CLOZE_KUBERNETES_IMAGE", "cloze:cuda-0.1.0")
    monkeypatch.setenv("CLOZE_KUBERNETES_CLAIM", "cloze")
    monkeypatch.setenv("CLOZE_KUBERNETES_MOUNT", MOUNT)
    monkeypatch.setenv("CLOZE_KUBERNETES_GPUS_PER_NODE", "8")
    monkeypatch.setenv("CLOZE_KUBERNETES_CPUS_PER_NODE", "32")
    monkeypatch.setenv("CLOZE_KUBERNETES_MEMORY_PER_NODE", "256Gi")
    for name in ("CLOZE_WORKERS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        "stages.pretraining.launchers.manifests.state_root", lambda: Path(MOUNT) / "state"
    )
    monkeypatch.setattr(Path, "cwd", lambda: Path(MOUNT) / "checkout")
    folder = Path(MOUNT) / "state" / "checkpoints" / KEY
    words = ["--out", str(folder / "export"), "--params", str(folder / "params.yaml")]
    for name in ("encoding", "masking", "tokenizer"):
        words += [f"--{name}", f"artifacts/{name}"]
    words += ["--checkpoints", str(folder), "--run-key", KEY]
    return Job(f"{KEY}-1", folder, words, Shape(nodes=2, processes=8))


def test_a_train_job_is_one(job):
    manifest = train_job(job, read_place())
    known = TrainerV1alpha1TrainJob.from_dict(manifest)
    assert known.to_dict() == manifest


def test_a_job_set_is_one_and_its_pods_are_valid(job):
    manifest = job_set(job, read_place())
    known = JobsetV1alpha2JobSet.from_dict(manifest)
    assert known.to_dict() == manifest
    (replicated,) = manifest["spec"]["replicatedJobs"]
    pods = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "x"},
        "spec": replicated["template"]["spec"],
    }
    kubernetes_validate.validate(pods, VERSION, strict=True)
    pods["spec"]["template"]["spec"]["containers"][0]["comand"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pods, VERSION, strict=True)


@pytest.mark.parametrize(
    ("name", "make"), [("train-job.yaml", train_job), ("jobset.yaml", job_set)]
)
def test_the_examples_are_what_the_launcher_sends(job, name, make):
    example = YAML(typ="safe", pure=True).load((EXAMPLES / name).read_text())
    assert example == make(job, read_place())


def test_secrets_of_the_environment_stay_out_of_the_manifests(job, monkeypatch):
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "CLOZE_TOKEN"):
        monkeypatch.setenv(name, "s3cr3t")
    for make in (train_job, job_set):
        assert "s3cr3t" not in str(make(job, read_place()))


def test_what_a_pod_needs_is_asked_for(monkeypatch):
    with pytest.raises(SettingsError, match="CLOZE_KUBERNETES_IMAGE is not set"):
        Kubernetes()
    monkeypatch.setenv("CLOZE_KUBERNETES_KIND", "Pod")
    with pytest.raises(SettingsError, match="KIND is 'Pod', expected TrainJob or JobSet"):
        Kubernetes()


def test_folders_beside_the_claim_are_refused(job, monkeypatch):
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/me/cloze"))
    with pytest.raises(SettingsError, match="/home/me/cloze is not below it"):
        Kubernetes().submit(job)
