"""Estimate seconds and memory of each step of a slide, for plans and for the resources of jobs.

Seconds and memory are linear in a few quantities that the catalogue states or implies. The
constants are in this module, those of a technology in `technologies`.
``tests/benchmarks/bench_costs.py`` (`make bench`) measures them again. Standard library only: it is
imported at parse time.
"""

import json
import math
from dataclasses import dataclass

from st1k4m.source.catalogue import Slide
from st1k4m.technologies import technology

#: Pixels per byte of an image file: most of the files named .png are PNG.
PIXELS_PER_BYTE = 0.7
#: Bytes of a row of the coordinate file.
COORD_BYTES = 70

#: MB/s that one job gets from the file system. Assumed; the constants below are measured.
FILE_RATE = 200
#: MB of Snakemake's two processes in a cluster job: 170 each with a catalogue of 1,149 slides.
ENGINE_MB = 400
#: CPU seconds to start them.
ENGINE_SECONDS = 5
#: Every job asks for at least so many MB and minutes.
LEAST_MB, LEAST_MINUTES = 600, 5
#: Keys of the result of `need`.
NEEDS = ("mem_mb", "runtime", "disk_mb")
#: A job's time limit is its estimate times this: another processor, a busy file system.
SLOWER = 4


#: Bytes of a nonzero count in 10x HDF5 (338 spots of breast: 2.4) and in Market Exchange format,
#: which is usually gzipped (2.6; plain 10).
COUNT_BYTES = {"10x_h5": 2.4, "10x_mtx": 2.5}
#: Bytes of a row of Space Ranger's positions: 37 in Visium's CSV, 25 to 40 in VisiumHD's parquet.
OWN_COORD_BYTES = 30


def _counts_format(slide: Slide) -> str:
    """Return the format of the counts of a user's own slide; empty for the dataset's slides."""
    return json.loads(slide.layout).get("counts", {}).get("format", "") if slide.layout else ""


@dataclass(frozen=True)
class Step:
    """A step's constants: seconds on one core and memory in MB, fixed and per unit of quantity.

    ``rates`` and ``sizes`` have the keys of `quantities`.
    """

    seconds: float
    rates: dict[str, float]
    memory_mb: float
    sizes: dict[str, float]


# Measured on generated slides of 300 spots x 16,000 genes to 4,900 x 36,601, 2,800 x 94,000,
# 60,000 x 18,085 and 300,000 x 300, with images of 1 to 464 million pixels. The largest values:
# tiles from 464 million pixels 7.6 s and 243 MB; steps other than tiles and counts 2.6 s, 435 MB.
# Counts: 2,261 x 32,285 with 8.8 million counts 3.0 s and 514 MB; QC to writing of 150,000 x 18,085
# with 54 million counts 9.1 s and 1,220 MB. If spots are dropped, the counts of the kept spots are
# copied and are in memory twice: 16 bytes per count. Fixed: start of Python and the imports.
STEPS = {
    "count_expression": Step(
        1.9,
        {"counts_mb": 0.0005 + 1 / FILE_RATE, "nonzeros_m": 0.13, "spots_k": 0.015},
        375,
        {"nonzeros_m": 16.0, "spots_k": 0.8},
    ),
    "align_spots": Step(0.45, {"pixels_m": 0.0002, "spots_k": 0.0015}, 180, {"spots_k": 0.5}),
    "cut_tiles": Step(
        0.5, {"pixels_m": 0.017, "spots_k": 0.002}, 225, {"pixels_m": 0.08, "spots_k": 0.7}
    ),
    "build_anndata": Step(
        1.2, {"nonzeros_m": 0.001, "spots_k": 0.004}, 230, {"nonzeros_m": 0.16, "spots_k": 1.0}
    ),
    "fingerprint_slide": Step(1.2, {"spots_k": 0.006}, 230, {"spots_k": 0.5}),
    "draw_slide": Step(
        0.5, {"nonzeros_m": 0.024, "spots_k": 0.003}, 240, {"nonzeros_m": 0.65, "spots_k": 0.65}
    ),
}

