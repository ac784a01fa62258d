"""The options of `align_spots`."""

from dataclasses import dataclass

RADII = ("file", "lattice")


@dataclass(frozen=True)
class AlignOptions:
    """The options of `align_spots`, as in the section ``geometry`` of the configuration.

    Attributes
    ----------
    radius
        The radius with which tiles are cut: that of the coordinate ``file``, or the one that the
        ``lattice`` implies.
    radius_tolerance
        Relative difference of the two above which the slide is flagged.
    auto_correct
        Whether a correction that is certain is applied.
    max_outside
        Share of spots outside the image above which the slide fails.
    barcodes
        Path of a table of barcodes, or of a folder of tables, see
        `st1k4m.geometry.barcodes.read_tables`; None for none.

    Raises
    ------
    ValueError
        An option has an invalid value.
    """

    radius: str = "file"
    radius_tolerance: float = 0.1
    auto_correct: bool = True
    max_outside: float = 0.05
    barcodes: str | None = None

    @classmethod
    def of_section(cls, section: dict) -> "AlignOptions":
        """Read the options from a section of the configuration; its two tables are left out."""
        return cls(**{k: v for k, v in section.items() if k not in ("table", "overrides")})

    def __post_init__(self) -> None:
        if self.radius not in RADII:
            raise ValueError(f"radius is {self.radius!r}, expected one of {', '.join(RADII)}")
        if not self.radius_tolerance > 0:
            raise ValueError(f"radius_tolerance is {self.radius_tolerance!r}, expected above 0")
        if not 0 <= self.max_outside <= 1:
            raise ValueError(f"max_outside is {self.max_outside!r}, expected a share from 0 to 1")
