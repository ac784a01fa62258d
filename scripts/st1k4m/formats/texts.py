"""Read texts in an AnnData file, in each of their encodings.

anndata 0.12 writes a column of texts as an array, 0.13 as values and a mask of missing ones; both
also write categories. ``anndata.io.read_elem`` reads all three, but it is not used here: its import
takes longer than these reads, and it cannot read a part of a column.
Specification: https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

import h5py
import numpy as np

Rows = slice | np.ndarray


def read_texts(item: h5py.Group | h5py.Dataset, rows: Rows = slice(None)) -> np.ndarray:
    """Read texts, categorical or not; missing ones are empty.

    Parameters
    ----------
    item
        A column or an index of ``obs`` or ``var``, or texts in ``uns``.
    rows
        The rows to read: a slice, or indices in ascending order.

    Returns
    -------
    np.ndarray
        (n,) object.
    """
    if isinstance(item, h5py.Dataset):
        texts: np.ndarray = item.asstr()[rows]
        return texts
    if "codes" in item:
        categories = np.array([*read_texts(item["categories"]), ""], object)
        chosen: np.ndarray = categories[item["codes"][rows]]  # code -1 is missing
        return chosen
    values = item["values"].asstr()[rows]
    return np.where(item["mask"][rows], "", values).astype(object)


def read_codes(item: h5py.Group | h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Read texts as codes, (n,) integers, -1 for missing ones, and the text of each code."""
    if isinstance(item, h5py.Group) and "codes" in item:
        return item["codes"][:], read_texts(item["categories"])
    names, codes = np.unique(read_texts(item), return_inverse=True)
    return codes, names


def read_index(frame: h5py.Group, rows: Rows = slice(None)) -> np.ndarray:
    """Read the index of ``obs`` or ``var``, or some of it, (n,) object."""
    return read_texts(frame[frame.attrs["_index"]], rows)
