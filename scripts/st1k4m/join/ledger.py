"""Make the ledger: every spot of a slide, and whether and why it was dropped."""

import math
from collections import Counter
from itertools import compress

import numpy as np

from st1k4m import codes
from st1k4m.errors import SlideError
from st1k4m.formats.ledger import Ledger
from st1k4m.formats.spots import SpotTable


def make_ledger(
    slide: str,
    in_expression: list[str],
    dropped_by_expression: dict[str, str],
    spots: SpotTable,
    dropped_by_tiles: dict[str, str],
) -> Ledger:
    """List every spot of the count file and of the coordinate file once, with its status.

    Parameters
    ----------
    slide
        Name of the slide.
    in_expression
        Ids that ``count_expression`` kept, in the order of the AnnData.
    dropped_by_expression
        The other ids of the count file, each with its reason.
    spots
        The table of ``align_spots``.
    dropped_by_tiles
        Ids that ``cut_tiles`` dropped, each with its reason.

    Returns
    -------
    Ledger
        The spots of the coordinate file in its order, then the spots that have only counts.
        Reasons are keys of `st1k4m.codes.REASONS`.
    """
    counted = {*in_expression, *dropped_by_expression}
    reasons = dict.fromkeys(spots.spot, codes.NO_COUNTS)
    if spots.selected is not None:  # files of the user's own slides state the spots in tissue
        reasons |= dict.fromkeys(compress(spots.spot, ~spots.selected), codes.NOT_IN_TISSUE)
    reasons |= dropped_by_expression
    reasons |= dict.fromkeys(in_expression, "")
    for spot in compress(spots.spot, spots.outside):
        reasons[spot] = reasons[spot] or codes.OUTSIDE_IMAGE
    reasons |= dropped_by_tiles
    kept = [spot for spot in in_expression if not reasons[spot]]
    tile = {spot: row for row, spot in enumerate(kept)}

    every = list(reasons)
    only_counted = len(every) - len(spots.spot)
    prefix = f"{slide}_"

    def with_counted(values: np.ndarray, missing: float) -> np.ndarray:
        return np.concatenate([values, np.full(only_counted, missing, values.dtype)])

    return Ledger(
        spot=every,
        barcode=[spot.removeprefix(prefix) for spot in every],
        in_counts=np.array([spot in counted for spot in every], bool),
        in_coord=np.arange(len(every)) < len(spots.spot),
        x=with_counted(spots.x, math.nan),
        y=with_counted(spots.y, math.nan),
        r=with_counted(spots.r, math.nan),
        array_row=with_counted(spots.array_row, -1),
        array_col=with_counted(spots.array_col, -1),
        tile=np.array([tile.get(spot, -1) for spot in every], np.int64),
        reason=list(reasons.values()),
    )


def refuse_empty(slide: str, in_expression: list[str], account: Ledger) -> None:
    """Raise if a slide has spots with counts, but none of them is kept."""
    reasons = Counter(account.reason)
    if in_expression and not reasons[""]:
        listed = ", ".join(f"{why} {reasons[why]:,}" for why in codes.REASONS if reasons[why])
        raise SlideError(
            slide,
            f"none of the {len(in_expression):,} spots with counts is left ({listed})",
            "check the coordinate file, or loosen tiles.edge, tiles.extent or "
            "tiles.drop_off_tissue",
        )
