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
        What a tile shows: ``spot``, the square around it, or micrometres, such as ``112um``.
    size
        Pixels of a tile's side; ``native`` for those of the image.
    edge
        A square that leaves the image is padded (``pad``), or its spot dropped (``drop``).
    fill
        RGB colour beyond the image, 0 to 255.
    upsample
        A slide too coarse for extent and size fails (``refuse``) or has a ``flag``.
    compression
        Of the tiles, one of `COMPRESSIONS`.
    tissue_threshold
        Share of tissue in the square from which a spot is in tissue.
    drop_off_tissue
        Whether the spots below it are dropped.
    max_pixels
        An image that declares more is refused.
    pixels
        Whether the store holds the tiles, or only their places.

    Raises
    ------
    ValueError
        A value that the option cannot have.
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
        """Return the options in a section of the configuration.

        Of its ``format`` only ``none`` concerns the store: then that has no pixels.
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
            raise ValueError(f"extent is {self.extent!r}, expected spot or micrometres as 112um")
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
