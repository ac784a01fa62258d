"""Read the counts of the user's own slides, in each supported format."""

import contextlib
import csv
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.expression import tenx
from st1k4m.expression.dense_csv import Counts, read_counts
from st1k4m.source import places
from st1k4m.source.inputs import open_h5ad
from st1k4m.source.st_folder import ST_ID

_TAB_TO_COMMA = bytes.maketrans(b"\t", b",")
# Places in an AnnData file that may have the raw counts, in the order in which they are tried.
_ANYWHERE = ("layers/counts", "raw/X", "X")


def read_own_counts(
    slide: str, part: dict, folder: str | Path, threads: int = 1
) -> tuple[Counts, dict]:
    """Read the counts of a slide.

    Parameters
    ----------
    slide
        Name of the slide: ids become ``<slide>_<barcode>``.
    part
        The slide's ``counts`` part, see `st1k4m.source.own_layout.Recognised`.
    folder
        Folder where files in archives are unpacked temporarily.
    threads
        Number of threads that read text. The result does not depend on it.

    Returns
    -------
    counts
        Exactly the contents of the file.
    facts
        Facts for the record: ``counts_format``, and by format ``software``, ``other_features``,
        ``counts_from``.

    Raises
    ------
    SlideError
        A file is missing or cannot be read, or its values are not counts.
    """
    form = part["format"]
    facts: dict = {"counts_format": form}
    if form == "10x_h5":
        place = part["matrix"]
        with places.at_hand(slide, place, folder) as path, _named(path, place, slide):
            read = tenx.read_h5(path, slide)
    elif form == "10x_mtx":
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(_opened(slide, part[role]))
                for role in ("matrix", "barcodes", "features")
            ]
            read = tenx.read_mtx(*files, slide, part)
    elif form == "h5ad":
        return _read_h5ad(slide, part["matrix"], facts)
    else:
        return _read_text(slide, part["matrix"], folder, threads), facts
    warnings = []
    if read.other_features:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in read.other_features.items())
        warnings.append(f"features other than gene expression are left out: {listed}")
    facts |= {"software": read.software, "other_features": read.other_features}
    spots = [f"{slide}_{barcode}" for barcode in read.barcodes]
    ids = tuple(read.gene_ids)
    return Counts(read.matrix, spots, read.genes, tuple(warnings), ids), facts


@contextlib.contextmanager
def _named(path: Path, place: str, slide: str) -> Iterator[None]:
    """Name the slide and the original file in errors, not the unpacked copy that is read."""
    try:
        yield
    except SlideError as error:
        what = error.what.replace(str(path), place)
        raise SlideError(slide, what, error.hint) from error


@contextlib.contextmanager
def _opened(slide: str, place: str) -> Iterator:
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(places.open_place(place))
        except FileNotFoundError as error:
            raise places.missing(slide, place) from error
        try:
            yield file
        except (ValueError, EOFError) as error:
            raise SlideError(
                slide, f"{place} is damaged: {error}", "copy the file again"
            ) from error


def _read_text(slide: str, place: str, folder: str | Path, threads: int) -> Counts:
    """Read a dense table of Spatial Transcriptomics, with spots as rows or as columns."""
    with _as_commas(slide, place, folder) as path, _named(path, place, slide):
        read = read_counts(path, threads)
    matrix, spots, genes = read.matrix, read.spots, read.genes
    if all(ST_ID.match(name) for name in genes):  # genes are its rows
        matrix, spots, genes = matrix.T.tocsr(), genes, spots
    warnings = read.warnings
    if any("." in spot for spot in spots) and all(ST_ID.match(spot) for spot in spots):
        # An ST pipeline writes ids such as 11.98x7.03 after it has adjusted the positions.
        spots = ["x".join(str(round(float(part))) for part in spot.split("x")) for spot in spots]
        warnings += ("spot ids were adjusted positions; they are rounded to those of the array",)
    if len(set(spots)) < len(spots):
        twice = next(spot for spot in spots if spots.count(spot) > 1)
        raise SlideError(slide, f"{place}: spot {twice} occurs twice", "remove one of them")
    return Counts(matrix, [f"{slide}_{spot}" for spot in spots], genes, warnings)


@contextlib.contextmanager
def _as_commas(slide: str, place: str, folder: str | Path) -> Iterator[Path]:
    """Yield a copy of a table with commas as separators; the file itself if it has commas.

    The reader of dense text compares rows of printed zeros together with their commas.
    """
    with places.at_hand(slide, place, folder) as path, path.open("rb") as file:
        header = file.readline(1 << 26)
        if header.count(b"\t") < header.count(b","):
            yield path
            return
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked.") as copies:
            copy = Path(copies, path.name)
            with copy.open("wb") as out:
                names = next(csv.reader([header.decode("utf-8-sig", "replace")], delimiter="\t"))
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerow(names)
                out.write(text.getvalue().encode())
                while piece := file.read(1 << 22):
                    out.write(piece.translate(_TAB_TO_COMMA))
            yield copy


def _read_h5ad(slide: str, place: str, facts: dict) -> tuple[Counts, dict]:
    """Read the raw counts of an AnnData file from the first place with whole numbers."""
    from anndata.io import read_elem
    from scipy import sparse

    path, inside = places.split(place)
    if inside:
        raise SlideError(
            slide,
            f"{place} is in an archive; an .h5ad file cannot be read from an archive",
            "unpack the archive and name the unpacked file",
        )
    with open_h5ad(slide, path) as file:
        tried = []
        for where in _ANYWHERE:
            if where not in file:
                continue
            matrix = sparse.csr_matrix(read_elem(file[where]))
            values = matrix.data
            if values.size and (
                (values < 0).any() or (values != np.rint(values)).any() or values.max() > 2**31 - 1
            ):
                first = values[np.argmax((values < 0) | (values != np.rint(values)))]
                tried.append(f"{where} has the value {first:g}")
                continue
            names = read_elem(file["raw/var" if where.startswith("raw") else "var"])
            spots = [f"{slide}_{name}" for name in read_elem(file["obs"]).index]
            break
        else:
            found = "; ".join(tried) or f"it has none of {', '.join(_ANYWHERE)}"
            raise SlideError(
                slide,
                f"{path} has no raw counts (whole numbers from 0 to {2**31 - 1:,}): {found}",
                "give a file with the raw counts in layers['counts'], raw or X",
            )
    matrix = matrix.astype(np.int32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    ids = [str(value) for value in names["gene_ids"]] if "gene_ids" in names else []
    facts["counts_from"] = where
    genes = [str(name) for name in names.index]
    return Counts(matrix, spots, genes, gene_ids=tuple(ids)), facts
