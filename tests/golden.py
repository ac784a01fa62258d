"""Describe the products of every step for a small dataset, and record the descriptions.

``tests/golden.json`` has the descriptions and the revisions of the steps. They describe the
contents of the files, not their bytes, which other builds of the libraries can change. After an
intended change, raise the revision of the step, then run this file with Python to record it.
"""

import base64
import hashlib
import json
import os
import re
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow.parquet as pq
from golden_dataset import SLIDES, write_dataset
from places import DEFAULTS, REPOSITORY, SCRIPTS

GOLDEN = REPOSITORY / "tests" / "golden.json"
if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))

from st1k4m.collection import (  # noqa: E402
    build_manifest,
    calibrate_arrays,
    choose_panel,
    fingerprint_slide,
    make_splits,
    relate_slides,
)
from st1k4m.expression import count_expression  # noqa: E402
from st1k4m.formats.expression import read_spot_names  # noqa: E402
from st1k4m.geometry import align_spots  # noqa: E402
from st1k4m.join import build_anndata  # noqa: E402
from st1k4m.report import build_report, draw_collection, draw_slide  # noqa: E402
from st1k4m.run import settings  # noqa: E402
from st1k4m.run.steps import BASELINE, PRODUCTS, REVISIONS, SLIDE_STEPS, STALE_AFTER, STEPS  # noqa: E402
from st1k4m.source import open_dataset  # noqa: E402
from st1k4m.tiles import cut_tiles, pack_tiles  # noqa: E402

# Products that need an extra, checksums of files, and the fits of baselines. Other builds of the
# libraries round the fits differently; tests/baseline compares them with scikit-learn.
LEFT_OUT = {
    "write_spatialdata",
    "hash_products",
    "write_shards",
    "index_shards",
    "describe_collection",
    *BASELINE,
}
RECORDED = {step: revision for step, revision in REVISIONS.items() if step not in LEFT_OUT}
PATHS = {step: paths for step, paths in PRODUCTS.items() if step not in LEFT_OUT} | {
    "calibrate_arrays": ("results/collection/arrays/slides.tsv",),
    "build_manifest": tuple(STEPS["build_manifest"].makes.values()),
    "build_report": ("results/report/index.html", "results/report/cards.js"),
    "choose_panel": (
        "results/collection/panels/golden.tsv",
        "results/collection/panels/golden.h5ad",
    ),
    "relate_slides": tuple(STEPS["relate_slides"].makes.values()),
    "make_splits": ("results/collection/splits/study.tsv",),
    "draw_collection": ("results/report/related.js",),
}


def run_steps():
    """Run every step on the dataset, in the current folder."""
    write_dataset(Path("dataset"))
    data = open_dataset.load("dataset", "resources/catalogue.tsv")
    rows = settings.read_table(REPOSITORY / "config/geometry.tsv")
    for name, tech in SLIDES.items():
        made = {step: [path.format(slide=name) for path in PATHS[step]] for step in PATHS}
        counts, coord, image = (data.path(name, kind) for kind in ("counts", "coord", "image"))
        options = {
            section: settings.options(DEFAULTS, section, tech)
            for section in ("expression", "geometry", "tiles")
        }
        [expressed], [spots], stores = (
            made[step] for step in ("count_expression", "align_spots", "cut_tiles")
        )
        count_expression.count_expression(
            counts, coord, expressed, slide=name, species="human", options=options["expression"]
        )
        align_spots.align_spots(
            coord,
            image,
            spots,
            slide=name,
            tech=tech,
            geometry=settings.rows_for(rows, name, tech),
            override=None,
            options=options["geometry"],
        )
        cut_tiles.cut_tiles(
            image,
            spots,
            read_spot_names(expressed),
            stores[0],
            slide=name,
            options=options["tiles"] | {"pixels": True},
        )
        pack_tiles.pack_tiles(stores[0], made["pack_tiles"][0], slide=name, layout="webdataset")
        adata, ledger, record = made["build_anndata"]
        build_anndata.build_anndata(
            expressed,
            spots,
            stores[0],
            adata,
            ledger,
            record,
            slide=name,
            study={"tech": tech, "species": "human", "tissue": "breast", "title": "On numbers"},
            parameters=options,
            annotation=data.path(name, "annotation") or None,
        )
        fingerprint_slide.fingerprint_slide(adata, made["fingerprint_slide"][0], slide=name)
        draw_slide.draw_slide(
            adata,
            stores[0],
            ledger,
            record,
            overlay=f"results/overlay/{name}.jpg",
            tissue=f"results/report/tissue/{name}.jpg",
            thumbnail=f"results/report/thumbs/{name}.jpg",
            sheet=f"results/report/tiles/{name}.jpg",
            page=f"results/report/slides/{name}.js",
        )
    products = [SLIDE_STEPS["build_anndata"].makes[name] for name in ("ledger", "record")]
    calibrate_arrays.calibrate_arrays(
        *([path.format(slide=name) for name in SLIDES] for path in products),
        "results/collection/arrays",
    )
    table, totals, references, _ = PATHS["build_manifest"]
    status = dict.fromkeys(SLIDES, ("selected", ""))
    build_manifest.build_manifest("resources/catalogue.tsv", status, table, totals, references)
    build_report.build_report(table, totals, "results/report", "logs")
    tables = PATHS["relate_slides"]
    relate_slides.relate_slides(
        [f"results/records/{name}.json" for name in SLIDES],
        [PRODUCTS["fingerprint_slide"][0].format(slide=name) for name in SLIDES],
        *tables,
        tables=[REPOSITORY / "config/relations.tsv"],
        also_in=[REPOSITORY / "config/also_in.tsv"],
    )
    make_splits.make_splits(
        tables[0],
        tables[1],
        PATHS["make_splits"][0],
        name="study",
        options=DEFAULTS["splits"]["study"],
    )
    page = PATHS["draw_collection"][0]
    draw_collection.draw_collection(*tables[:2], PATHS["make_splits"], [], page)
    choose_panel.choose_panel(
        "golden",
        {"method": "overlap_hvg", "n": 10},
        tables[0],
        "results/anndata",
        *PATHS["choose_panel"],
    )


