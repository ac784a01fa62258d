"""What each replacement of rules/engine.py is worth: CPU of the driver, with it and without it.

python tests/benchmarks/bench_engine.py [--chains 400] [--folder bench]

Chains of two jobs that only touch their output, so that nearly all CPU is the scheduler's. Each run
leaves one function as Snakemake has it; the last leaves all three.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import measure

SNAKEFILE = """
import sys
sys.path.insert(0, {rules!r})
import engine
engine.adapt(tuple(seam for seam in engine.SEAMS if seam.name not in {left!r}))

rule all:
    input: expand("b/{{chain}}", chain=range({chains}))

rule first:
    output: "a/{{chain}}"
    shell: "touch {{output}}"

rule second:
    input: "a/{{chain}}"
    output: "b/{{chain}}"
    shell: "touch {{output}}"
"""


def run(folder: Path, chains: int, left: list[str]) -> tuple[float, float]:
    """Run the chains; wall seconds, and CPU seconds of the driver alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rules = str(measure.SCRIPTS.parent / "rules")
    (folder / "Snakefile").write_text(SNAKEFILE.format(rules=rules, left=left, chains=chains))
    words = [sys.executable, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", "--quiet"]
    begin = time.perf_counter()
    driver = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    used = 0.0
    while driver.poll() is None:
        try:
            fields = Path(f"/proc/{driver.pid}/stat").read_text().rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") or used
        except FileNotFoundError:
            pass
        time.sleep(0.2)
    if driver.returncode:
        raise SystemExit(f"the run failed:\n{driver.stderr.read().decode()[-2000:]}")
    return time.perf_counter() - begin, used


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    names = ["wait_for_files", "_schedule_reevalutation", "update_input_sizes"]
    print(f"{arguments.chains} chains of two jobs, two cores")
    print("left as Snakemake has it      wall s  driver CPU s")
    for what, left in [("none", []), *((name, [name]) for name in names[1:]), ("all", names)]:
        seconds, used = run(arguments.folder / "engine", arguments.chains, left)
        print(f"{what:28} {seconds:7.1f} {used:13.1f}", flush=True)


if __name__ == "__main__":
    main()
