"""The spots of a slide's expression file."""

from pathlib import Path

import h5py

from st1k4m.formats.texts import read_index


def read_spot_names(expression: str | Path) -> list[str]:
    """Read the ids of the spots in an AnnData file, in order, without the rest of it."""
    with h5py.File(expression) as file:
        return read_index(file["obs"]).tolist()
