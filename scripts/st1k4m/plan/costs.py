"""What a slide costs in each step: one model, for the plan of a run and the resources of its jobs.

Seconds and memory are linear in a few quantities that the catalogue states or implies. The
constants stand here, those of a technology in `technologies`; ``tests/benchmarks/bench_costs.py``
(`make bench`) measures them again. Standard library only: it is imported at parse time.
"""

import json
import math
from dataclasses import dataclass

from st1k4m.source.catalogue import Slide
from st1k4m.technologies import technology

#: Pixels that a byte of an image file holds: most of the files named .png are PNG.
PIXELS_PER_BYTE = 0.7
#: Bytes of a row of the coordinate file.
COORD_BYTES = 70

#: MB/s that one job gets from the file system: assumed, where the constants below are measured.
FILE_RATE = 200
#: MB of the engine's own two processes in a cluster job: 170 each with a catalogue of 1,149 slides.
ENGINE_MB = 400
#: CPU seconds that their start takes.
ENGINE_SECONDS = 5
#: MB and minutes below which no job asks for less.
LEAST_MB, LEAST_MINUTES = 600, 5
#: What `need` tells.
NEEDS = ("mem_mb", "runtime", "disk_mb")
#: How much slower than expected a job may be: another processor, a busy file system.
SLOWER = 4


#: Bytes of a count that is not zero in 10x HDF5 (338 spots of breast: 2.4) and in Market Exchange
#: format, which is gzipped as a rule (2.6; plain 10).
COUNT_BYTES = {"10x_h5": 2.4, "10x_mtx": 2.5}
#: Bytes of a row of Space Ranger's positions: 37 in Visium's CSV, 25 to 40 in VisiumHD's parquet.
OWN_COORD_BYTES = 30


def _counts_format(slide: Slide) -> str:
    """Return the format of the counts of a slide of one's own; empty for the dataset's."""
    return json.loads(slide.layout).get("counts", {}).get("format", "") if slide.layout else ""


@dataclass(frozen=True)
class Step:
    """A step's constants: seconds on one core and memory in MB, at rest and per unit of quantity.

    The keys of ``rates`` and ``sizes`` are those of `quantities`.
    """

    seconds: float
    rates: dict[str, float]
    memory_mb: float
    sizes: dict[str, float]


# Measured on generated slides of 300 spots x 16,000 genes to 4,900 x 36,601, 2,800 x 94,000,
# 60,000 x 18,085 and 300,000 x 300, with images of 1 to 464 million pixels. The largest figures:
# tiles from 464 million pixels 7.6 s and 243 MB; any step but this and the counts 2.6 s, 435 MB.
# Counts: 2,261 x 32,285 with 8.8 million counts 3.0 s and 514 MB; QC to writing of 150,000 x 18,085
# with 54 million counts 9.1 s and 1,220 MB. Where some spots are dropped the counts of the others
# are copied, so they are there twice: 16 bytes a count. At rest: starting Python and the imports.
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

# Only where the configuration asks for them. Measured on slides of 5,000 spots with 13.5 million
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
    """What a step is expected to take: seconds on one core, memory in MB."""

    seconds: float
    memory_mb: float


def input_bytes(slide: Slide) -> dict[str, float]:
    """Estimate the bytes of a slide's files by kind; exact where the catalogue tells them."""
    spots, genes = max(slide.spots, 1), max(slide.genes, 1)
    return {
        "counts": slide.counts_bytes or technology(slide.tech).cell_bytes * spots * genes,
        "coord": slide.coord_bytes or COORD_BYTES * spots,
        "image": slide.image_bytes or technology(slide.tech).image_bytes,
    }


def quantities(
    slide: Slide, pixels: float | None = None, richest: bool = False
) -> dict[str, float]:
    """Estimate what the steps of a slide depend on.

    Parameters
    ----------
    slide
        Its row of the catalogue.
    pixels
        Of its image, where they are known; else estimated from its bytes.
    richest
        Assume the richest known slide instead of a typical one: neither spots and genes nor bytes
        tell how many of the counts are zero.

    Returns
    -------
    dict
        ``counts_mb``, ``nonzeros_m``, ``spots_k``, ``pixels_m``: 10**6 bytes, 10**6 counts that are
        not zero, 10**3 spots, 10**6 pixels.
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
    """Estimate what a step of `STEPS` or `EXPORTS` takes for the `quantities` of a slide."""
    model = STEPS.get(step) or EXPORTS[step]
    return Estimate(
        model.seconds + sum(rate * amount[key] for key, rate in model.rates.items()),
        model.memory_mb + sum(size * amount[key] for key, size in model.sizes.items()),
    )


def need(step: str, slide: Slide, attempt: int = 1) -> dict[str, int]:
    """Say what to ask for when a step of a slide becomes a job.

    Parameters
    ----------
    step
        Key of `STEPS` or `EXPORTS`.
    slide
        Its row of the catalogue.
    attempt
        1 for the first try; each further one gets as much again.

    Returns
    -------
    dict
        By the keys in `NEEDS`: MB, minutes, MB.
    """
    likely = estimate(step, quantities(slide, richest=True))
    minutes = max(LEAST_MINUTES, SLOWER * likely.seconds / 60)
    return {
        "mem_mb": attempt * math.ceil(max(LEAST_MB, ENGINE_MB + likely.memory_mb)),
        "runtime": attempt * math.ceil(minutes),
        "disk_mb": math.ceil(kept_bytes(slide, quantities(slide, richest=True)) / 1e6),
    }


def threads(step: str, slide: Slide) -> int:
    """Say how many cores a step of a slide can use well.

    One, for slides are many and run side by side; more where a single file takes minutes to read,
    as VisiumHD's do, and would be the last one to end.
    """
    size = input_bytes(slide)
    long_reading = {"count_expression": size["counts"] > 8e9, "cut_tiles": size["image"] > 5e8}
    return 4 if long_reading.get(step) else 1


def kept_bytes(slide: Slide, amount: dict[str, float]) -> float:
    """Estimate the bytes of a slide's products in ``work/`` and ``results/``.

    As measured with the slides above, with the default options: 6 bytes for each count that is not
    zero and 450 for each spot, in all their copies; tiles at 3 bytes a pixel; two pictures of at
    most 2,000 and 600 pixels, in the AnnData and in the tile store; 1 MB for the report.
    """
    matrices = 6e6 * amount["nonzeros_m"] + 450e3 * amount["spots_k"]
    tiles = 3e6 * technology(slide.tech).covered * amount["pixels_m"]
    pictures = 2 * 3e6 * (min(amount["pixels_m"], 4) + min(amount["pixels_m"], 0.36))
    return matrices + tiles + pictures + 1e6
