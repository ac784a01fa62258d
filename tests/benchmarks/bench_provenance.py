"""What it costs a slide that its products carry what they were made from, and that it is compared.

python tests/benchmarks/bench_provenance.py [--folder bench] [--repeats 50]

One small generated slide through the workflow, then each part by itself, as often as the chain of a
slide does it. Prints CPU milliseconds and bytes; the bound is 100 ms of CPU on a small slide. What
jobs import is not counted, for they read or write those formats anyway.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import measure

sys.path.insert(0, str(measure.SCRIPTS))

from st1k4m.demo import dataset as demo
from st1k4m.run import job, outputs
from st1k4m.run.products import read_made, read_origins, stamp
from st1k4m.run.provenance import KEY, file_identity, parameters_digest
from st1k4m.source.folder import from_folder

SLIDE = "Small"
BOUND_MS = 100
# By step of the chain: the products that it reads, by the step that made each.
READS = {
    "cut_tiles": ("count_expression", "align_spots"),
    "build_anndata": ("count_expression", "align_spots", "cut_tiles"),
    "fingerprint_slide": ("build_anndata",),
    "draw_slide": ("build_anndata", "cut_tiles"),
}
PRODUCTS = {
    "count_expression": ["work/expression/{}.h5ad"],
    "align_spots": ["work/spots/{}.parquet"],
    "cut_tiles": ["results/tiles/{}.h5"],
    "build_anndata": [
        "results/anndata/{}.h5ad",
        "results/ledger/{}.parquet",
        "results/records/{}.json",
    ],
    "fingerprint_slide": ["work/fingerprints/{}.npz"],
    "draw_slide": [
        "results/overlay/{}.jpg",
        "results/report/tissue/{}.jpg",
        "results/report/thumbs/{}.jpg",
        "results/report/tiles/{}.jpg",
    ],
}
# By step: the kinds of files of the source whose content it is held to.
INPUTS = {
    "count_expression": ("counts", "coord"),
    "align_spots": ("coord", "image"),
    "cut_tiles": ("image",),
}


def cpu_ms(act: Callable[[], object], repeats: int) -> float:
    """Return the CPU time of one call, in milliseconds."""
    act()  # imports, and what the system keeps of the files
    begin = time.process_time()
    for _ in range(repeats):
        act()
    return (time.process_time() - begin) / repeats * 1000


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    folder = (arguments.folder / "provenance").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "run").mkdir(parents=True)
    demo.make_dataset(
        folder / "dataset", [{"slide": SLIDE, "spots": 700, "genes": 18_000, "um_per_px": 3.0}]
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    measure.run(
        measure.workflow(
            folder / "run", "--cores", "2", "--config", f"dataset={folder / 'dataset'}"
        ),
        PATH=path,
    )
    catalogue = from_folder(folder / "dataset")
    os.chdir(folder / "run")

    products = {step: [name.format(SLIDE) for name in names] for step, names in PRODUCTS.items()}
    made = {step: read_made(names[0]) for step, names in products.items()}
    files = [path for names in products.values() for path in names]
    sizes = {path: os.path.getsize(path) for path in files}

    def identify():
        for kinds in INPUTS.values():
            for kind in kinds:
                file_identity(catalogue.path(SLIDE, kind))

    def digest_options():
        for reads in READS.values():
            for step in reads:
                parameters_digest(made[step].parameters)

    def write():
        for name in files:
            if name.endswith((".h5", ".h5ad", ".jpg")):
                stamp(f"{name}.copy", Path(name).suffix, made["build_anndata"])

    def compare():
        for step, reads in READS.items():
            engine = SimpleNamespace(
                wildcards={"slide": SLIDE},
                params={
                    "revision": made[step].revision,
                    "made_with": {name: parameters_digest(made[name].parameters) for name in reads},
                },
            )
            job.origins(step, engine, **{name: products[name] for name in reads})

    def check_manifest():
        read_origins(products["build_anndata"][2])
        for name in (*products["build_anndata"][:2], *products["cut_tiles"]):
            read_made(name)

    def ask_whose_run_it_is():
        for _ in range(len(files) + 4 * len(products)):
            outputs.run_is_on()

    parts = {
        "identify the files of the source": identify,
        "digest the options asked for": digest_options,
        "write it into products": write,
        "read and compare it where products are joined": compare,
        "hold a finished slide to its record": check_manifest,
        "ask whether the run is still on": ask_whose_run_it_is,
    }
    total = 0.0
    print(f"{'part':48} {'CPU ms a slide':>14}")
    for name, act in parts.items():
        repeats = arguments.repeats
        if act is write:  # a copy is written into again and again, as if it were new
            for path in files:
                shutil.copyfile(path, f"{path}.copy")
            repeats = min(repeats, 10)
        spent = cpu_ms(act, repeats)
        total += spent
        print(f"{name:48} {spent:14.2f}", flush=True)
    print(f"{'all':48} {total:14.2f}   bound {BOUND_MS}")

    carried = sum(len(made[step].text) for step, names in products.items() for _ in names)
    record = json.loads(Path(products["build_anndata"][2]).read_text())
    carried += len(json.dumps(record[KEY]))
    whole = sum(sizes.values())
    print(f"carried: {carried:,} bytes of {whole:,}, {carried / whole:.2%}")
    os.chdir(folder.parent)
    shutil.rmtree(folder)
    if total > BOUND_MS:
        sys.exit(f"{total:.0f} ms is more than {BOUND_MS} ms of CPU a slide")


if __name__ == "__main__":
    main()
