"""What the engine costs when there are many slides: those of the published table, each a tiny one.

python tests/benchmarks/bench_scale.py [--all | --quick] [--meta PATH] [--folder bench]

Names, technologies and proportions are the published ones where ``--meta`` names the meta table;
otherwise as many are made up. Every step really runs, so that what the jobs cost is nearly all
start-up. Prints wall time, CPU of driver and jobs, memory of the driver, files left, and what a
run costs that has nothing to do. ``--all`` 1,149 slides take half an hour to an hour on two cores;
otherwise every fourteenth runs.
"""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import measure
import published

sys.path.insert(0, str(measure.SCRIPTS))

from st1k4m.demo import dataset as demo

STEP, QUICK_STEP = 14, 60


@dataclass
class Run:
    """A finished run: seconds and memory (MB) of the driver alone, and CPU seconds of its jobs."""

    seconds: float
    driver_cpu: float
    driver_mb: float
    jobs_cpu: float
    jobs: int


def make_dataset(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write the slides, a hundredth of their spots each."""
    spots = {"ST": (12, 60), "Visium": (12, 60), "VisiumHD": (100, 400)}
    slides = []
    for seed, row in enumerate(rows):
        fewest, most = spots[row["tech"]]
        facts = {key: row[key] for key in ("slide", "tech", "species", "tissue", "pmid")}
        facts["spots"] = min(max(int(row["spot_num"]) // 100, fewest), most)
        facts["um_per_px"] = 2.0 if row["tech"] == "VisiumHD" else 20.0
        slides.append({**facts, "genes": 40, "seed": seed})
    demo.make_dataset(folder, slides)


def run(workdir: Path, dataset: Path, *arguments: str) -> Run:
    """Run the workflow; watch the driver apart from its jobs."""
    begin = time.perf_counter()
    driver = measure.start_workflow(
        workdir, "--cores", "2", "--config", f"dataset={dataset}", *arguments
    )
    own_cpu = peak_mb = 0.0
    while not (ended := os.wait4(driver.pid, os.WNOHANG))[0]:
        own_cpu, peak_mb = watch(driver.pid) or (own_cpu, peak_mb)
        time.sleep(0.1)
    driver.returncode = os.waitstatus_to_exitcode(ended[1])
    text = (workdir / "terminal.txt").read_text()
    if driver.returncode:
        raise SystemExit(f"the run failed:\n{text[-3000:]}")
    total = ended[2].ru_utime + ended[2].ru_stime
    jobs = text.count("\nFinished jobid: ")
    return Run(time.perf_counter() - begin, own_cpu, peak_mb, total - own_cpu, jobs)


def watch(pid: int) -> tuple[float, float] | None:
    """Return CPU seconds and peak MB of one process so far; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if "VmHWM" not in status:
        return None
    ticks = int(fields[11]) + int(fields[12])
    peak = int(status.partition("VmHWM:")[2].split()[0])
    return ticks / os.sysconf("SC_CLK_TCK"), peak / 1024


def count_files(workdir: Path) -> Counter:
    """Count the files left, by folder."""
    files = (path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file())
    return Counter(str(Path(*path.parts[: 3 if "report" in path.parts else 2])) for path in files)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help=f"every {QUICK_STEP}th slide")
    which.add_argument("--all", action="store_true", help="all slides; half an hour or more")
    parser.add_argument("--meta", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    step = 1 if arguments.all else QUICK_STEP if arguments.quick else STEP
    rows = published.read_slides(arguments.meta)[::step]
    workdir, dataset = (arguments.folder / f"scale-{name}" for name in ("run", "dataset"))
    for path in (workdir, dataset):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    make_dataset(dataset, rows)

    print(f"{len(rows):,} slides on two cores")
    print("what           wall s  driver CPU s  driver MB  jobs CPU s   jobs  driver CPU s a job")
    for what, options in (("dry run", ["-n", "--quiet"]), ("run", []), ("again", [])):
        done = run(workdir, dataset.resolve(), *options)
        print(
            f"{what:12} {done.seconds:8.1f} {done.driver_cpu:13.1f} {done.driver_mb:10.0f} "
            f"{done.jobs_cpu:11.1f} {done.jobs:6,} {done.driver_cpu / max(done.jobs, 1):19.3f}",
            flush=True,
        )
    print("files left, a slide")
    for folder, files in sorted(count_files(workdir).items()):
        if files / len(rows) > 0.05:
            print(f"  {folder:28} {files / len(rows):.2f}")
    print(f"  {'.snakemake in all':28} {sum(count_files(workdir / '.snakemake').values()):,} files")


if __name__ == "__main__":
    main()
