"""Select the slides of a catalogue that are built."""

import difflib
from collections.abc import Mapping

from st1k4m import codes
from st1k4m.source.catalogue import Catalogue, Slide


def select(
    catalogue: Catalogue,
    select: Mapping[str, list[str]] | None = None,
    exclude: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Select the slides to build; return the status of every slide.

    Parameters
    ----------
    catalogue
        All slides.
    select
        Lists under ``tech``, ``species``, ``tissue``, ``slides``: a slide must match each list that
        is not empty. A slide without a row in the meta table must be named in ``slides``.
    exclude
        Slides to leave out, with the reasons.

    Returns
    -------
    selected
        Names in sorted order.
    status
        By slide: one of `codes.SELECTIONS`, and the reason.

    Raises
    ------
    ValueError
        Names are not in the catalogue: the message lists them, with similar names; or no slide is
        selected.
    """
    wanted = {key: set(names) for key, names in (select or {}).items() if names}
    exclude = exclude or {}
    _check_names(catalogue, wanted, exclude)
    status = {}
    for name, row in catalogue.slides.items():
        missed = [key for key in wanted if _value(row, key) not in wanted[key]]
        if name in exclude:
            status[name] = (codes.EXCLUDED, exclude[name])
        elif missed:
            status[name] = (codes.NOT_SELECTED, f"{missed[0]} not among those selected")
        elif row.status == codes.NO_ROW and "slides" not in wanted:
            status[name] = (codes.NOT_SELECTED, row.reason)
        else:
            status[name] = (codes.SELECTED, "")
    selected = sorted(name for name, (state, _) in status.items() if state == codes.SELECTED)
    if not selected:
        raise ValueError("select and exclude leave no slide; select more, or exclude fewer")
    return selected, status


def _value(row: Slide, key: str) -> str:
    return row.slide if key == "slides" else getattr(row, key)


def _check_names(catalogue: Catalogue, wanted: Mapping, exclude: Mapping) -> None:
    faults = []
    named = [(f"select: {key}", key, names) for key, names in wanted.items()]
    for where, key, names in [*named, ("exclude", "slides", exclude)]:
        known = {_value(row, key) for row in catalogue.slides.values()}
        for name in sorted(set(names) - known):
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
            if len(known) <= 60 and key != "slides":
                close = close or sorted(known)
            meant = f"; the catalogue has {', '.join(close)}" if close else ""
            faults.append(f"{where}: {name!r} is not in the catalogue{meant}")
    if faults:
        raise ValueError("\n".join(faults))
