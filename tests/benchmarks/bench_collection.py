"""Time and memory of relating and splitting as many slides as are published.

The slides are made up: random counts over the barcodes that arrays of a kind share, blurred noise
as pictures, the gene lists of a few references. One in twenty is another one again, in disguise:
its counts thinned, a part of its spots, its picture mirrored.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from measure import REPOSITORY, SCRIPTS

sys.path.insert(0, str(SCRIPTS))

from st1k4m.collection import relate_slides, tables
from st1k4m.collection.fingerprint import write_fingerprint
from st1k4m.collection.fingerprint_slide import make_fingerprint
from st1k4m.collection.make_splits import make_splits

#: Barcodes of an array: as many as a Visium array of 6.5 mm has.
BARCODES = 4992
#: Genes of the references, and how many lists of names there are.
GENES, LISTS = 32_285, 150


def make_slide(index: int, folder: Path) -> None:
    """Write the record and the fingerprint of one slide; every twentieth is another one again."""
    copy = index % 20 == 19
    random = np.random.default_rng(index - 7 if copy else index)
    number = int(random.integers(300, 4500))
    at = np.sort(random.choice(BARCODES, number, replace=False))
    points = np.column_stack([at % 78 * 100.0, at // 78 * 87.0])
    totals = random.lognormal(8, 0.6, number).astype(int)
    detected = np.minimum(totals // 2, 9000) + random.integers(0, 50, number)
    picture = cv2.GaussianBlur(random.uniform(0, 255, (600, 500)).astype(np.float32), (0, 0), 8)
    picture = cv2.normalize(picture, None, 60, 250, cv2.NORM_MINMAX).astype(np.uint8)
    if copy:
        again = np.random.default_rng(index)
        kept = np.flatnonzero(again.random(number) < 0.6)
        at, points, totals = at[kept], points[kept], again.binomial(totals[kept], 0.5)
        detected, picture = detected[kept] // 2, np.ascontiguousarray(picture[:, ::-1])
        points[:, 0] = 7800 - points[:, 0]
    name = f"GSE{index // 7}_GSM{index}"
    letters = ["".join("ACGT"[one // 4**place % 4] for place in range(16)) for one in at]
    fingerprint = make_fingerprint(
        name,
        barcodes=letters,
        totals=totals,
        detected=detected,
        points=points,
        width=7800,
        height=5600,
        picture=np.repeat(picture[..., None], 3, axis=2),
    )
    genes = [
        f"LIST{index % LISTS}_GENE{gene}" if gene < 100 else f"GENE{gene}" for gene in range(GENES)
    ]
    found = random.integers(0, len(at), GENES)
    write_fingerprint(folder / f"fingerprints/{name}.npz", fingerprint, genes, found)
    record = {
        "slide": name,
        "study": {"tech": "Visium", "species": "human", "tissue": f"tissue{index // 7 % 40}"},
        "spots": {name: len(at) for name in ("in_counts", "in_coord", "total", "kept")}
        | {"dropped": {}},
        "expression": {"genes_in_file": GENES},
        "geometry": {"um_per_px": 0.5, "tier": "high"},
        "flags": [],
    }
    (folder / f"records/{name}.json").write_text(json.dumps(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=1149)
    number = parser.parse_args().slides
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "records").mkdir()
        for index in range(number):
            make_slide(index, folder)
        size = sum(path.stat().st_size for path in folder.glob("fingerprints/*"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begin, cpu = time.perf_counter(), time.process_time()
        made = [folder / f"{table}.tsv" for table in ("slides", "relations", "genes")]
        relate_slides.relate_slides(
            sorted(folder.glob("records/*")),
            sorted(folder.glob("fingerprints/*")),
            *made,
            tables=[REPOSITORY / "config/relations.tsv"],
            also_in=[REPOSITORY / "config/also_in.tsv"],
        )
        took, used = time.perf_counter() - begin, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = [row for row in tables.read_table(made[1])[1] if row["relation"] == "same_section"]
        true = {
            tuple(sorted((f"GSE{i // 7}_GSM{i}", f"GSE{(i - 7) // 7}_GSM{i - 7}")))
            for i in range(19, number, 20)
        }
        sure = {
            (row["slide_a"], row["slide_b"]) for row in found if row["confidence"] != "possible"
        }
        begin = time.perf_counter()
        make_splits(
            *made[:2], folder / "split.tsv", name="study", options={"by": "study", "folds": 5}
        )
        print(f"{number} slides, fingerprints of {size / 1e6:.0f} MB")
        print(
            f"relate_slides: {took:.1f} s ({used:.1f} s of CPU), peak {peak:.0f} MB"
            f" (before: {before:.0f})"
        )
        print(f"copies found: {len(sure & true)} of {len(true)}; false pairs: {len(sure - true)}")
        print(f"make_splits: {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
