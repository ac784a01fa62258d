"""The spots file of a slide, ``work/spots/{slide}.parquet``: positions, and facts about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import KEY, Made

#: Of the file's metadata.
FACTS = b"st1k4m"
TEXTS = ("spot", "barcode")
#: Among the facts, and under the same name in the AnnData.
DIAMETER = "spot_diameter_fullres"


@dataclass(frozen=True)
class SpotTable:
    """The spots of a slide, in the order of its coordinate file; each field is a column.

    Attributes
    ----------
    spot, barcode
        Ids as the dataset writes them, and without the slide's name; texts.
    x, y, r
        Centre and radius, float64, pixels of the image.
    array_row, array_col
        Positions on the array, int32, -1 where unknown.
    outside
        Whether the centre lies outside the image, bool.
    selected
        Whether the spot is in tissue, bool; None where the slide does not say.
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
    """Read what ``align_spots`` wrote.

    Returns
    -------
    SpotTable
        Its texts are lists.
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
        ``on_tissue`` (share of the spots, None if unknown); ``flags`` (codes, see ``FLAGS``) and
        ``warnings`` (a sentence a flag).
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
    """Write the spots of a slide; ``facts``, see `read_spots`, go into the file's metadata.

    ``made`` says what the file is made from; it then carries that.
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
