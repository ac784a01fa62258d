"""The ledger: every spot of a slide and what became of it."""

import math
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from st1k4m import codes
from st1k4m.errors import SlideError


def make_ledger(
    slide: str,
    in_expression: list[str],
    dropped_by_expression: dict[str, str],
    spots: pa.Table,
    dropped_by_tiles: dict[str, str],
) -> pa.Table:
    """Account for every spot of the count file and of the coordinate file, once.

    Parameters
    ----------
    slide
        Name of the slide.
    in_expression
        Ids that ``count_expression`` kept, in the order of the AnnData.
    dropped_by_expression
        The count file's other ids, each with its reason.
    spots
        The table of ``align_spots``.
    dropped_by_tiles
        Ids that ``cut_tiles`` left out, each with its reason.

    Returns
    -------
    pyarrow.Table
        Columns ``spot, barcode, in_counts, in_coord, x, y, r, array_row, array_col, tile, status,
        reason``: the coordinate file's spots in its order, then those that only have counts.
        ``tile`` is the row in the tile store, -1 for none; ``status`` is ``kept`` for the spots in
        the AnnData, else ``dropped`` with one of `codes.REASONS`.
    """
    coordinate_spots = spots["spot"].to_pylist()
    counted = {*in_expression, *dropped_by_expression}
    reasons = dict.fromkeys(coordinate_spots, codes.NO_COUNTS)
    if "selected" in spots.column_names:  # a slide of one's own says which spots are in tissue
        off_tissue = spots["spot"].filter(pc.invert(spots["selected"])).to_pylist()
        reasons |= dict.fromkeys(off_tissue, codes.NOT_IN_TISSUE)
    reasons |= dropped_by_expression
    reasons |= dict.fromkeys(in_expression, "")
    for spot in spots["spot"].filter(spots["outside"]).to_pylist():
        reasons[spot] = reasons[spot] or codes.OUTSIDE_IMAGE
    reasons |= dropped_by_tiles
    kept = [spot for spot in in_expression if not reasons[spot]]
    tile = {spot: row for row, spot in enumerate(kept)}

    every = list(reasons)
    only_counted = len(every) - len(coordinate_spots)
    prefix = f"{slide}_"

    def with_counted(name: str, missing: float) -> pa.Array:
        values = spots[name].combine_chunks()
        return pa.concat_arrays([values, pa.array([missing] * only_counted, values.type)])

    return pa.table(
        {
            "spot": every,
            "barcode": [spot.removeprefix(prefix) for spot in every],
            "in_counts": [spot in counted for spot in every],
            "in_coord": [True] * len(coordinate_spots) + [False] * only_counted,
            "x": with_counted("x", math.nan),
            "y": with_counted("y", math.nan),
            "r": with_counted("r", math.nan),
            "array_row": with_counted("array_row", -1),
            "array_col": with_counted("array_col", -1),
            "tile": pa.array([tile.get(spot, -1) for spot in every], pa.int64()),
            "status": [codes.DROPPED if why else codes.KEPT for why in reasons.values()],
            "reason": list(reasons.values()),
        }
    )


def refuse_empty(slide: str, in_expression: list[str], account: pa.Table) -> None:
    """Refuse a slide that has spots with counts, and none of them in the image."""
    reasons = Counter(account["reason"].to_pylist())
    if in_expression and not reasons[""]:
        told = ", ".join(f"{why} {reasons[why]:,}" for why in codes.REASONS if reasons[why])
        raise SlideError(
            slide,
            f"none of the {len(in_expression):,} spots with counts is left ({told})",
            "check the coordinate file, or loosen tiles.edge, tiles.extent or "
            "tiles.drop_off_tissue",
        )
