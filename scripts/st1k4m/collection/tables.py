"""Read and write tables of the collection: tab-separated, with optional comments at the head."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from st1k4m.errors import ConfigError
from st1k4m.run import outputs
from st1k4m.run.text import one_line

#: Prefix of a comment line at the head. Names of slides have no spaces, so none can start with it.
COMMENT = "# "


def format_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], head: Iterable[str] = ()
) -> str:
    """Format rows as tab-separated text.

    Parameters
    ----------
    columns
        Names of the columns, in order.
    rows
        Values by column; a missing value is empty. Tabs and line breaks become spaces.
    head
        Comment lines before the header row.
    """
    text = io.StringIO()
    for line in head:
        text.write(f"{COMMENT}{' '.join(str(line).split())}\n")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
    return text.getvalue()


def write_table(
    path: str | Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    head: Iterable[str] = (),
) -> None:
    """Write rows as a tab-separated table, whole or not at all; arguments: see `format_table`."""
    outputs.write_text(path, format_table(columns, rows, head))


def read_table(
    path: str | Path, columns: Sequence[str] = ()
) -> tuple[list[str], list[dict[str, str]]]:
    """Read a tab-separated table with comments at its head.

    Parameters
    ----------
    path
        The table. Lines that begin with ``#`` before the header row are comments.
    columns
        Columns that the table must have.

    Returns
    -------
    head : list of str
        The comments without ``#``.
    rows : list of dict
        One dict per row, every value as text. Empty lines are skipped.

    Raises
    ------
    ConfigError
        The table cannot be read, lacks a column, or a row has the wrong number of cells.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        lines = text.splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from None
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = [line[1:].strip() for line in lines[:start]]
    reader = csv.reader(lines[start:], delimiter="\t")
    header = next(reader, [])
    lacking = [column for column in columns if column not in header]
    if lacking:
        raise ConfigError(
            f"{path}: the header row lacks {', '.join(lacking)}. It must have the columns "
            f"{', '.join(columns)}, separated by tabs"
        )
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise ConfigError(
                f"{path}, line {start + reader.line_num}: {len(cells)} cells, but the header row "
                f"has {len(header)}; separate columns by one tab"
            )
        rows.append(dict(zip(header, cells, strict=True)))
    return head, rows


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return one_line(value) if isinstance(value, str) else str(value)
