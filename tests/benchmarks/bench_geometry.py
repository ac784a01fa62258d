"""How long it takes to align the spots of a slide, up to the largest, and with how much memory.

python tests/benchmarks/bench_geometry.py [--quick] [--folder bench] [--repeat 3]

Each slide is aligned in a process of its own, from reading the coordinates to the written table;
seconds are those of the fastest of ``--repeat`` runs. ``ids`` are slides whose spot ids hold the
positions, as VisiumHD has them; ``centres`` have only centres, on a hexagonal lattice; ``doubt``
are mirrored ones, which also takes a look at the image. Beside it, pandas reads the same
coordinates.
"""

import argparse
import csv
import json
from pathlib import Path

import measure
import numpy as np

ALIGN = """
import json, time
from st1k4m.run import settings
from st1k4m.geometry.align_spots import align_spots
from st1k4m.formats.spots import read_spots
begin = time.perf_counter()
align_spots({coord!r}, {image!r}, {out!r}, slide={slide!r}, tech={tech!r}, override=None,
            geometry=settings.rows_for(settings.read_table({table!r}), {slide!r}, {tech!r}),
            options={{}})
seconds = time.perf_counter() - begin
table, facts = read_spots({out!r})
known = int((table.array_row >= 0).sum())
print(json.dumps({{"seconds": seconds, "known": known, "flags": facts["flags"]}}))
"""
PANDAS = """
import json, time
import pandas
begin = time.perf_counter()
pandas.read_csv({coord!r}, index_col=0)
print(json.dumps({{"seconds": time.perf_counter() - begin}}))
"""


def make_slide(folder: Path, kind: str, spots: int) -> dict:
    """Write coordinates of a square array with a third of its bins missing, and a plain image."""
    import cv2

    rng = np.random.default_rng(spots)
    side = int(np.ceil(np.sqrt(spots * 1.5)))
    row, col = np.divmod(np.sort(rng.choice(side * side, spots, replace=False)), side)
    step = 7.3
    if kind == "centres":
        col = 2 * col + row % 2
        x, y = col * step / 2, row * step * np.sqrt(3) / 2
        names = [f"{number:016d}-1" for number in range(spots)]
        tech, radius = "Visium", 0.325 * step
    else:
        x, y = (col if kind == "doubt" else side - col) * step, row * step
        names = [
            f"s_008um_{i:05d}_{j:05d}-1" for i, j in zip(row.tolist(), col.tolist(), strict=True)
        ]
        tech, radius = "VisiumHD", 0.5 * step
    x, y = x + 20 + 0.02 * y, y + 20
    slide = f"Bench_{kind}_{spots}"
    paths = {"coord": folder / f"{slide}_coord.csv", "image": folder / f"{slide}.png"}
    with paths["coord"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "yaxis", "xaxis", "r"])
        places = zip(names, y.tolist(), x.tolist(), strict=True)
        writer.writerows([f"{slide}_{name}", v, h, radius] for name, v, h in places)
    size = int(y.max()) + 20, int(x.max()) + 20
    image = np.full((*size, 3), 240, np.uint8)
    cv2.circle(image, (size[1] // 2, size[0] // 2), min(size) // 3, (180, 120, 220), -1)
    cv2.imwrite(str(paths["image"]), image)
    return {
        "slide": slide,
        "tech": tech,
        "out": str(folder / f"{slide}.parquet"),
        "table": str(measure.REPOSITORY / "config" / "geometry.tsv"),
        **{key: str(path) for key, path in paths.items()},
    }


def fastest(code: str, repeat: int) -> tuple[dict, float]:
    """Run code several times; what the fastest run told, and its peak memory in MB."""
    runs = []
    for _ in range(repeat):
        usage = measure.run_python(code)
        runs.append((json.loads(usage.output.splitlines()[-1]), usage.peak_mb))
    return min(runs, key=lambda run: run[0]["seconds"])


def main() -> None:
    """Make the slides, align them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small slides, under a minute")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sizes = (2_000, 20_000) if options.quick else (2_000, 60_000, 605_471)
    heads = f"{'s':>7} {'us/spot':>8} {'peak MB':>8} {'to pandas':>10}  {'positions':>10}  flags"
    print(f"{'':18} {heads}")
    for kind in ("ids", "centres", "doubt"):
        for spots in sizes:
            slide = make_slide(options.folder, kind, spots)
            pandas, _ = fastest(PANDAS.format(**slide), options.repeat)
            told, peak_mb = fastest(ALIGN.format(**slide), options.repeat)
            print(
                f"{kind:8} {spots:9,} {told['seconds']:7.2f} {told['seconds'] / spots * 1e6:8.1f} "
                f"{peak_mb:8,.0f} {told['seconds'] / pandas['seconds']:10.1f}  "
                f"{told['known']:10,}  {', '.join(told['flags'])}"
            )
            for key in ("coord", "image", "out"):
                Path(slide[key]).unlink()


if __name__ == "__main__":
    main()
