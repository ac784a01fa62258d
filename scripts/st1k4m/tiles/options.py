"""The options of `cut_tiles`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from st1k4m.image.decode import MAX_PIXELS

EDGES = ("pad", "drop")
UPSAMPLE = ("refuse", "flag")
COMPRESSIONS = ("none", "lzf", "gzip")

_MICROMETRES = re.compile(r"(\d+(\.\d+)?)um")


@dataclass(frozen=True)
class TileOptions:
    """The options of `cut_tiles`: the section ``tiles`` of the configuration.

    Attributes
    ----------
    extent
        Area of a tile: ``spot`` for the square around the spot, or its side in micrometres, such
        as ``112um``.
    size
        Side of a tile in pixels; ``native`` for the pixels of the image.
    edge
        ``pad``: a square that is partly outside the image is padded. ``drop``: its spot is dropped.
    fill
        RGB colour outside the image, 0 to 255.
    upsample
        Handling of slides that are too coarse for extent and size: they fail (``refuse``) or are
        flagged (``flag``).
    compression
        Compression of the tiles, one of `COMPRESSIONS`.
    tissue_threshold
        Smallest share of tissue in the square of a spot that is in tissue.
    drop_off_tissue
        Whether spots below ``tissue_threshold`` are dropped.
    max_pixels
        An image with more pixels is refused.
    pixels
        Whether the store has the tiles, or only their places.

    Raises
    ------
    ValueError
        An option has an invalid value.
    """

    extent: str = "spot"
    size: int | str = "native"
    edge: str = "pad"
    fill: Sequence[int] = (0, 0, 0)
    upsample: str = "flag"
    compression: str = "none"
    tissue_threshold: float = 0.5
    drop_off_tissue: bool = False
    max_pixels: float = MAX_PIXELS
    pixels: bool = True

    @classmethod
    def of_section(cls, section: Mapping[str, Any]) -> "TileOptions":
        """Read the options from a section of the configuration.

        If its ``format`` is ``none``, the store has no pixels; other formats do not change it.
        """
        values = dict(section)
        if "format" in values:
            values.setdefault("pixels", values.pop("format") != "none")
        return cls(**values)

    @property
    def micrometres(self) -> float | None:
        """The extent in micrometres; None for the square around the spot."""
        found = _MICROMETRES.fullmatch(self.extent)
        return float(found[1]) if found else None

    def __post_init__(self) -> None:
        if self.extent != "spot" and self.micrometres is None:
            raise ValueError(f"extent is {self.extent!r}, expected spot or micrometres, e.g. 112um")
        if self.size != "native" and (isinstance(self.size, str) or self.size < 1):
            raise ValueError(f"size is {self.size!r}, expected native or pixels, at least 1")
        for name, known in (
            ("edge", EDGES),
            ("upsample", UPSAMPLE),
            ("compression", COMPRESSIONS),
        ):
            if getattr(self, name) not in known:
                found = getattr(self, name)
                raise ValueError(f"{name} is {found!r}, expected one of {', '.join(known)}")
        if len(self.fill) != 3 or not all(0 <= value <= 255 for value in self.fill):
            raise ValueError(f"fill is {self.fill!r}, expected three numbers from 0 to 255")
        if not 0 <= self.tissue_threshold <= 1:
            raise ValueError(
                f"tissue_threshold is {self.tissue_threshold!r}, expected a share from 0 to 1"
            )
        if not self.max_pixels > 0:
            raise ValueError(f"max_pixels is {self.max_pixels!r}, expected above 0")
