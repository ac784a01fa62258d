"""The spots file of a slide, ``work/spots/{slide}.parquet``: positions, and facts about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import KEY, Made

#: Key of the facts in the file's metadata.
FACTS = b"st1k4m"
TEXTS = ("spot", "barcode")
#: Key of the spot diameter among the facts and in the AnnData.
DIAMETER = "spot_diameter_fullres"


@dataclass(frozen=True)
class SpotTable:
    """The spots of a slide, in the order of its coordinate file; each field is a column.

    Attributes
    ----------
    spot, barcode
        Ids as the dataset writes them, and ids without the slide's name; texts.
    x, y, r
        Centre and radius, (n,) float64, pixels of the image.
    array_row, array_col
        Positions on the array, (n,) int32, -1 if unknown.
    outside
        Whether the centre lies outside the image, (n,) bool.
    selected
        Whether the spot is in tissue, (n,) bool; None if the slide's files do not state it.
    """

    spot: Sequence[str]
    barcode: Sequence[str]
    x: np.ndarray
    y: np.ndarray
    r: np.ndarray
    array_row: np.ndarray
    array_col: np.ndarray
    outside: np.ndarray
    selected: np.ndarray | None = None


def read_spots(path: str | Path) -> tuple[SpotTable, dict[str, Any]]:
    """Read the file that ``align_spots`` wrote.

    Returns
    -------
    SpotTable
        The spots; texts are lists.
    dict
        The facts. ``width``, ``height``, ``image_format`` of the image; ``lattice``, ``pitch_px``,
        ``pitch_um``, ``rotation`` (degrees from x towards y in which columns increase),
        ``mirrored``, ``jitter_px``, ``strays``; ``um_per_px`` with ``um_per_px_se`` (standard
        error), ``um_per_px_xy`` (along x and y) and ``um_per_px_source``; ``positions`` (the source
        of the positions on the array: ``ids``, ``barcodes``, ``centres``, or ``unknown``);
        ``tier``; ``radius`` (with which tiles are cut), ``radius_file`` and ``radius_lattice`` in
        pixels of the image, ``spot_diameter_fullres``; ``correction`` (the applied one and its
        reason, or None), ``candidates``; ``orientation`` (the evidence that excludes a mirror
        image: ``ids``, ``barcodes``, ``tissue``, ``override``, or ``unknown``); ``looked`` (why the
        image was decoded, or empty), ``on_tissue`` (share of the spots, None if unknown); ``flags``
        (codes, see `st1k4m.codes.FLAGS`) and ``warnings`` (one sentence per flag).
    """
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        table = pq.ParquetFile(file).read()  # read_table would import pandas
    columns = {
        name: column.to_pylist() if name in TEXTS else column.to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return SpotTable(**columns), json.loads(table.schema.metadata[FACTS])


def write_spots(
    path: str | Path, spots: SpotTable, facts: dict[str, Any], made: Made | None = None
) -> None:
    """Write the spots of a slide, with ``facts`` (see `read_spots`) in the file's metadata.

    ``made`` states what the file is made from, and is stored in its metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {field.name: getattr(spots, field.name) for field in fields(SpotTable)}
    table = pa.table({name: values for name, values in columns.items() if values is not None})
    metadata = {FACTS: json.dumps(facts, sort_keys=True, allow_nan=False).encode()}
    if made:
        metadata[KEY.encode()] = made.text.encode()
    with atomic(path) as whole:
        pq.write_table(table.replace_schema_metadata(metadata), whole)
