"""The spots of a slide's expression file."""

from pathlib import Path

import h5py


def read_spot_names(expression: str | Path) -> list[str]:
    """Read the ids of the spots in an AnnData file, in order, without the rest of it."""
    with h5py.File(expression) as file:
        obs = file["obs"]
        return obs[obs.attrs["_index"]].asstr()[:].tolist()
