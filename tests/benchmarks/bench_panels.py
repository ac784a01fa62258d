"""What panels cost over the whole collection's number of slides, and over one large slide.

python tests/benchmarks/bench_panels.py [--slides 1149] [--spots 60] [--bins 200000]

The slides are generated: gene lists as published ones have them (one of 40 lists of 14,000 to
36,000 names; those of ST are their own), counts of 1,500 genes a spot. Every figure is that of a
process from its start to its end, imports and writing included.

- Over all slides: each method, its time and peak memory, and the panel's file.
- One large slide, in bins as VisiumHD's: our two passes beside scanpy with the slide in memory.
"""

import argparse
import json
import sys
from pathlib import Path

import anndata as ad
import measure
import numpy as np
import pandas as pd
from scipy import sparse

METHODS = {
    "overlap_hvg": {"n": 100, "share": 0.9},
    "hest": {"n": 50, "share": 0.9},
    "mean": {"n": 100, "share": 0.9},
    "slide_hvg": {"n": 128},
    "list": {},
}
OURS = """
import json
from st1k4m.collection.choose_panel import choose_panel
choose_panel("bench", json.loads({options!r}), {slides!r}, {anndata!r}, {table!r}, {stacked!r},
             genes={genes!r})
"""
SCANPY = """
import anndata as ad, scanpy as sc
data = ad.read_h5ad({path!r})
data = ad.AnnData(data.layers["counts"], var=data.var)
sc.pp.filter_cells(data, min_genes=1)
sc.pp.filter_genes(data, min_cells=1)
sc.pp.normalize_total(data)
sc.pp.log1p(data)
sc.pp.highly_variable_genes(data, n_top_genes=100)
data[:, data.var["highly_variable"]].copy().write_h5ad({stacked!r}, compression="gzip")
"""


def write_slide(path: Path, counts: sparse.csr_matrix, genes: list[str]) -> None:
    """Write what a panel reads of a slide's AnnData."""
    spots = counts.shape[0]
    names = [f"{path.stem}_spot{number}" for number in range(spots)]
    obs = pd.DataFrame(
        {
            "barcode": [f"spot{number}" for number in range(spots)],
            "array_row": np.arange(spots, dtype=np.int32),
            "array_col": np.arange(spots, dtype=np.int32),
            "in_tissue": True,
            "tile": np.arange(spots),
        },
        index=names,
    )
    ad.AnnData(
        obs=obs,
        var=pd.DataFrame({"name": genes}, index=genes),
        layers={"counts": counts},
        obsm={"spatial": np.zeros((spots, 2))},
    ).write_h5ad(path, compression="gzip", compression_opts=1)


def sample_counts(random, spots: int, genes: int, found: int) -> sparse.csr_matrix:
    """Counts with ``found`` genes in a spot on average, more often the first ones."""
    often = 1 / (np.arange(genes) + genes / 30)
    columns = random.choice(genes, spots * found, p=often / often.sum()).astype(np.int32)
    rows = np.repeat(np.arange(spots), found)
    values = random.geometric(0.4, len(columns)).astype(np.int32)
    counts = sparse.csr_matrix((values, (rows, columns)), shape=(spots, genes), dtype=np.int32)
    counts.sum_duplicates()
    return counts


def make_slides(folder: Path, number: int, spots: int) -> Path:
    """Make the slides below ``folder`` if they are not there; the table of slides."""
    table = folder / "slides.tsv"
    if table.exists():
        return table
    (folder / "anndata").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    every = [f"GENE{gene}" for gene in range(36_000)]
    lists = [np.sort(random.choice(36_000, 14_000 + 550 * place, False)) for place in range(40)]
    lists = [np.union1d(known, np.arange(12_000)) for known in lists]
    rows = []
    for place in range(number):
        tech = "ST" if place % 4 == 0 else "Visium"
        genes = lists[place % 40]
        if tech == "ST":  # genes without a count are not printed
            genes = genes[(genes < 11_000) | (random.random(len(genes)) < 0.9)]
        counts = sample_counts(random, spots, len(genes), 1_500)
        write_slide(folder / "anndata" / f"S{place:04d}.h5ad", counts, [every[g] for g in genes])
        rows.append((f"S{place:04d}", tech, "human", "brain", f"GSE{place // 6}", ""))
    columns = ["slide", "tech", "species", "tissue", "study", "patient"]
    pd.DataFrame(rows, columns=columns).to_csv(table, sep="\t", index=False)
    return table


def run(folder: Path, slides: Path, method: str, options: dict) -> tuple[measure.Usage, Path]:
    """Choose a panel in a process of its own."""
    stacked = folder / f"{method}.h5ad"
    genes = folder / "genes.txt"
    genes.write_text("".join(f"GENE{gene}\n" for gene in range(50)))
    code = OURS.format(
        options=json.dumps(
            {"method": method} | options | ({"genes": "genes.txt"} if method == "list" else {})
        ),
        slides=str(slides),
        anndata=str(slides.parent / "anndata"),
        table=str(folder / f"{method}.tsv"),
        stacked=str(stacked),
        genes=str(genes) if method == "list" else None,
    )
    return measure.run_python(code), stacked


def show(name: str, usage: measure.Usage, stacked: Path) -> None:
    """Print a line of a table."""
    print(
        f"  {name:24} {usage.seconds:8.1f} {usage.cpu_seconds:8.1f} {usage.peak_mb:8,.0f} "
        f"{stacked.stat().st_size / 1e6:8.1f}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=1149, help="0: none")
    parser.add_argument("--spots", type=int, default=60, help="of a slide")
    parser.add_argument("--bins", type=int, default=200_000, help="of the large slide; 0: none")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    arguments = parser.parse_args()
    print(f"  {'':24} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'file MB':>8}")
    if arguments.slides:
        over_many(arguments)
    if arguments.bins:
        over_one(arguments)


def over_many(arguments: argparse.Namespace) -> None:
    """Measure over many small slides."""
    many = make_slides(arguments.folder / "many", arguments.slides, arguments.spots)
    print(f"{arguments.slides:,} slides of {arguments.spots} spots", flush=True)
    for method in arguments.methods:
        show(method, *run(arguments.folder, many, method, METHODS[method]))


def over_one(arguments: argparse.Namespace) -> None:
    """Measure over one large slide."""
    large = arguments.folder / f"large{arguments.bins}"
    path = large / "anndata" / "Large.h5ad"
    if not path.exists():
        path.parent.mkdir(parents=True)
        counts = sample_counts(np.random.default_rng(1), arguments.bins, 18_000, 300)
        write_slide(path, counts, [f"GENE{gene}" for gene in range(18_000)])
        (large / "slides.tsv").write_text(
            "slide\ttech\tspecies\ttissue\tstudy\tpatient\nLarge\tVisiumHD\thuman\tcolon\tG\t\n"
        )
    print(f"one slide of {arguments.bins:,} bins", flush=True)
    for method in arguments.methods:
        show(method, *run(large, large / "slides.tsv", method, METHODS[method]))
    stacked = large / "scanpy.h5ad"
    usage = measure.run([sys.executable, "-c", SCANPY.format(path=str(path), stacked=str(stacked))])
    show("scanpy, in memory", usage, stacked)


if __name__ == "__main__":
    main()
