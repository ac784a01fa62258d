"""The dataset's meta table."""

import csv
import io
import re
from collections.abc import Iterable

from st1k4m.dataset import check_name
from st1k4m.errors import CatalogueError
from st1k4m.run.text import one_line
from st1k4m.technologies import TECHS

#: The published tables, the newest first.
META_TABLES = ("meta/meta_all_gene02122025.csv", "meta/meta_all_gene.csv")
#: catalogue column: meta column
META_COLUMNS = {
    "slide": "slide",
    "tech": "tech",
    "species": "species",
    "tissue": "tissue",
    "pmid": "pmid",
    "involve_cancer": "involve_cancer",
    "title": "title",
}
NEEDED = ("slide", "tech", "species", "tissue")


def choose_table(paths: Iterable[str], where: str) -> str:
    """Return the path of the meta table: the newest published one, else the only CSV in ``meta/``.

    Raises
    ------
    CatalogueError
        There is no CSV, or there are several and none has a published name.
    """
    paths = set(paths)
    for table in META_TABLES:
        if table in paths:
            return table
    found = sorted(path for path in paths if re.fullmatch(r"meta/[^/]+\.csv", path))
    if len(found) != 1:
        names = f" (found {', '.join(found)})" if found else ""
        raise CatalogueError(
            f"{where}: expected one meta table meta/*.csv{names}; "
            f"rename the table to use to {META_TABLES[0]}"
        )
    return found[0]


def read_table(table: str, content: bytes) -> list[tuple[int, dict[str, str]]]:
    """Read a meta table: (line where the row starts, its cells by column) of each row.

    Quoted cells may contain line breaks. A run of white space and control characters within a cell
    becomes one blank; slide names are not changed.

    Raises
    ------
    CatalogueError
        The table is not comma separated text in UTF-8, lacks a column or has no rows; or rows have
        another length, or an invalid slide name or technology: the message lists these rows.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogueError(
            f"{table}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, faults, start = [], [], 1
    try:
        header = next(reader, [])
        missing = [column for column in NEEDED if column not in header]
        if missing:
            raise CatalogueError(
                f"{table}, line 1: no column {', '.join(missing)}; its columns are "
                f"{', '.join(header) or 'none'}"
            )
        start = reader.line_num + 1
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not cells:
                continue
            row = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                faults.append(f"line {line}: {len(cells)} fields, the header has {len(header)}")
            elif fault := check_name(row["slide"]):
                faults.append(f"line {line}: slide {fault}")
            elif row["tech"] not in TECHS:
                faults.append(f"line {line}: tech {row['tech']!r} is not one of {', '.join(TECHS)}")
            else:
                clean = {key: one_line(cell) for key, cell in row.items() if key != "slide"}
                rows.append((line, {"slide": row["slide"], **clean}))
    except csv.Error as error:
        raise CatalogueError(f"{table}, line {start}: {error}; fix the quotes there") from None
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise CatalogueError(
            f"{table} has invalid rows; fix or remove them:\n  " + "\n  ".join(faults[:20]) + more
        )
    if not rows:
        raise CatalogueError(f"{table} has no rows; it needs one row per slide below the header")
    return rows