# -- short descriptions of files, the same on every machine


def describe(path):
    """Return a description of each part of a file, by the name of the part."""
    path = Path(path)
    if path.suffix in (".h5ad", ".h5"):
        return describe_hdf5(path)
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        parts = {name: describe_array(table[name].to_numpy()) for name in table.column_names}
        facts = (table.schema.metadata or {}).get(b"st1k4m", b"{}")
        return parts | {"facts": describe_text(facts.decode())}
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: describe_array(file[name]) for name in file.files}
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:  # its tiles are those of the store
            names = tar.getnames()
            texts = [tar.extractfile(name).read() for name in names if name.endswith(".json")]
        return {"names": describe_text("\n".join(names)), "texts": describe_text(str(texts))}
    if path.suffix == ".jpg":
        return {"pixels": describe_array(cv2.imread(str(path)))}
    return {"text": describe_text(path.read_text(encoding="utf-8"))}


def describe_hdf5(path):
    """Describe an HDF5 file: each array is a part, all attributes and all scalars are one each."""
    parts, attributes, values = {}, [], []

    def add(name, item):
        attributes.extend(f"{name}@{key} {value}" for key, value in sorted(item.attrs.items()))
        if isinstance(item, h5py.Dataset) and "/versions/" not in f"/{name}":
            content = np.asarray(item.asstr()[()] if item.dtype.kind == "O" else item[()])
            if content.ndim:
                parts[name] = describe_array(content)
            else:
                values.append(f"{name} {content}")

    with h5py.File(path) as file:
        add("", file)
        file.visititems(add)
    described = {"attributes": attributes, "values": values}
    return parts | {name: describe_text("\n".join(told)) for name, told in described.items()}


def describe_array(values):
    """Describe an array exactly; fractions and pixels by a plain and a weighted sum."""
    if values.dtype.kind == "f" or values.dtype == np.uint8:
        known = np.nan_to_num(values.astype(np.float64).ravel(), nan=-1, posinf=-2, neginf=-3)
        sums = np.abs(known).sum(), known @ np.cos(np.arange(len(known)))
        return " ".join([str(values.dtype), str(values.shape), *(f"{total:.9g}" for total in sums)])
    content = "\n".join(map(str, values.ravel().tolist()))
    return f"{values.dtype.kind} {values.shape} {digest(content)}"


def describe_text(text):
    """Describe a text without versions and folders, with fractions of five digits, unpacked."""
    text = re.sub(r'"versions": ?\{[^}]*\}', "", text.replace(os.getcwd(), ""))
    text = re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.5g}", text)
    return digest(re.sub(r'"eJ[\w+/]*=*"', lambda packed: unpack(packed[0]), text))


def unpack(text):
    return zlib.decompress(base64.b64decode(text.strip('"'))).hex()


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differ(one, other):
    """Return whether two descriptions differ by more than rounding."""
    if not (one and other and one.startswith(("float", "uint8"))):
        return one != other
    (kind, *sums), (other_kind, *other_sums) = one.rsplit(" ", 2), other.rsplit(" ", 2)
    sums, other_sums = np.array(sums, float), np.array(other_sums, float)
    return kind != other_kind or bool((abs(sums - other_sums) > 1e-6 * (1 + sums[0])).any())


def make():
    """Run all steps; return by step its revision and the description of its products."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            run_steps()
            return {
                step: {
                    "revision": revision,
                    "parts": {
                        f"{path} {part}".replace("results/", ""): said
                        for product in PATHS[step]
                        for path in sorted({product.format(slide=name) for name in SLIDES})
                        if Path(path).exists()
                        for part, said in describe(path).items()
                    },
                }
                for step, revision in RECORDED.items()
            }
        finally:
            os.chdir(here)


# -- changes


def find_changes(golden, made):
    """Return by step the parts whose description changed."""
    changed = {}
    for step in made:
        old, new = golden.get(step, {}).get("parts", {}), made[step]["parts"]
        changed[step] = [part for part in old | new if differ(old.get(part), new.get(part))]
    return changed


def find_raised(golden):
    """Return the steps whose revision differs from the recorded one."""
    return {step for step in RECORDED if golden.get(step, {}).get("revision") != RECORDED[step]}


def led_to(step):
    """Return the step and all steps before it: a new revision of any of them re-runs the step."""
    if step in ("choose_panel", "calibrate_arrays"):
        return {step, *led_to("build_anndata")}
    if step not in STALE_AFTER:  # they follow all steps that are named before them
        return set(list(RECORDED)[: list(RECORDED).index(step) + 1])
    return {step} | {earlier for earlier, later in STALE_AFTER.items() if step in later}


if __name__ == "__main__":
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    now = make()
    raised = find_raised(known)
    for step, parts in find_changes(known, now).items():
        if parts and not raised & led_to(step) and "--force" not in sys.argv:
            sys.exit(f"{step} has changed: raise its revision first (or use --force)")
    GOLDEN.write_text(json.dumps(now, indent=1) + "\n")
    print(f"recorded in {GOLDEN}")
