"""What each step takes over slides of very different size: the figures behind `st1k4m.plan.costs`.

python tests/benchmarks/bench_costs.py [--quick] [--folder bench]

Generated slides, each step in a process of its own with the options of config.yaml. Prints, by step
and slide, CPU seconds and peak memory beside what `costs` expects (its seconds are the clock's,
with the time in which a count file comes from a busy file system); then the constants that fit
these figures best, for `costs.STEPS`. What whole jobs ask for is bench_cluster.py's.
"""

import argparse
import csv
import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import measure
import numpy as np
import yaml

sys.path.insert(0, str(measure.SCRIPTS))

from st1k4m.demo import dataset as demo
from st1k4m.plan import costs
from st1k4m.run import settings
from st1k4m.source.folder import from_folder

# Arguments of demo.make_slide; `wider` enlarges the painted image that many times.
SLIDES = (
    {"slide": "ST", "tech": "ST", "spots": 300, "genes": 16_000, "um_per_px": 2.0, "wider": 2},
    {"slide": "Visium_coarse", "spots": 700, "genes": 18_000, "um_per_px": 3.0},
    {"slide": "Visium", "spots": 2_261, "genes": 32_285, "um_per_px": 2.0, "wider": 3},
    {"slide": "Visium_deep", "spots": 4_900, "genes": 36_601, "um_per_px": 2.0, "wider": 5}
    | {"depth": 30_000},
    {"slide": "Visium_two_species", "spots": 2_800, "genes": 94_000, "um_per_px": 2.0},
    {"slide": "VisiumHD_20k", "tech": "VisiumHD", "spots": 20_000, "genes": 18_085}
    | {"um_per_px": 0.5, "depth": 500},
    {"slide": "VisiumHD_300k", "tech": "VisiumHD", "spots": 300_000, "genes": 300}
    | {"um_per_px": 1.0, "depth": 40},
    {"slide": "VisiumHD_60k", "tech": "VisiumHD", "spots": 60_000, "genes": 18_085}
    | {"um_per_px": 0.5, "depth": 900, "wider": 2},
)
QUICK = 2

CALLS = {
    "count_expression": """
from st1k4m.expression.count_expression import count_expression
count_expression(p["counts"], p["coord"], "expression.h5ad", slide=s, species="human",
                 options=o["expression"])""",
    "align_spots": """
from st1k4m.geometry.align_spots import align_spots
align_spots(p["coord"], p["image"], "spots.parquet", slide=s, tech=p["tech"], geometry=p["rows"],
            override=None, options=o["geometry"])""",
    "cut_tiles": """
from st1k4m.formats.expression import read_spot_names
from st1k4m.tiles.cut_tiles import cut_tiles
cut_tiles(p["image"], "spots.parquet", read_spot_names("expression.h5ad"), "tiles.h5", slide=s,
          options=o["tiles"] | {"pixels": True})""",
    "build_anndata": """
from st1k4m.join.build_anndata import build_anndata
build_anndata("expression.h5ad", "spots.parquet", "tiles.h5", "anndata.h5ad", "ledger.parquet",
              "record.json", slide=s, study=p["study"], parameters=o)""",
    "fingerprint_slide": """
from st1k4m.collection.fingerprint_slide import fingerprint_slide
fingerprint_slide("anndata.h5ad", "fingerprint.npz", slide=s)""",
    "draw_slide": """
from st1k4m.report.draw_slide import draw_slide
draw_slide("anndata.h5ad", "tiles.h5", "ledger.parquet", "record.json", overlay="overlay.jpg",
           tissue="tissue.jpg", thumbnail="thumb.jpg", sheet="sheet.jpg", page="page.js")""",
}

PRODUCTS = (
    *("expression.h5ad", "spots.parquet", "tiles.h5", "anndata.h5ad", "ledger.parquet"),
    *("record.json", "overlay.jpg", "tissue.jpg", "thumb.jpg", "sheet.jpg", "page.js"),
)


