"""The spots of a slide with their positions, as a Parquet file."""

import json
from pathlib import Path

import numpy as np

from st1k4m.geometry.arrays import (
    Measured,
)
from st1k4m.geometry.coordinates import Coordinates
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import KEY, Made


def read_spots(path: str | Path):
    """Read what ``align_spots`` wrote.

    Returns
    -------
    pyarrow.Table
        One row a spot.
    dict
        The facts. ``width``, ``height``, ``image_format`` of the image; ``lattice``, ``pitch_px``,
        ``pitch_um``, ``rotation`` (degrees from x towards y in which columns increase),
        ``mirrored``, ``jitter_px``, ``strays``; ``um_per_px`` with ``um_per_px_se`` (standard
        error), ``um_per_px_xy`` (along x and y) and ``um_per_px_source``; ``positions`` (what
        states the positions on the array: ``ids``, ``barcodes``, ``centres``, or ``unknown``);
        ``tier``; ``radius`` (the one that cuts), ``radius_file`` and ``radius_lattice`` in pixels
        of the image, ``spot_diameter_fullres``; ``correction`` (what was applied and why, or None),
        ``candidates``; ``orientation`` (what excludes a mirror image: ``ids``, ``barcodes``,
        ``tissue``, ``override``, or ``unknown``); ``looked`` (why the image was decoded, or empty),
        ``on_tissue`` (share of the spots, None if unknown); ``flags`` (of `codes.FLAGS`) and
        ``warnings`` (a sentence a flag).
    """
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        table = pq.ParquetFile(file).read()  # read_table would import pandas
    return table, json.loads(table.schema.metadata[b"st1k4m"])


def write_spots(
    out: str | Path,
    spots: Coordinates,
    barcodes: list[str],
    measured: Measured,
    outside: np.ndarray,
    facts: dict,
    selected: np.ndarray | None = None,
    made: Made | None = None,
) -> None:
    """Write the spots of a slide; the facts of the geometry go into the file's metadata.

    ``selected`` is a column more where the slide says which of its spots are in tissue.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_lattice = facts["radius"] != facts["radius_file"]
    radius = np.full(len(spots.r), facts["radius"]) if by_lattice else spots.r
    table = pa.table(
        {
            "spot": spots.spots,
            "barcode": barcodes,
            "x": spots.x,
            "y": spots.y,
            "r": radius,
            "array_row": measured.row,
            "array_col": measured.col,
            "outside": outside,
        }
        | ({} if selected is None else {"selected": selected})
    )
    metadata = {b"st1k4m": json.dumps(facts, sort_keys=True, allow_nan=False).encode()}
    if made:
        metadata[KEY.encode()] = made.text.encode()
    with atomic(out) as path:
        pq.write_table(table.replace_schema_metadata(metadata), path)
