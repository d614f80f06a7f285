"""The manifests of a training on Kubernetes: a Kubeflow TrainJob, or a JobSet without its operator.

Both start the same program in one pod a node. The workspace and the state root are folders of one
claim, mounted where they are on the machine that submits. Secrets are not among what is passed on.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.state import state_root
from stages.pretraining.launchers.cluster import Job
from stages.pretraining.launchers.inside import words
from stages.pretraining.launchers.torchrun import GRACE_SECONDS

PROGRAM = "stages.pretraining.launchers.pod"
NODE = "node"  # the replicated job and its container, as torch-distributed names them
_PORT = 29400
_MARGIN_SECONDS = 30
_MAX_RESTARTS = 10  # of all pods, by evictions too
_KEPT_SECONDS = 7 * 24 * 3600
_NO_RETRY_CODES = [2, 3]  # settings and inputs: trying again would not help
_PASSED_ON = (
    "CLOZE_WORKERS",
    "CLOZE_MICRO_BATCH_SEQUENCES",
    "CLOZE_LOG_INTERVAL_STEPS",
    "CLOZE_CHECKPOINT_INTERVAL_SECONDS",
    "CLOZE_CHECKPOINT_INTERVAL_STEPS",
    "CLOZE_SHARD_OPTIMIZER",
    "CLOZE_PROFILE",
    "HF_HUB_OFFLINE",
    "NCCL_DEBUG",
    "NCCL_SOCKET_IFNAME",
)


@dataclass(frozen=True)
class Place:
    """Where pods run and what they are given."""

    image: str
    claim: str
    """The persistent volume claim with workspace and state root."""
    mount: str
    gpus_per_node: int
    cpus_per_node: str
    """A quantity; empty: no limit."""
    memory_per_node: str
    runtime: str
    """The ClusterTrainingRuntime of a TrainJob."""


def train_job(job: Job, place: Place) -> dict[str, Any]:
    """A TrainJob; its operator makes a JobSet of the same name, and tells pods where to meet."""
    spec = _pod_spec(place)
    patched = {
        "terminationGracePeriodSeconds": spec["terminationGracePeriodSeconds"],
        "volumes": spec["volumes"],
        "containers": [{"name": NODE, "volumeMounts": _mounts(place)}],
    }
    patch = {"name": NODE, "template": {"spec": {"template": {"spec": patched}}}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(job),
        "spec": {
            "runtimeRef": {"name": place.runtime},
            "trainer": {
                "image": place.image,
                "command": _command(job),
                "env": _environment(),
                "numNodes": job.shape.nodes,
                "numProcPerNode": job.shape.processes,
                "resourcesPerNode": _resources(place),
            },
            "runtimePatches": [
                {
                    "manager": "cloze/launcher",
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [patch]}}},
                }
            ],
        },
    }


def job_set(job: Job, place: Place) -> dict[str, Any]:
    """A JobSet whose pods meet at the first one; all start again when one fails."""
    stop = {"name": "noretry", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(job),
        "spec": {
            "failurePolicy": {"maxRestarts": _MAX_RESTARTS, "rules": [stop]},
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "replicatedJobs": [
                {"name": NODE, "replicas": 1, "template": {"spec": _job_spec(job, place)}}
            ],
        },
    }


def _job_spec(job: Job, place: Place) -> dict[str, Any]:
    meeting = {
        "PET_MASTER_ADDR": f"{job.name}-{NODE}-0-0.{job.name}",
        "PET_MASTER_PORT": str(_PORT),
    }
    container = {
        "name": NODE,
        "image": place.image,
        "command": _command(job),
        "env": [*_environment(), *_variables(meeting)],
        "resources": _resources(place),
        "volumeMounts": _mounts(place),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    unmended = {"containerName": NODE, "operator": "In", "values": _NO_RETRY_CODES}
    return {
        "completionMode": "Indexed",
        "completions": job.shape.nodes,
        "parallelism": job.shape.nodes,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": unmended}]},
        "template": {"spec": _pod_spec(place) | {"containers": [container]}},
    }


def _pod_spec(place: Place) -> dict[str, Any]:
    """What pods of both kinds have, but for their container."""
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS + _MARGIN_SECONDS,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": place.claim}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # nccl and gloo between ranks
        ],
    }


def _mounts(place: Place) -> list[dict[str, str]]:
    return [
        {"name": "shared", "mountPath": place.mount},
        {"name": "memory", "mountPath": "/dev/shm"},  # noqa: S108
    ]


def _metadata(job: Job) -> dict[str, Any]:
    return {"name": job.name, "labels": {"app.kubernetes.io/name": "cloze-pretraining"}}


def _command(job: Job) -> list[str]:
    """The image's python over the workspace's code."""
    program = shlex.join(["python", "-m", PROGRAM, *words(job)])
    return ["sh", "-c", f"cd {shlex.quote(str(Path.cwd()))} && exec {program}"]


def _environment() -> list[dict[str, str]]:
    given = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    return _variables({"CLOZE_STATE": str(state_root()), **given})


def _variables(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _resources(place: Place) -> dict[str, dict[str, str]]:
    limits = {
        "nvidia.com/gpu": str(place.gpus_per_node) if place.gpus_per_node else "",
        "cpu": place.cpus_per_node,
        "memory": place.memory_per_node,
    }
    limits = {name: value for name, value in limits.items() if value}
    return {"limits": limits, "requests": dict(limits)}