# Steps that the configuration may ask for. Measured on slides of 5,000 spots with 13.5 million
# counts and images of 4 to 1,600 million pixels (bench_spatialdata.py), and on 600,000 bins with 24
# million counts: 6.9 s and 1,455 MB.
EXPORTS = {
    "write_spatialdata": Step(
        3.5,
        {"nonzeros_m": 0.25, "pixels_m": 0.07, "spots_k": 0.005},
        350,
        {"nonzeros_m": 45, "pixels_m": 0.15, "spots_k": 1},
    ),
    "hash_products": Step(
        0.3, {"nonzeros_m": 6 / FILE_RATE, "pixels_m": 3 / FILE_RATE}, 60, {"pixels_m": 0.01}
    ),
}


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a step: seconds on one core, memory in MB."""

    seconds: float
    memory_mb: float


def input_bytes(slide: Slide) -> dict[str, float]:
    """Estimate the bytes of a slide's files by kind; exact where the catalogue states them."""
    spots, genes = max(slide.spots, 1), max(slide.genes, 1)
    return {
        "counts": slide.counts_bytes or technology(slide.tech).cell_bytes * spots * genes,
        "coord": slide.coord_bytes or COORD_BYTES * spots,
        "image": slide.image_bytes or technology(slide.tech).image_bytes,
    }


def quantities(
    slide: Slide, pixels: float | None = None, richest: bool = False
) -> dict[str, float]:
    """Estimate the quantities on which the cost of a slide's steps depends.

    Parameters
    ----------
    slide
        Its row of the catalogue.
    pixels
        Pixels of its image, if known; else they are estimated from its bytes.
    richest
        Assume the richest known slide instead of a typical one: the numbers of spots and genes and
        the bytes do not show how many counts are zero.

    Returns
    -------
    dict
        ``counts_mb``, ``nonzeros_m``, ``spots_k``, ``pixels_m``: 10**6 bytes, 10**6 nonzero counts,
        10**3 spots, 10**6 pixels.
    """
    size = input_bytes(slide)
    spots = slide.spots or size["coord"] / (OWN_COORD_BYTES if slide.layout else COORD_BYTES)
    cells = size["counts"] / technology(slide.tech).cell_bytes
    found = spots * technology(slide.tech).genes_found[richest]
    form = _counts_format(slide)
    nonzeros = size["counts"] / COUNT_BYTES[form] if form in COUNT_BYTES else min(found, cells / 2)
    return {
        "counts_mb": size["counts"] / 1e6,
        "nonzeros_m": nonzeros / 1e6,
        "spots_k": spots / 1e3,
        "pixels_m": (pixels or size["image"] * PIXELS_PER_BYTE) / 1e6,
    }


def estimate(step: str, amount: dict[str, float]) -> Estimate:
    """Estimate the cost of a step of `STEPS` or `EXPORTS` from the `quantities` of a slide."""
    model = STEPS.get(step) or EXPORTS[step]
    return Estimate(
        model.seconds + sum(rate * amount[key] for key, rate in model.rates.items()),
        model.memory_mb + sum(size * amount[key] for key, size in model.sizes.items()),
    )


def need(step: str, slide: Slide, attempt: int = 1) -> dict[str, int]:
    """Return the resources to request for a job.

    Parameters
    ----------
    step
        Key of `STEPS` or `EXPORTS`.
    slide
        Its row of the catalogue.
    attempt
        1 for the first try; memory and time are multiplied by it.

    Returns
    -------
    dict
        By the keys in `NEEDS`: MB of memory, minutes, MB of disk.
    """
    likely = estimate(step, quantities(slide, richest=True))
    minutes = max(LEAST_MINUTES, SLOWER * likely.seconds / 60)
    return {
        "mem_mb": attempt * math.ceil(max(LEAST_MB, ENGINE_MB + likely.memory_mb)),
        "runtime": attempt * math.ceil(minutes),
        "disk_mb": math.ceil(kept_bytes(slide, quantities(slide, richest=True)) / 1e6),
    }


def threads(step: str, slide: Slide) -> int:
    """Return the number of cores for a step of a slide.

    It is 1, because many slides run at the same time; it is 4 if a single file takes minutes to
    read, as for VisiumHD, because such a job can be the last one to end.
    """
    size = input_bytes(slide)
    long_reading = {"count_expression": size["counts"] > 8e9, "cut_tiles": size["image"] > 5e8}
    return 4 if long_reading.get(step) else 1


def kept_bytes(slide: Slide, amount: dict[str, float]) -> float:
    """Estimate the bytes of a slide's products in ``work/`` and ``results/``.

    Measured with the slides above and the default options: 6 bytes for each nonzero count and 450
    for each spot, over all copies; tiles with 3 bytes per pixel; two images of at most 2,000 and
    600 pixels a side, in the AnnData and in the tile store; 1 MB for the report.
    """
    matrices = 6e6 * amount["nonzeros_m"] + 450e3 * amount["spots_k"]
    tiles = 3e6 * technology(slide.tech).covered * amount["pixels_m"]
    pictures = 2 * 3e6 * (min(amount["pixels_m"], 4) + min(amount["pixels_m"], 0.36))
    return matrices + tiles + pictures + 1e6