def make_slide(folder: Path, *, wider: int = 1, **arguments) -> None:
    """Make a dataset of one slide, its image enlarged where that is asked."""
    slide, tech = arguments["slide"], arguments.get("tech", "Visium")
    demo.make_dataset(folder, [arguments])
    if wider == 1:
        return
    import cv2

    image = folder / tech / "image" / f"{slide}.png"
    pixels = cv2.imread(str(image))
    cv2.imwrite(str(image), cv2.resize(pixels, None, fx=wider, fy=wider))
    coord = folder / tech / "coord" / f"{slide}_coord.csv"
    with coord.open(newline="") as file:
        header, *rows = csv.reader(file)
    lines = [header, *([name, *(wider * float(v) for v in values)] for name, *values in rows)]
    with coord.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def run_step(step: str, folder: Path, slide: str, tech: str, options: dict) -> measure.Usage:
    """Run one step of a slide as a job does: alone in a process, on one core."""
    rows = settings.read_table(measure.SCRIPTS.parent / "config/geometry.tsv")
    study = dict.fromkeys(("species", "tissue", "pmid", "title", "spots", "genes"), "")
    facts = {"tech": tech, "rows": settings.rows_for(rows, slide, tech)}
    facts["study"] = {**study, "tech": tech}
    for kind, place in (
        ("counts", "gene_exp/{}_count.csv"),
        ("coord", "coord/{}_coord.csv"),
        ("image", "image/{}.png"),
    ):
        facts[kind] = str(folder / tech / place.format(slide))
    begin = f"import os, json\nos.chdir({str(folder)!r})\ns = {slide!r}\n"
    begin += f"o = json.loads({json.dumps(json.dumps(options))})\n"
    begin += f"p = json.loads({json.dumps(json.dumps(facts))})\n"
    pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return measure.run_python(begin + CALLS[step], VIPS_CONCURRENCY="1", **pools)


def true_quantities(folder: Path) -> dict[str, float]:
    """What `costs.quantities` estimates, from the files themselves."""
    import anndata

    nonzeros = anndata.read_h5ad(folder / "expression.h5ad").X.nnz
    record = json.loads((folder / "record.json").read_text())
    facts = record["geometry"]
    return {
        "counts_mb": sum(path.stat().st_size for path in folder.rglob("*_count.csv")) / 1e6,
        "nonzeros_m": nonzeros / 1e6,
        "spots_k": record["spots"]["total"] / 1e3,
        "pixels_m": facts["width"] * facts["height"] / 1e6,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small slides")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    config = yaml.safe_load((measure.SCRIPTS.parent / "config/config.yaml").read_text())
    sections = {name: config[name] for name in ("expression", "geometry", "tiles")}
    for name in ("table", "overrides"):
        sections["geometry"].pop(name)

    found = []
    print("what           slide                  CPU s  expected   peak MB  expected")
    for arguments_of_slide in SLIDES[: QUICK if arguments.quick else None]:
        slide = arguments_of_slide["slide"]
        tech = arguments_of_slide.get("tech", "Visium")
        folder = (arguments.folder / "costs").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        # Elsewhere: a process's peak memory is never less than that of the one that started it.
        maker = multiprocessing.get_context("spawn").Process(
            target=make_slide, args=[folder], kwargs=arguments_of_slide
        )
        maker.start()
        maker.join()
        row = from_folder(folder).slides[slide]
        used = {step: run_step(step, folder, slide, tech, sections) for step in CALLS}
        amount = true_quantities(folder)
        print("  " + ", ".join(f"{key} {value:,.1f}" for key, value in amount.items()))
        for step, usage in used.items():
            expected = costs.estimate(step, amount)
            print(
                f"{step:16} {slide:20} {usage.cpu_seconds:7.1f} {expected.seconds:9.1f} "
                f"{usage.peak_mb:9,.0f} {expected.memory_mb:9,.0f}",
                flush=True,
            )
            found.append((step, amount, usage))
        kept = sum((folder / name).stat().st_size for name in PRODUCTS)
        print(
            f"{'products':16} {slide:20} {kept / 1e6:,.0f} MB, of which tiles "
            f"{(folder / 'tiles.h5').stat().st_size / 1e6:,.0f}; expected "
            f"{costs.kept_bytes(row, amount) / 1e6:,.0f}"
        )
        shutil.rmtree(folder)
    if not arguments.quick:
        print_fit(found)


def print_fit(found: list[tuple[str, dict, measure.Usage]]) -> None:
    """Print the constants that fit the figures best, by non-negative least squares."""
    from scipy.optimize import nnls

    print("\nbest fit, seconds then MB: at rest, and per unit")
    for step, model in costs.STEPS.items():
        for value, keys in (("cpu_seconds", model.rates), ("peak_mb", model.sizes)):
            rows = [
                (amount, getattr(usage, value)) for name, amount, usage in found if name == step
            ]
            weight = np.array([1 / used for _, used in rows])
            matrix = np.array([[1.0, *(amount[key] for key in keys)] for amount, _ in rows])
            solution, _ = nnls(matrix * weight[:, None], np.ones(len(rows)))
            terms = ", ".join(f"{key} {x:.3g}" for key, x in zip(keys, solution[1:], strict=True))
            print(f"{step:16} {value:11} {solution[0]:.3g}; {terms}")


if __name__ == "__main__":
    main()
