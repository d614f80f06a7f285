#!/usr/bin/env python3
"""A stand-in for kubectl and a cluster: objects are files, pods are processes of this host.

It knows what the launcher asks: apply, get, logs and delete of a TrainJob or JobSet. As Kubeflow's
operator and a cluster's DNS would, it tells pods where to meet. It schedules nothing, restarts
nothing and checks no schema.

    kubectl.py <verb> ...           as the launcher calls it; the folder is $KUBECTL_FOLDER
    kubectl.py pod <object> <index>  one pod: runs its container, stamps its lines
"""

import datetime
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["KUBECTL_FOLDER"])


def main(words):
    words = [word for word in words if not word.startswith("--namespace")]
    {"apply": apply, "get": get, "logs": logs, "delete": delete, "pod": pod}[words[0]](words[1:])


def apply(_words):
    manifest = json.load(sys.stdin)
    name = manifest["metadata"]["name"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        manifest["port"] = str(probe.getsockname()[1])
    place = FOLDER / f"{name}.json"
    is_new = not place.exists()
    place.write_text(json.dumps(manifest))
    for index in range(container(manifest)[2] if is_new else 0):
        subprocess.Popen(
            [sys.executable, __file__, "pod", name, str(index)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def container(manifest):
    """Command, environment and number of the pods."""
    spec = manifest["spec"]
    if manifest["kind"] == "TrainJob":
        return spec["trainer"]["command"], spec["trainer"]["env"], spec["trainer"]["numNodes"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    (only,) = job["template"]["spec"]["containers"]
    return only["command"], only["env"], job["parallelism"]


def pod(words):
    name, index = words
    manifest = json.loads((FOLDER / f"{name}.json").read_text())
    command, variables, _ = container(manifest)
    environment = {each["name"]: each["value"] for each in variables}
    environment |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": manifest["port"]}
    environment |= {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": index}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    stem = FOLDER / f"{name}-node-0-{index}"
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    stem.with_suffix(".pid").write_text(str(process.pid))
    with stem.with_suffix(".log").open("a", buffering=1) as log:
        for line in process.stdout:
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            log.write(f"{now} {line}")
    stem.with_suffix(".code").write_text(str(process.wait()))


def codes(name):
    """Exit codes of the pods that have ended."""
    return [int(path.read_text() or 0) for path in FOLDER.glob(f"{name}-node-0-*.code")]


def get(words):
    place = FOLDER / f"{words[1]}.json"
    if not place.exists():
        return
    manifest = json.loads(place.read_text())
    ended, total = codes(words[1]), container(manifest)[2]
    if len(ended) == total and manifest.get("deleted"):
        place.unlink()
        return
    is_train_job = manifest["kind"] == "TrainJob"
    status = {"jobsStatus" if is_train_job else "replicatedJobsStatus": [{"name": "node"}]}
    if list(FOLDER.glob(f"{words[1]}-node-0-*.pid")):
        next(iter(status.values()))[0]["active"] = 1
    if len(ended) == total:
        good = "Complete" if is_train_job else "Completed"
        status["conditions"] = [{"type": "Failed" if any(ended) else good, "status": "True"}]
    sys.stdout.write(json.dumps({**manifest, "status": status}))


def logs(words):
    name = next(w for w in words if w.startswith("--selector=")).rpartition("=")[2]
    since = next((w.partition("=")[2] for w in words if w.startswith("--since-time=")), "")
    for path in sorted(FOLDER.glob(f"{name}-node-0-*.log")):
        for line in path.read_text().splitlines():
            if line[:19] >= since[:19]:
                sys.stdout.write(f"[pod/{path.stem}/node] {line}\n")


def delete(words):
    place = FOLDER / f"{words[1]}.json"
    if not place.exists():
        return
    manifest = json.loads(place.read_text())
    if not manifest.get("deleted"):
        place.write_text(json.dumps({**manifest, "deleted": True}))
        for path in FOLDER.glob(f"{words[1]}-node-0-*.pid"):
            if not path.with_suffix(".code").exists():
                os.kill(int(path.read_text()), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
