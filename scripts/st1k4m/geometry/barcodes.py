"""Array positions that spot ids state."""

import re
from dataclasses import dataclass

import numpy as np

# ST: column x row. VisiumHD: the side of a bin in micrometres, then row and column. No array has a
# million rows, so a longer number is no position.
_ST_ID = re.compile(r"(\d{1,6})x(\d{1,6})")
_HD_ID = re.compile(r"s_(\d{1,6})um_(\d{1,6})_(\d{1,6})-\d+")


@dataclass(frozen=True)
class ArrayIds:
    """Array positions that the barcodes themselves state.

    ``row`` and ``col`` are int32; ``bin_um`` is the side of a VisiumHD bin, None for ST.
    """

    row: np.ndarray
    col: np.ndarray
    bin_um: float | None


def read_positions(barcodes: list[str]) -> ArrayIds | None:
    """Read the array positions out of ST (``10x13``) or VisiumHD barcodes.

    Parameters
    ----------
    barcodes
        Spot ids without the slide's name.

    Returns
    -------
    ArrayIds or None
        None where not every barcode states a position (Visium), or the bins differ in size.
    """
    text = "\n".join(barcodes)
    st = _ST_ID.findall(text) if _ST_ID.fullmatch(barcodes[0]) else []
    if st and all(map(_ST_ID.fullmatch, barcodes)):
        col, row = np.array(st, np.int32).T
        return ArrayIds(row, col, None)
    hd = _HD_ID.findall(text) if _HD_ID.fullmatch(barcodes[0]) else []
    if hd and all(map(_HD_ID.fullmatch, barcodes)):
        side, row, col = np.array(hd, np.int32).T
        if (side == side[0]).all():
            return ArrayIds(row, col, float(side[0]))
    return None
