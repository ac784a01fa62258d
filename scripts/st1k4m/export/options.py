"""What the configuration says of the exports. Standard library only: imported at parse time."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StoreOptions:
    """The configuration's ``spatialdata``: what goes into a SpatialData store.

    Attributes
    ----------
    full_image
        Also the slide's image in full, with levels of half the size each.
    collection
        Also the slide's relations to other slides and its part in each split. Both are over all
        slides, so the store is then made after them, and again when they change.
    """

    full_image: bool = False
    collection: bool = True

    @classmethod
    def from_config(cls, value: bool | Mapping[str, bool]) -> "StoreOptions | None":
        """Return the options; None if no stores are asked for."""
        if isinstance(value, Mapping):
            return cls(**value)
        return cls() if value else None


@dataclass(frozen=True)
class CardOptions:
    """The configuration's ``card``: what the card and Croissant say of the collection.

    Attributes
    ----------
    name
        Of the collection.
    url
        Where it is, or will be, published. By default where STimage-1K4M is.
    creators
        Who made it. By default the authors of STimage-1K4M.
    licence
        Of the collection as a whole: an identifier of SPDX, or ``other``, which refers to the
        studies' own.
    published
        The day, as YYYY-MM-DD. By default that of STimage-1K4M (arXiv 2406.06393). No run states
        its own day: its products would differ from day to day.
    licences
        The table of the studies' licences.
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
        """Return the options; None if no card is asked for."""
        if isinstance(value, Mapping):
            values = dict(value)
            if "creators" in values:
                values["creators"] = tuple(values["creators"])
            return cls(**values)
        return cls() if value else None
