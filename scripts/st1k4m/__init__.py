"""Read, align and cut the slides of STimage-1K4M; independent of Snakemake.

``read_counts``, ``TileStore`` and ``Collection`` are the public interface. They are loaded at
their first use, so ``import st1k4m`` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st1k4m.expression.dense_csv import read_counts
    from st1k4m.formats.tile_store import TileStore
    from st1k4m.training.collection import Collection

__version__ = "0.1.0"
__all__ = ["Collection", "TileStore", "__version__", "read_counts"]

_MODULES = {
    "Collection": "st1k4m.training.collection",
    "TileStore": "st1k4m.formats.tile_store",
    "read_counts": "st1k4m.expression.dense_csv",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'st1k4m' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
