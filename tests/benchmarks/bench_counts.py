"""How fast counts are read, beside pandas (the authors' way), polars, pyarrow and ``wc -l``.

python tests/benchmarks/bench_counts.py [--quick] [--ours] [--folder bench] [--repeat 3]

Each reading is a process of its own that imports what it needs, reads a tiny file, and only then
is timed; the fastest of ``--repeat`` runs counts (what takes longer than ten seconds runs once).
``wc -l`` is the plain reading of the bytes. On a busy machine trust the CPU seconds. pandas takes
12 GB of memory and many minutes for the largest Visium slide.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import measure

READERS = {
    "ours": "from st1k4m.counts import read_counts as read",
    "ours, 2 threads": """
from st1k4m.expression.dense_csv import read_counts
def read(path): return read_counts(path, threads=2)""",
    "polars": "from polars import read_csv as read",
    "pyarrow": """
from pyarrow import csv
def read(path): return csv.read_csv(path, csv.ReadOptions(block_size=1 << 24))""",
    "pandas": """
import pandas
def read(path): return pandas.read_csv(path, index_col=0)""",
}
TIMED = """
import json, time
{reader}
read({tiny!r})
begin, cpu_begin = time.perf_counter(), time.process_time()
found = read({path!r})
seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
matrix = getattr(found, "matrix", None)
parts = [matrix.data, matrix.indices, matrix.indptr] if matrix is not None else []
csr_mb = sum(part.nbytes for part in parts) / 2**20
print(json.dumps({{"seconds": seconds, "cpu_seconds": cpu_seconds, "csr_mb": csr_mb}}))
"""


@dataclass
class Kind:
    """A kind of file, and who reads it."""

    spots: int
    genes: int
    density: float
    whole: bool
    readers: tuple[str, ...]


ALL, OURS = tuple(READERS), ("ours", "ours, 2 threads")
KINDS = {
    "ST": Kind(400, 16000, 0.15, True, ALL),
    "Visium_median": Kind(2261, 32285, 0.12, False, ALL),
    "Visium_largest": Kind(2844, 94448, 0.06, False, ALL),
    "VisiumHD_20000": Kind(20000, 18085, 0.02, False, (*OURS, "polars")),
    "VisiumHD_40000": Kind(40000, 18085, 0.02, False, OURS),
    "VisiumHD_80000": Kind(80000, 18085, 0.02, False, OURS),
}
QUICK = {
    "ST": KINDS["ST"],
    "Visium_small": Kind(300, 32285, 0.12, False, ALL),
    "VisiumHD_1000": Kind(1000, 18085, 0.02, False, OURS),
    "VisiumHD_4000": Kind(4000, 18085, 0.02, False, OURS),
}


@dataclass
class Reading:
    """The fastest of several readings."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    csr_mb: float = 0.0


def read(reader: str, path: Path, tiny: Path, repeat: int) -> Reading:
    """Let one reader read a file."""
    code = TIMED.format(reader=READERS[reader], path=str(path), tiny=str(tiny))
    readings = []
    while len(readings) < repeat and not (readings and readings[0].seconds > 10):
        usage = measure.run_python(code)
        told = json.loads(usage.output.splitlines()[-1])
        readings.append(Reading(peak_mb=usage.peak_mb, **told))
    return min(readings, key=lambda reading: reading.seconds)


def count_lines(path: Path, repeat: int) -> Reading:
    """Let ``wc -l`` read a file, once to warm it."""
    usages = [measure.run(["wc", "-l", str(path)]) for _ in range(repeat + 1)]
    fastest = min(usages, key=lambda usage: usage.seconds)
    return Reading(fastest.seconds, fastest.cpu_seconds, fastest.peak_mb)


def make(path: Path, kind: Kind) -> Path:
    """Make a count file, in a process of its own: a large parent would count in later peaks."""
    command = [sys.executable, str(Path(__file__).with_name("count_files.py")), str(path)]
    command += [str(kind.spots), str(kind.genes), str(kind.density), *["--whole"] * kind.whole]
    measure.run(command)
    return path


def main() -> None:
    """Make the files, read them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small files, under a minute")
    parser.add_argument("--ours", action="store_true", help="leave out pandas, polars and pyarrow")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    tiny = make(options.folder / "Tiny_count.csv", Kind(3, 40, 0.5, False, ()))
    per_bin = {}
    for name, kind in (QUICK if options.quick else KINDS).items():
        path = make(options.folder / f"{name}_count.csv", kind)
        mb = path.stat().st_size / 1e6
        readings = {"wc -l": count_lines(path, options.repeat)}
        for reader in OURS if options.ours else kind.readers:
            readings[reader] = read(reader, path, tiny, options.repeat)
        lines, ours = readings["wc -l"], readings["ours"]
        if "HD" in name:
            per_bin[kind.spots] = ours.seconds / kind.spots
        print(f"\n{name}: {kind.spots:,} x {kind.genes:,}, {mb:,.0f} MB, ", end="")
        print(f"the matrix is {ours.csr_mb:,.0f} MB")
        print(f"  {'':16}       s  CPU s   MB/s  peak MB  to ours  to wc -l")
        for reader, reading in readings.items():
            print(
                f"  {reader:16} {reading.seconds:7.3f} {reading.cpu_seconds:6.2f} "
                f"{mb / reading.seconds:6,.0f} {reading.peak_mb:8,.0f} "
                f"{reading.seconds / ours.seconds:8.1f} {reading.seconds / lines.seconds:9.1f}"
            )
        path.unlink()
        path.with_name(f"{name}_coord.csv").unlink()
    print("\nGrowth: time for a bin, beside that in the smallest cut")
    for bins, took in per_bin.items():
        print(f"  {bins:6,} bins {took * 1e6:5.1f} us {took / per_bin[min(per_bin)]:5.2f}")


if __name__ == "__main__":
    main()
