"""Run a command as a process of its own; the operating system's account of it."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"


@dataclass
class Usage:
    """What one finished command used."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def run(command: list[str], **environment: str) -> Usage:
    """Run ``command`` to its end.

    Returns
    -------
    Usage
        Wall and CPU seconds, peak resident memory of the process in MB (2**20 bytes), its output.

    Raises
    ------
    RuntimeError
        The command failed; the message holds what it printed.
    """
    begin = time.perf_counter()
    path = os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def workflow(workdir: Path, *arguments: str) -> list[str]:
    """Return the command that runs the workflow in ``workdir``."""
    command = [sys.executable, "-m", "snakemake", "-s", str(SCRIPTS.parent / "Snakefile")]
    return [*command, "--directory", str(workdir), *arguments]


def start_workflow(workdir: Path, *arguments: str) -> subprocess.Popen:
    """Start the workflow in ``workdir``; what it prints goes to ``terminal.txt`` there."""
    # The interpreter's own folder comes first, so that jobs find the same environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with open(workdir / "terminal.txt", "w") as terminal:
        return subprocess.Popen(
            workflow(workdir, *arguments),
            stdout=terminal,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path},
        )


def run_python(code: str, **environment: str) -> Usage:
    """Run Python source in a fresh interpreter that can import ``st1k4m``."""
    return run([sys.executable, "-c", code], **environment)
