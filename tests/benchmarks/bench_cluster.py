"""What cluster jobs ask for and use: slides of very different size through a real Slurm.

python tests/benchmarks/bench_cluster.py [--quick] [--folder bench]

The slides of bench_costs.py, one after the other with ``--profile profiles/slurm`` on a Slurm of
one node, which needs root and Debian's packages: without them it says so and ends. Memory is that
of all processes of a job, as Slurm counts it: what is resident, pages that processes share in each.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import bench_costs
import measure

sys.path.insert(0, str(measure.SCRIPTS.parent / "tests"))

import slurm

# A job that asked for too little ends the benchmark, as what it must not come to.
PROFILE = ["--profile", str(measure.SCRIPTS.parent / "profiles/slurm"), "--retries", "0"]


def resident_mb(cluster: slurm.Slurm) -> float:
    """Return the memory of all jobs' processes."""
    pages = 0
    for job in cluster.queue("%i"):
        for line in cluster.ask("scontrol", "listpids", job).splitlines()[1:]:
            try:
                pages += int(Path(f"/proc/{line.split()[0]}/statm").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(cluster: slurm.Slurm, workdir: Path, dataset: Path) -> float:
    """Run the workflow through the cluster; return the most memory that was seen, in MB."""
    driver = measure.start_workflow(
        workdir, *PROFILE, *slurm.HURRY, "--config", f"dataset={dataset}"
    )
    peak = 0.0
    while driver.poll() is None:
        peak = max(peak, resident_mb(cluster))
        time.sleep(0.05)
    if driver.returncode:
        raise SystemExit(f"the run failed:\n{(workdir / 'terminal.txt').read_text()[-3000:]}")
    return peak


def ended(cluster: slurm.Slurm, workdir: Path) -> tuple[float, str, str]:
    """Return MB and time that a working directory's job asked for, and the time it took."""
    lines = cluster.ask("squeue", "--states=all", "--noheader", "--format=%m|%l|%M|%Z").splitlines()
    ((memory, limit, taken),) = (
        line.split("|")[:3] for line in lines if line.endswith(f"|{workdir}")
    )
    return float(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]], limit, taken


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small slides")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    folder = (arguments.folder / "cluster").resolve()
    try:
        with slurm.Slurm() as cluster:
            print("slide                 asked MB  used MB  ratio   asked time  taken")
            for slide in bench_costs.SLIDES[: bench_costs.QUICK if arguments.quick else None]:
                shutil.rmtree(folder, ignore_errors=True)
                workdir = folder / f"run-{slide['slide']}"
                workdir.mkdir(parents=True)
                bench_costs.make_slide(folder / "dataset", **slide)
                used = run(cluster, workdir, folder / "dataset")
                asked, limit, taken = ended(cluster, workdir)
                print(
                    f"{slide['slide']:20} {asked:9,.0f} {used:8,.0f} {asked / used:6.1f}   "
                    f"{limit:>10} {taken:>6}",
                    flush=True,
                )
    except slurm.Missing as reason:
        print(f"not measured: {reason}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
