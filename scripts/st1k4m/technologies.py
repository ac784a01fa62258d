"""The differences between technologies, one row each. Standard library only: read at parse time.

A new technology needs a row here, and its arrays in ``config/geometry.tsv``. A reader of a layout
that only one technology has (``source/st_folder.py``) names that technology.
"""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Technology:
    r"""Facts that all slides of a technology share.

    Attributes
    ----------
    name
        Its folder in the dataset, and its name in the catalogue and the configuration.
    spot_id
        Pattern of a whole spot id without the slide's name. Its groups are the facts in the id:
        ``row`` and ``col`` on the array, ``um`` (the side of a bin), or ``bases`` (a barcode, whose
        position only a table gives). No array has a million rows, so a longer number is not a
        position.
    id_format
        Format string of a spot id with ``row`` and ``col``; empty if ids are barcodes.
    bare_id
        Pattern with one group: the part of any id that identifies the spot. Text before it and a
        suffix after it are ignored.
    directions
        Unit steps (x, y) of columns and of rows in the image, y down; None if unknown.
    binned
        Whether spots are squares that touch, not discs.
    hest
        Names of the technology in HEST-1k, in lower case.
    decimals
        Whether the dataset's count files print ``3.0`` for 3.
    cell_bytes
        Mean size in bytes of a cell of these files with its comma; most cells are zero.
    genes_found
        Number of genes found in a spot: in a typical slide, and in the richest slide, for which
        the memory of a job is planned.
    image_bytes
        Assumed size in bytes of an image if the source does not state it.
    covered
        Share of the image that the squares around the spots cover: (side / pitch) squared, times
        the share of the image under the array.
    """

    name: str
    spot_id: str
    id_format: str
    bare_id: str
    directions: tuple[tuple[float, float], tuple[float, float]] | None
    binned: bool
    hest: tuple[str, ...]
    decimals: bool
    cell_bytes: float
    genes_found: tuple[int, int]
    image_bytes: float
    covered: float

    @property
    def barcoded(self) -> bool:
        """Whether spot ids are barcodes, which state no position on the array."""
        return "(?P<bases>" in self.spot_id


ST = Technology(
    name="ST",
    spot_id=r"(?P<col>\d{1,6})x(?P<row>\d{1,6})",
    id_format="{col}x{row}",
    bare_id=r"(\d+x\d+)$",
    directions=((1.0, 0.0), (0.0, 1.0)),
    binned=False,
    hest=("spatial transcriptomics", "st"),
    decimals=False,
    cell_bytes=3.0,
    genes_found=(3_000, 8_000),
    image_bytes=40e6,
    covered=0.25,
)

VISIUM = Technology(
    name="Visium",
    # The number after the bases is that of the sequencing library and is not used.
    spot_id=r"(?P<bases>[ACGT]{8,64})(-\d+)?",
    id_format="",
    bare_id=r"([ACGT]{12,})(?:-\d+)?$",
    # Space Ranger turns an image so that the first row is at the top and the first column at the
    # left, unless the user sets another orientation.
    directions=((1.0, 0.0), (0.0, 1.0)),
    binned=False,
    hest=("visium",),
    decimals=True,
    cell_bytes=4.0,
    genes_found=(4_000, 9_000),
    image_bytes=60e6,
    covered=0.3,
)

VISIUM_HD = Technology(
    name="VisiumHD",
    spot_id=r"s_(?P<um>\d{1,6})um_(?P<row>\d{1,6})_(?P<col>\d{1,6})-\d+",
    id_format="s_008um_{row:05d}_{col:05d}-1",
    bare_id=r"(s_\d+u[mu]_\d+_\d+)(?:-\d+)?$",
    # Columns run from right to left in all files seen so far.
    directions=((-1.0, 0.0), (0.0, 1.0)),
    binned=True,
    hest=("visium hd",),
    decimals=True,
    cell_bytes=4.0,
    genes_found=(350, 700),
    image_bytes=700e6,
    covered=0.7,
)

TECHNOLOGIES = {row.name: row for row in (ST, VISIUM, VISIUM_HD)}
TECHS = tuple(TECHNOLOGIES)
#: Row for a slide whose technology is unknown; its costs are those of a Visium slide.
UNKNOWN = dataclasses.replace(VISIUM, name="", spot_id="", bare_id="", directions=None)


def technology(name: str) -> Technology:
    """Return the row of a technology; `UNKNOWN` for any other name."""
    return TECHNOLOGIES.get(name, UNKNOWN)
