"""Time and memory of each step for a VisiumHD slide of one's own, from 10x HDF5.

    python tests/benchmarks/bench_own.py --bins 600000 --genes-found 350 --bin-um 8 DIR
    python tests/benchmarks/bench_own.py --bins 10000000 --genes-found 10 --bin-um 2 --steps 2 DIR

A generated slide goes into DIR and stays there for the next run. Each step is a process of its
own, so its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from measure import REPOSITORY

GENES = 18_085


def make(folder, bins, found, bin_um, chunk=20_000):
    """Write ``binned_outputs`` with so many bins in tissue, and so many genes found in each."""
    import cv2
    import h5py
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = folder / f"outs/binned_outputs/square_{bin_um:03d}um"
    if (top / "done").exists():
        return
    (top / "spatial").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(bins * 1.15)))
    row, col = np.divmod(np.arange(side * side, dtype=np.int32), side)
    in_tissue = (np.arange(side * side) < bins).astype(np.int32)
    names = np.empty(side * side, "S21")
    for line in range(side):
        numbers = [f"s_{bin_um:03d}um_{line:05d}_{place:05d}-1" for place in range(side)]
        names[line * side : (line + 1) * side] = numbers
    pitch = bin_um / 0.2737
    positions = {
        "barcode": pa.array(names).cast(pa.string()),
        "in_tissue": in_tissue,
        "array_row": row,
        "array_col": col,
        "pxl_row_in_fullres": 50 + row * pitch,
        "pxl_col_in_fullres": 50 + (side - col) * pitch,
    }
    pq.write_table(pa.table(positions), top / "spatial/tissue_positions.parquet")
    scale = 6000 / (side * pitch + 100)
    factors = {
        "spot_diameter_fullres": pitch,
        "bin_size_um": float(bin_um),
        "microns_per_pixel": 0.2737,
        "tissue_hires_scalef": scale,
        "tissue_lowres_scalef": scale / 10,
    }
    (top / "spatial/scalefactors_json.json").write_text(json.dumps(factors))
    picture = rng.integers(90, 200, (600, 600, 3), np.uint8)
    picture = cv2.resize(picture, (6000, 6000), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(top / "spatial/tissue_hires_image.png"), picture)
    with h5py.File(top / "filtered_feature_bc_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        kwargs = {"chunks": (65_536,), "maxshape": (None,), "compression": "gzip"}
        kwargs["compression_opts"] = 1
        data = group.create_dataset("data", (0,), np.int32, **kwargs)
        indices = group.create_dataset("indices", (0,), np.int64, **kwargs)
        ends = [np.zeros(1, np.int64)]
        for begin in range(0, bins, chunk):
            count = min(chunk, bins - begin)
            sizes = rng.poisson(found, count)
            steps = rng.integers(1, 2 * GENES // (found + 2), sizes.sum())
            starts = np.concatenate([[0], np.cumsum(sizes)])
            place = np.cumsum(steps)
            place -= np.repeat(np.concatenate([[0], place])[starts[:-1]], sizes)
            good = place < GENES
            owner = np.repeat(np.arange(count), sizes)[good]
            place = place[good]
            values = rng.geometric(0.7, len(place)).astype(np.int32)
            for dataset, part in ((data, values), (indices, place)):
                dataset.resize(dataset.shape[0] + len(part), axis=0)
                dataset[-len(part) :] = part
            ends.append(np.cumsum(np.bincount(owner, minlength=count)) + ends[-1][-1])
        group["indptr"] = np.concatenate(ends)
        group["barcodes"] = names[:bins]
        group["shape"] = np.array([GENES, bins], np.int32)
        features = group.create_group("features")
        features["name"] = np.array([f"GENE{i}" for i in range(GENES)], "S")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(GENES)], "S")
        features["feature_type"] = np.array([b"Gene Expression"] * GENES)
    (top / "done").touch()


STEPS = ("read", "count_expression", "align_spots", "cut_tiles", "build_anndata", "draw_slide")


def run_step(step, folder, bin_um):
    """Run one step; it prints its seconds and its peak memory."""
    sys.path[:0] = [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests")]
    import yaml
    from st1k4m.run import settings
    from st1k4m.source.own_slides import recognise
    from st1k4m.source.own_table import COLUMNS

    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    row = dict.fromkeys(COLUMNS, "")
    found = recognise(row | {"slide": "S", "path": str(folder / "outs"), "bin": str(bin_um)})
    layout = {"name": found.layout, **found.parts, "missing": {}}
    image = found.parts["image"]["image"]
    begin = time.monotonic()
    if step == "read":
        from st1k4m.expression.read_own import read_own_counts

        counts, _ = read_own_counts("S", layout["counts"], folder)
        print(f"  {counts.matrix.nnz:,} counts that are not zero", file=sys.stderr)
    if step == "count_expression":
        from st1k4m.expression.count_expression import count_expression

        options = config["expression"]
        count_expression(
            "", "", folder / "x.h5ad", slide="S", species="human", options=options, layout=layout
        )
    if step == "align_spots":
        from st1k4m.geometry.align_spots import align_spots

        geometry = settings.read_geometry(REPOSITORY / "config/geometry.tsv")
        align_spots(
            "",
            image,
            folder / "s.parquet",
            slide="S",
            tech="VisiumHD",
            geometry=settings.rows_for(geometry, "S", "VisiumHD"),
            override=None,
            options=config["geometry"],
            layout=layout,
        )
    if step == "cut_tiles":
        from st1k4m.formats.expression import read_spot_names
        from st1k4m.tiles.cut_tiles import cut_tiles

        cut_tiles(
            image,
            folder / "s.parquet",
            read_spot_names(folder / "x.h5ad"),
            folder / "t.h5",
            slide="S",
            options=config["tiles"] | {"pixels": True},
        )
    if step == "build_anndata":
        from st1k4m.join.build_anndata import build_anndata

        parameters = {name: config[name] for name in ("expression", "geometry", "tiles")}
        build_anndata(
            folder / "x.h5ad",
            folder / "s.parquet",
            folder / "t.h5",
            folder / "a.h5ad",
            folder / "l.parquet",
            folder / "r.json",
            slide="S",
            study={
                "tech": "VisiumHD",
                "species": "human",
                "tissue": "brain",
                "pmid": "",
                "title": "",
            },
            parameters=parameters,
        )
    if step == "draw_slide":
        from st1k4m.report.draw_slide import draw_slide

        draw_slide(
            folder / "a.h5ad",
            folder / "t.h5",
            folder / "l.parquet",
            folder / "r.json",
            overlay=folder / "o.jpg",
            tissue=folder / "ti.jpg",
            thumbnail=folder / "th.jpg",
            sheet=folder / "sh.jpg",
            page=folder / "p.js",
        )
    seconds = time.monotonic() - begin
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: that includes what the parent had before.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps([seconds, used.ru_utime + used.ru_stime, peak / 1024]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bins", type=int, default=600_000)
    parser.add_argument("--genes-found", type=int, default=350)
    parser.add_argument("--bin-um", type=int, default=8)
    parser.add_argument("--steps", type=int, default=len(STEPS), help="how many of them")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        run_step(given.step, given.folder, given.bin_um)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    make(given.folder, given.bins, given.genes_found, given.bin_um)
    size = next(given.folder.rglob("filtered_feature_bc_matrix.h5")).stat().st_size
    print(f"{given.bins:,} bins, {size / 1e6:,.0f} MB of 10x HDF5")
    for step in STEPS[: given.steps]:
        words = [sys.executable, __file__, str(given.folder), "--step", step]
        done = subprocess.run(
            [*words, "--bin-um", str(given.bin_um)], stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            print(f"{step:18} failed")
            return
        wall, cpu, peak = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{step:18} {wall:7.1f} s, {cpu:7.1f} CPU s, {peak:7,.0f} MB")


if __name__ == "__main__":
    main()
