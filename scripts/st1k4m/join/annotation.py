"""Read the pathologists' labels of a slide's spots."""

import csv
import io
from pathlib import Path

from st1k4m.dataset import slide_of
from st1k4m.errors import SlideError
from st1k4m.run.text import one_line

LABEL = "V2"
SPOT = "V1"
#: Values that the dataset writes for spots without a label; case is ignored.
NO_LABEL = {"", "na", "undetermined", "exclude"}


def read_annotation(path: str | Path) -> dict[str, str]:
    """Read an annotation file: the label of each spot that has one.

    Fields are separated by tabs if the header row has one, else by commas. The label is in column
    ``V2``. The spot is in column ``V1``, or in the first one if there is no ``V1``. Rows may have
    one field more than the header, because R writes row names so.

    Parameters
    ----------
    path
        ``<slide>_anno.csv``.

    Returns
    -------
    dict
        Label by full spot id, ``<slide>_<barcode>``; the file may state the barcode alone. Spots
        with a label in `NO_LABEL` are left out.

    Raises
    ------
    SlideError
        The file is empty, is not UTF-8 text or CSV, or lacks the column; a line has another number
        of fields, or a second, different label of a spot. The message names the line.
    """
    path = Path(path)
    slide = slide_of(path, "annotation")
    hint = f"fix {path}, or delete it and run with refresh=true: annotations are optional"
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SlideError(slide, f"{path}: byte {error.start} is not UTF-8", hint) from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in first else ",")
    try:
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise SlideError(slide, f"{path}, line {reader.line_num}: {error}", hint) from None
    header = rows[0][1] if rows else []
    if LABEL not in header:
        found = ", ".join(map(repr, header)) or "none"
        raise SlideError(slide, f"{path}, line 1: no column {LABEL}, found {found}", hint)
    labels: dict[str, str] = {}
    for number, cells in rows[1:]:
        if not cells:
            continue
        extra = len(cells) - len(header)
        if extra not in (0, 1):
            what = f"{path}, line {number}: {len(cells)} fields, the header has {len(header)}"
            raise SlideError(slide, what, hint)
        spot = cells[header.index(SPOT) + extra if SPOT in header else 0].strip()
        label = one_line(cells[header.index(LABEL) + extra])
        if label.casefold() in NO_LABEL:
            continue
        spot = spot if spot.startswith(f"{slide}_") else f"{slide}_{spot}"
        if labels.setdefault(spot, label) != label:
            what = f"{path}, line {number}: spot {spot} is {label!r} here, {labels[spot]!r} above"
            raise SlideError(slide, what, hint)
    return labels
