"""What differs between technologies: one row each. Standard library only: read at parse time.

A new technology is a row here, and its arrays in ``config/geometry.tsv``. A reader of a layout that
only one technology has (``source/st_folder.py``) names that technology.
"""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Technology:
    r"""What a technology's slides have in common.

    Attributes
    ----------
    name
        Its folder in the dataset, and its name in the catalogue and the configuration.
    spot_id
        Pattern of a whole spot id without the slide's name. Its groups say what the id states:
        ``row`` and ``col`` on the array, ``um`` (the side of a bin), or ``bases`` (a barcode, which
        only a table places on the array). No array has a million rows, so a longer number is not a
        position.
    id_format
        Writes a spot id from ``row`` and ``col``; empty where ids are barcodes.
    bare_id
        Pattern, one group: what identifies a spot at the end of any id, whatever stands before it
        and behind it.
    directions
        Unit steps (x, y) of columns and of rows in the image, y down; None where unknown.
    binned
        Whether spots are squares that touch, not discs.
    hest
        HEST-1k's words for it, in lower case.
    decimals
        Whether the dataset's count files print ``3.0`` for 3.
    cell_bytes
        Bytes of a cell of these files with its comma: most cells are zero.
    genes_found
        Genes found in a spot: in an ordinary slide, and in the richest that a job must hold.
    image_bytes
        Bytes of an image where the source does not state its size.
    covered
        Share of the image that the squares around the spots cover: side over pitch, squared, times
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
    # The number behind the bases is the library's, which says nothing here.
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
#: Of a slide whose files do not tell its technology: it costs what a Visium slide costs.
UNKNOWN = dataclasses.replace(VISIUM, name="", spot_id="", bare_id="", directions=None)


def technology(name: str) -> Technology:
    """Return the row of a technology; `UNKNOWN` for any other name."""
    return TECHNOLOGIES.get(name, UNKNOWN)
