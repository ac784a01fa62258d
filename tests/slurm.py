"""A Slurm cluster of one node on 127.0.0.1, for tests: Debian's packages, our configuration.

It needs root, and /etc/slurm/slurm.conf must not exist. A job step of the executor plugin does not
get ``SLURM_CONF``, so the configuration must be at Slurm's default path. It is put there as a link,
which is removed at the end. Daemons listen only on the loopback interface.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
FOLDER = "st1k4m-slurm."
PACKAGES = "munge slurmctld slurmd slurm-client"

# The profile waits long, as on a shared cluster with jobs of hours. Tests need short waits.
HURRY = [
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--max-status-checks-per-second", "1", "--latency-wait", "10"),
]

# Without cgroups and accounting, Slurm finds processes by their parent and polls their memory.
CONF = """
ClusterName=st1k4m
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Missing(Exception):
    """Slurm cannot be set up on this machine; the message gives the reason."""


class Slurm:
    """A running cluster; a context manager that stops it at the end.

    Parameters
    ----------
    cpus, memory_mb
        Cores and memory that the node reports; the machine may have less.

    Raises
    ------
    Missing
        On entering: no root, no packages, or the machine already has a Slurm.
    """

    def __init__(self, cpus: int = 8, memory_mb: int = 16000) -> None:
        self.cpus, self.memory_mb = cpus, memory_mb

    def __enter__(self) -> "Slurm":
        _require()
        # Two test processes share the path of the configuration, so the second one waits.
        self._lock = open("/tmp/st1k4m-slurm.lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._daemons: list[subprocess.Popen] = []
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        if SYSTEM_CONF.is_symlink() and Path(os.readlink(SYSTEM_CONF)).parent == self.folder:
            SYSTEM_CONF.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _start(self) -> None:
        if SYSTEM_CONF.is_symlink():
            SYSTEM_CONF.unlink()  # a killed run left it, because this run has the lock
        conf = self.folder / "slurm.conf"
        conf.write_text(
            CONF.format(
                folder=self.folder,
                host=socket.gethostname().partition(".")[0],
                ports=_free_ports(2),
                cpus=self.cpus,
                memory_mb=self.memory_mb,
            )
        )
        (self.folder / "state").mkdir()
        (self.folder / "spool").mkdir()
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.symlink_to(conf)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.folder.chmod(0o755)
        own = {name: f"--{name}={self.folder}/munge.{name}" for name in ("socket", "pid-file")}
        own["log"] = f"--log-file={self.folder}/munge.log"
        own["seed"] = f"--seed-file={self.folder}/munge.seed"
        self._run("munged", "--foreground", "--force", f"--key-file={key}", *own.values())
        self._wait(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D", "-f", str(conf))
        self._run("slurmd", "-D", "-f", str(conf))
        self._wait(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), "slurmd")

    def _run(self, program: str, *arguments: str) -> None:
        with open(self.folder / f"{program}.out", "w") as output:
            path = shutil.which(program, path=_path())
            command = [path, *arguments]
            self._daemons.append(
                subprocess.Popen(command, stdout=output, stderr=output, preexec_fn=_die_with_parent)
            )

    def _wait(self, ready, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline or any(d.poll() is not None for d in self._daemons):
                outputs = [path.read_text()[-1000:] for path in self.folder.glob("*.out")]
                raise RuntimeError(f"{what} does not come up:\n" + "\n".join(outputs))
            time.sleep(0.1)

    def ask(self, *command: str) -> str:
        """Return the output of a Slurm command; empty if it fails."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def queue(self, columns: str = "%i %T") -> list[str]:
        """Return one line for each job that waits or runs."""
        return self.ask("squeue", "--noheader", f"--format={columns}").splitlines()


def _require() -> None:
    if os.geteuid() != 0:
        raise Missing("starting a Slurm needs root")
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if missing:
        raise Missing(f"no {', '.join(missing)}; Debian: apt-get install {PACKAGES}")
    ours = SYSTEM_CONF.is_symlink() and FOLDER in os.readlink(SYSTEM_CONF)
    if os.path.lexists(SYSTEM_CONF) and not ours:
        raise Missing(f"this machine has a Slurm of its own: {SYSTEM_CONF}")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports
