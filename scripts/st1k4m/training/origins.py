"""Check that the files of pairs belong together, by what each was made from."""

import os
from collections.abc import Iterable
from pathlib import Path

from st1k4m.errors import SlideError, StaleProductError
from st1k4m.run.products import read_made
from st1k4m.run.provenance import check_reads, digest_of
from st1k4m.run.steps import REVISIONS

_MAKE_AGAIN = "run the workflow again with this version"


def check_slide(slide: str, store: str | Path, anndata: str | Path | None) -> str:
    """Compare the tile store and the AnnData of a slide.

    Parameters
    ----------
    slide
        Name of the slide.
    store, anndata
        The files; None for an AnnData that is not read.

    Returns
    -------
    str
        Digest of what the AnnData was made from; empty if ``anndata`` is None.

    Raises
    ------
    SlideError
        A file cannot be read or was made by another version, or the AnnData was made from another
        tile store.
    """
    files = {"cut_tiles": store} | ({"build_anndata": anndata} if anndata is not None else {})
    try:
        made = {step: (str(path), read_made(path)) for step, path in files.items()}
        return check_reads(slide, made).get("build_anndata", "")
    except StaleProductError as error:
        raise SlideError(slide, error.what, _MAKE_AGAIN) from None
    except FileNotFoundError as error:
        what = f"{os.fsdecode(error.filename)} does not exist"
        raise SlideError(slide, what, "run the workflow again") from None
    except (OSError, ValueError) as error:
        what = f"one of {', '.join(map(str, files.values()))} cannot be read ({error})"
        raise SlideError(slide, what, _MAKE_AGAIN) from None


def check_panel(panel: str | Path, anndata: Iterable[tuple[str, str]]) -> None:
    """Compare the stacked expression of a panel with the AnnData files of its slides.

    Parameters
    ----------
    panel
        ``panels/{name}.h5ad``.
    anndata
        The slides of the panel, in its order, each with the result of `check_slide` or `digest`.

    Raises
    ------
    ValueError
        The panel was made by another version, or from other files.
    """
    step, made = "choose_panel", read_made(panel)
    if made is None or (made.step, made.revision) != (step, REVISIONS[step]):
        found = f"revision {made.revision} of {made.step}" if made else "an unknown step"
        raise ValueError(
            f"{panel} was made by {found}, this version has revision {REVISIONS[step]} of {step}; "
            f"{_MAKE_AGAIN}"
        )
    lines = "\n".join(f"{slide} {digest}" for slide, digest in anndata)
    if made.reads.get("build_anndata") != digest_of(lines):
        raise ValueError(
            f"{panel} was made from other AnnData files than those in the results; "
            "run the workflow again"
        )


def digest(anndata: str | Path) -> str:
    """Return the digest of what an AnnData was made from; empty if it is missing or unknown.

    It is used for the slides of a panel that are not read.
    """
    try:
        made = read_made(anndata)
    except (OSError, ValueError):
        return ""
    return made.digest if made else ""
