"""The launcher `kubernetes`: a TrainJob or a JobSet, by way of kubectl and its present context.

Options come from the environment: see docs/clusters.md.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from stages.core.errors import SettingsError
from stages.pretraining.launchers.cluster import ClusterError, Job, State, ask
from stages.pretraining.launchers.manifests import Place, job_set, train_job

_KINDS = {
    "TrainJob": ("trainjobs.trainer.kubeflow.org", train_job),
    "JobSet": ("jobsets.jobset.x-k8s.io", job_set),
}
_ENDED = {"Complete", "Completed", "Failed"}
_LINE = re.compile(r"\[(?P<pod>[^]]+)\] (?P<time>\S+) ?(?P<text>.*)")


class Kubernetes:
    """Jobs of the cluster that kubectl reaches."""

    name = "kubernetes"

    def __init__(self) -> None:
        """Raises: SettingsError: a variable is missing or not one of those expected."""
        kind = os.environ.get("CLOZE_KUBERNETES_KIND") or "TrainJob"
        if kind not in _KINDS:
            raise SettingsError(
                f"environment: CLOZE_KUBERNETES_KIND is {kind!r}, expected {' or '.join(_KINDS)}"
            )
        self._resource, self._make = _KINDS[kind]
        self._place = read_place()
        namespace = os.environ.get("CLOZE_KUBERNETES_NAMESPACE")
        self._kubectl = ["kubectl", *([f"--namespace={namespace}"] if namespace else [])]
        self._seen: dict[str, str] = {}  # pod -> time of its last line that was shown

    def submit(self, job: Job) -> str:
        """Create the object; its name is the id."""
        for folder in (Path.cwd(), job.folder):
            if not folder.is_relative_to(self._place.mount):
                raise SettingsError(
                    f"environment: CLOZE_KUBERNETES_MOUNT is {self._place.mount!r}, but {folder} "
                    "is not below it: workspace and state root (CLOZE_STATE) must lie on the claim"
                )
        manifest = json.dumps(self._make(job, self._place))
        ask([*self._kubectl, "apply", "--filename=-"], text=manifest)
        return job.name

    def attach(self, job: Job) -> str | None:
        """The job's name where its object is there."""
        return job.name if self._get(job.name) else None

    def poll(self, job_id: str) -> State:
        """By the object's conditions; without an object it is over."""
        found = self._get(job_id)
        status = found.get("status", {})
        holding = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
        if not found or holding & _ENDED:
            return "over"
        jobs = status.get("jobsStatus") or status.get("replicatedJobsStatus") or []
        return "running" if any(each.get("active") for each in jobs) else "waiting"

    def logs(self, job: Job, job_id: str) -> str:
        """What its pods have written since; pods that have not begun write nothing."""
        command = [*self._kubectl, "logs", f"--selector=jobset.sigs.k8s.io/jobset-name={job_id}"]
        command += ["--tail=-1", "--prefix", "--timestamps", "--ignore-errors"]
        if self._seen:
            command.append(f"--since-time={min(self._seen.values())}")
        try:
            lines = [_LINE.match(line) for line in ask(command).splitlines()]
        except ClusterError:
            return ""
        found = sorted((m["time"], m["pod"], m["text"]) for m in lines if m)
        news = [(time, pod, text) for time, pod, text in found if time > self._seen.get(pod, "")]
        self._seen |= {pod: time for time, pod, _ in news}
        return "".join(f"{text}\n" for _, _, text in news)

    def cancel(self, job_id: str, *, at_once: bool) -> None:
        """Delete the object once its pods have ended, which have time to save."""
        command = [*self._kubectl, "delete", self._resource, job_id, "--ignore-not-found"]
        if at_once:
            ask([*command, "--wait=false"])
        else:
            ask([*command, "--wait=false", "--cascade=foreground"])

    def _get(self, name: str) -> dict[str, Any]:
        wanted = ["get", self._resource, name, "--output=json", "--ignore-not-found"]
        answer = ask([*self._kubectl, *wanted])
        return json.loads(answer) if answer.strip() else {}


def read_place() -> Place:
    """What CLOZE_KUBERNETES_* say.

    Raises: SettingsError: image, claim or mount is missing, or the GPUs are no number.
    """
    given = {
        name: os.environ.get(f"CLOZE_KUBERNETES_{name}", "")
        for name in ("IMAGE", "CLAIM", "MOUNT", "GPUS_PER_NODE", "CPUS_PER_NODE", "MEMORY_PER_NODE")
    }
    for name in ("IMAGE", "CLAIM", "MOUNT"):
        if not given[name]:
            raise SettingsError(
                f"environment: CLOZE_KUBERNETES_{name} is not set; docs/clusters.md says what the "
                "launcher needs"
            )
    gpus = given["GPUS_PER_NODE"] or "0"
    if not gpus.isdecimal():
        raise SettingsError(
            f"environment: CLOZE_KUBERNETES_GPUS_PER_NODE is {gpus!r}, expected a whole number"
        )
    return Place(
        image=given["IMAGE"],
        claim=given["CLAIM"],
        mount=given["MOUNT"],
        gpus_per_node=int(gpus),
        cpus_per_node=given["CPUS_PER_NODE"],
        memory_per_node=given["MEMORY_PER_NODE"],
        runtime=os.environ.get("CLOZE_KUBERNETES_RUNTIME") or "torch-distributed",
    )
