"""A Slurm cluster of two nodes on one machine: its own munged, slurmctld and slurmd, on free ports.

The nodes have names and ports of their own and share the host. There is no accounting database.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.services.daemons import HOST, Daemon, free_port, listens, require

CORES = 8  # of a node, as Slurm is told: jobs of a test never wait for each other
_PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "squeue", "scancel")
_SBIN = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is queued again waits until its old credentials have expired: 2 minutes by default.
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
NodeName=n1 NodeHostname=localhost NodeAddr={address} Port={port_1} CPUs={cores}
NodeName=n2 NodeHostname=localhost NodeAddr={address} Port={port_2} CPUs={cores}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4 \
  PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=2
"""


class Slurm:
    """The running cluster; `environment` points Slurm's commands at it."""

    def __init__(self, configuration: Path) -> None:
        self.environment = {"SLURM_CONF": str(configuration)}

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands writes."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def queue(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        return self.ask("squeue", "--noheader", "--format=%i").split()

    def facts(self, job: str) -> dict[str, str]:
        """What the controller knows of a job, by its own names."""
        words = self.ask("scontrol", "show", "job", job, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def running_slurm(root: Path) -> Iterator[Slurm]:
    """Start the cluster in `root`; skips the test, by name, where a program is missing."""
    require(*_PROGRAMS)
    configuration = _configure(root)
    with ExitStack() as stack:
        for daemon in _daemons(root, configuration):
            stack.callback(daemon.start().stop)
        slurm = Slurm(configuration)
        stack.callback(_end_jobs, slurm)
        yield slurm


def _configure(root: Path) -> Path:
    ports = [free_port() for _ in range(3)]
    (root / "state").mkdir()
    for node in ("n1", "n2"):
        (root / node).mkdir()
    key = root / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    configuration = root / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname(),
            address=HOST,
            user=Path("/proc/self").owner(),
            root=root,
            cores=CORES,
            port=ports[0],
            port_1=ports[1],
            port_2=ports[2],
        )
    )
    return configuration


def _daemons(root: Path, configuration: Path) -> Iterator[Daemon]:
    """In the order of their start, all in the foreground."""
    place = root / "munge.socket"
    yield Daemon(
        [
            *(_program("munged"), "--foreground", "--force", f"--socket={place}"),
            *(f"--key-file={root}/munge.key", f"--pid-file={root}/munged.pid"),
            *(f"--log-file={root}/munged.log", f"--seed-file={root}/munged.seed"),
        ],
        root / "munged.out",
        is_ready=place.exists,
    )
    slurm = Slurm(configuration)
    port = int(configuration.read_text().split("SlurmctldPort=")[1].split()[0])
    yield Daemon(
        [_program("slurmctld"), "-D", "-f", str(configuration)],
        root / "slurmctld.out",
        is_ready=lambda: listens(port),
    )
    for node in ("n1", "n2"):
        yield Daemon(
            [_program("slurmd"), "-D", "-N", node, "-f", str(configuration)],
            root / f"{node}.out",
            is_ready=lambda node=node: _is_idle(slurm, node),
        )


def _program(name: str) -> str:
    return shutil.which(name, path=_SBIN) or name


def _is_idle(slurm: Slurm, node: str) -> bool:
    return slurm.ask("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip() == "idle"


def _end_jobs(slurm: Slurm) -> None:
    """End what a failed test left, while the daemons can."""
    if jobs := slurm.queue():
        slurm.ask("scancel", "--full", "--signal=KILL", *jobs)
        slurm.ask("scancel", *jobs)
