"""Options of the exports. Standard library only: imported at parse time."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StoreOptions:
    """The configuration's ``spatialdata``: optional contents of a SpatialData store.

    Attributes
    ----------
    full_image
        Include the full-resolution image, with levels that each have half the size.
    collection
        Include the slide's relations to other slides and its part in each split. Both need all
        slides: the store is then made after them, and made again when they change.
    """

    full_image: bool = False
    collection: bool = True

    @classmethod
    def from_config(cls, value: bool | Mapping[str, bool]) -> "StoreOptions | None":
        """Return the options; None if stores are switched off."""
        if isinstance(value, Mapping):
            return cls(**value)
        return cls() if value else None


@dataclass(frozen=True)
class CardOptions:
    """The configuration's ``card``: metadata of the collection for the card and for Croissant.

    Attributes
    ----------
    name
        Name of the collection.
    url
        Address where it is or will be published; by default the address of STimage-1K4M.
    creators
        Names of the creators; by default the authors of STimage-1K4M.
    licence
        Licence of the whole collection: an SPDX identifier, or ``other``, which refers to the
        licences of the studies.
    published
        Date, YYYY-MM-DD; by default the date of STimage-1K4M (arXiv 2406.06393). The date of the
        run is not used, because products would then differ from day to day.
    licences
        Path of the table of the studies' licences.
    """

    name: str = "STimage-1K4M, built"
    url: str = "https://huggingface.co/datasets/jiawennnn/STimage-1K4M"
    creators: tuple[str, ...] = (
        "Jiawen Chen",
        "Muqing Zhou",
        "Wenrong Wu",
        "Jinwei Zhang",
        "Yun Li",
        "Didong Li",
    )
    licence: str = "other"
    published: str = "2024-06-10"
    licences: str = "config/licences.tsv"

    @classmethod
    def from_config(cls, value: bool | Mapping) -> "CardOptions | None":
        """Return the options; None if the card is switched off."""
        if isinstance(value, Mapping):
            values = dict(value)
            if "creators" in values:
                values["creators"] = tuple(values["creators"])
            return cls(**values)
        return cls() if value else None
