"""What the whole expression step costs: beside the authors' way, on VisiumHD, by compression.

python tests/benchmarks/bench_expression.py [--quick] [--full] [--folder bench]

Every figure is that of a process from its start to its end, imports and writing included (the
authors' script writes nothing). ``--full`` makes a full VisiumHD slide, 605,471 x 18,085 and about
44 GB of text, where otherwise a cut of 40,000 bins is taken.
"""

import argparse
import sys
from pathlib import Path

import measure

OURS = """
from st1k4m.expression.count_expression import count_expression
count_expression({counts!r}, {coord!r}, {out!r}, slide={slide!r}, species="human",
                 options={options!r}, threads={threads})
"""
# Their notes 04 (expression) and 10 (variable genes): read dense, drop spots without genes,
# normalise to the median, log, 128 variable genes by Pearson residuals.
AUTHORS = """
import pandas as pd
import scanpy as sc
adata = sc.AnnData(pd.read_csv({counts!r}, index_col=0))
adata.var_names_make_unique()
coord = pd.read_csv({coord!r}, index_col=0)
adata = adata[adata.obs_names.isin(coord.index)].copy()
sc.pp.filter_cells(adata, min_genes=1)
sc.experimental.pp.highly_variable_genes(adata, flavor="pearson_residuals", n_top_genes=128)
sc.pp.normalize_total(adata)
sc.pp.log1p(adata)
"""
READ = """
import time, scanpy
begin = time.process_time()
scanpy.read_h5ad({out!r})
print(time.process_time() - begin)
"""


def make(folder: Path, slide: str, spots: int, genes: int, density: float) -> dict[str, str]:
    """Make the files of a slide in a process of its own; their paths."""
    paths = {part: str(folder / f"{slide}_{part}.csv") for part in ("count", "coord")}
    generator = str(Path(__file__).with_name("count_files.py"))
    numbers = [str(spots), str(genes), str(density)]
    measure.run([sys.executable, generator, paths["count"], *numbers])
    out = str(folder / f"{slide}.h5ad")
    return {"slide": slide, "counts": paths["count"], "coord": paths["coord"], "out": out}


def run_ours(paths: dict[str, str], compression: str = "gzip", threads: int = 1) -> measure.Usage:
    """Run our step."""
    options = {"compression": compression}
    return measure.run_python(OURS.format(options=options, threads=threads, **paths))


def fastest(run, repeat: int) -> measure.Usage:
    """Run several times; the fastest by CPU."""
    return min((run() for _ in range(repeat)), key=lambda usage: usage.cpu_seconds)


def show(name: str, usage: measure.Usage, more: str = "") -> None:
    """Print a line of a table."""
    print(
        f"  {name:24} {usage.seconds:8.2f} {usage.cpu_seconds:8.2f} {usage.peak_mb:8,.0f}  {more}",
        flush=True,
    )


def head(title: str, more: str = "") -> None:
    """Print the head of a table."""
    print(f"\n{title}\n  {'':24} {'s':>8} {'CPU s':>8} {'peak MB':>8}  {more}", flush=True)


def compare(folder: Path, quick: bool) -> None:
    """Time a median Visium slide, by compression and beside the authors' way."""
    spots, genes = (300, 5000) if quick else (2261, 32285)
    paths = make(folder, "Visium", spots, genes, 0.12)
    head(f"Visium, {spots:,} x {genes:,}", "file MB, CPU s for scanpy to read it")
    ours = {}
    for compression in ("none", "lzf", "gzip"):
        ours[compression] = fastest(lambda kind=compression: run_ours(paths, kind), 3)
        size = Path(paths["out"]).stat().st_size / 1e6
        reading = min(
            float(measure.run_python(READ.format(**paths)).output.split()[-1]) for _ in range(3)
        )
        show(f"ours, {compression}", ours[compression], f"{size:7,.1f} {reading:6.2f}")
    authors = measure.run_python(AUTHORS.format(**paths))
    ratio = authors.seconds / ours["gzip"].seconds
    cpu_ratio = authors.cpu_seconds / ours["gzip"].cpu_seconds
    show("the authors' way", authors, f"{ratio:.1f} times ours (gzip), {cpu_ratio:.1f} in CPU")
    remove(paths)


def start_up(folder: Path) -> None:
    """Time a slide of a few spots: what every job pays."""
    paths = make(folder, "Tiny", 5, 50, 0.5)
    head("A slide of 5 spots and 50 genes")
    show("ours", fastest(lambda: run_ours(paths), 5))
    show("python -c 'import scanpy'", fastest(lambda: measure.run_python("import scanpy"), 3))
    remove(paths)


def grow(folder: Path, cuts: list[int]) -> None:
    """Time VisiumHD, from cut to cut."""
    head("VisiumHD, 18,085 genes, 2 % non-zero", "GB of text, file MB")
    for bins in cuts:
        paths = make(folder, f"VisiumHD_{bins}", bins, 18085, 0.02)
        usage = run_ours(paths)
        text, size = (Path(paths[part]).stat().st_size for part in ("counts", "out"))
        show(f"{bins:,} bins", usage, f"{text / 1e9:6.1f} {size / 1e6:8,.0f}")
        remove(paths)


def remove(paths: dict[str, str]) -> None:
    """Remove a slide's files."""
    for part in ("counts", "coord", "out"):
        Path(paths[part]).unlink()


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small files, under a minute")
    parser.add_argument("--full", action="store_true", help="a full VisiumHD slide, and only that")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.full:
        grow(options.folder, [605471])
        return
    start_up(options.folder)
    compare(options.folder, options.quick)
    grow(options.folder, [1000, 4000] if options.quick else [10000, 40000])


if __name__ == "__main__":
    main()
