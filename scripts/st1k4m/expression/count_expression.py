"""The expression step: which spots count, and the AnnData file with all that follows from them."""

import csv
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.expression import anndata_file, metrics
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from st1k4m.expression.dense_csv import Counts

log = logging.getLogger(__name__)

#: Where files in archives are unpacked for a moment, below the working directory.
UNPACKED = "work/unpacked"


def count_expression(
    counts: str | Path,
    coord: str | Path,
    out: str | Path,
    *,
    slide: str,
    species: str,
    options: dict,
    threads: int = 1,
    layout: dict | None = None,
    made: Made | None = None,
) -> None:
    """Read the counts of a slide and write the expression of the spots that count.

    These are the spots that are in both files and pass the filters. Normalisation, QC of genes and
    variable genes are over exactly these.

    Parameters
    ----------
    counts, coord
        ``<slide>_count.csv`` and ``<slide>_coord.csv``; of the latter only the ids are used.
    out
        The AnnData file to write: ``X`` float32 and ``layers['counts']`` int32, both CSR; QC in
        ``obs`` and ``var`` under scanpy's names; variable genes in ``var``; ``uns['dropped']``:
        every other spot of the count file, with the reason; ``uns['facts']``.
    slide
        Name of the slide.
    species
        As in the meta table; decides which genes are mitochondrial.
    options
        ``min_genes``, ``min_counts``: a spot with less is dropped. ``max_pct_mito``: a spot with
        more is dropped; None for no limit. ``min_spots``: a gene found in fewer spots is dropped.
        ``target_sum``: total that each spot's counts are normalised to, ``"median"`` for the median
        over the spots. ``n_top_genes``, ``theta``: variable genes, by Pearson residuals.
        ``compression``: a name of `st1k4m.h5ad.COMPRESSIONS`.
    threads
        Threads that read the counts; the result does not depend on it.
    layout
        Of a slide of one's own, see `st1k4m.source.catalogue.Catalogue.layout`; its parts
        ``counts`` and ``coord`` then say what is read, and spots not in tissue are dropped.
    made
        What the file is made from; it carries that.

    Raises
    ------
    SlideError
        A file cannot be read; the two have no spot in common; none of those in common passes the
        filters though some have counts.
    """
    from st1k4m.expression.mitochondria import find_mitochondrial

    table, own_facts = _read_counts(counts, threads, slide, layout)
    log.info("%d spots, %d genes, %d non-zeros", *table.matrix.shape, table.matrix.nnz)
    located, off_tissue = _read_spots(slide, coord, layout)
    shared = np.array([spot in located for spot in table.spots], bool)
    if not shared.any():
        raise SlideError(
            slide,
            f"{Path(counts).name} ({len(shared):,} spots, the first is "
            f"{table.spots[0][:80]!r}) and {Path(coord).name} ({len(located):,}) "
            "have no spot in common",
            "check that both files belong to this slide and write the ids in the same way",
        )
    mitochondrial, rule = find_mitochondrial(table.genes, species)
    reasons = _judge_spots(table.matrix, mitochondrial, options)
    reasons[[spot in off_tissue for spot in table.spots]] = "not_in_tissue"
    reasons[~shared] = "no_coordinates"
    _refuse_overfiltered(slide, reasons)
    kept = reasons == ""
    facts = {
        "spots_in_file": len(kept),
        "genes_in_file": len(table.genes),
        "mitochondrial_rule": rule,
        "mitochondrial_genes": int(mitochondrial.sum()),
        **own_facts,
        "warnings": [
            *table.warnings,
            *_find_oddities(slide, table.spots, kept, mitochondrial, options),
        ],
    }
    for warning in facts["warnings"]:
        log.warning(warning)
    spots = np.array(table.spots, object)
    found = _Table(
        slide=slide,
        matrix=table.matrix,
        spots=spots,
        barcodes=np.array([spot.removeprefix(f"{slide}_") for spot in table.spots], object),
        genes=np.array(table.genes, object),
        gene_ids=np.array(table.gene_ids, object),
        mitochondrial=mitochondrial,
        options={key: value for key, value in options.items() if value is not None},
        facts=facts,
        dropped={"spot": spots[~kept].tolist(), "reason": reasons[~kept].tolist()},
    )
    # Neither name holds on to the counts of all spots while those of the kept ones are written.
    del table
    found = found.of_spots(kept)
    _write(out, found, made)


def subset_expression(expression: str | Path, keep: np.ndarray, out: str | Path) -> None:
    """Write an expression file anew without some of its spots.

    Everything is computed over the rest, so the numbers are those that `count_expression` would
    have written without these spots.

    Parameters
    ----------
    expression
        What `count_expression` wrote.
    keep
        (spots,) bool, by the order of the file.
    out
        Where to write. ``uns['dropped']`` stays what it was.
    """
    import h5py

    with h5py.File(expression) as file:
        uns = anndata_file.read(file["uns"])
        table = _Table(
            slide=uns["slide"],
            matrix=anndata_file.read_csr(file["layers/counts"]),
            spots=np.array(anndata_file.read(file["obs/_index"]), object),
            barcodes=np.array(anndata_file.read(file["obs/barcode"]), object),
            genes=np.array(anndata_file.read(file["var/name"]), object),
            gene_ids=np.array(
                anndata_file.read(file["var/gene_ids"]) if "gene_ids" in file["var"] else [], object
            ),
            mitochondrial=file["var/mt"][:],
            options=uns["options"],
            facts=uns["facts"],
            dropped=uns["dropped"],
        )
    table = table.of_spots(keep)
    _write(out, table)


@dataclass
class _Table:
    """What an expression file is made from."""

    slide: str
    matrix: "csr_matrix"
    spots: np.ndarray
    barcodes: np.ndarray
    genes: np.ndarray
    gene_ids: np.ndarray
    mitochondrial: np.ndarray
    options: dict
    facts: dict
    dropped: dict

    def of_spots(self, keep: np.ndarray) -> "_Table":
        """Return what is left with these spots; this table is of no use afterwards."""
        if keep.all():
            return self
        return replace(
            self,
            matrix=metrics.compact_in_place(self.matrix, keep),
            spots=self.spots[keep],
            barcodes=self.barcodes[keep],
        )

    def of_genes(self, keep: np.ndarray) -> "_Table":
        if keep.all():
            return self
        return replace(
            self,
            matrix=self.matrix[:, keep],
            genes=self.genes[keep],
            gene_ids=self.gene_ids[keep] if len(self.gene_ids) else self.gene_ids,
            mitochondrial=self.mitochondrial[keep],
        )


def _read_counts(
    counts: str | Path, threads: int, slide: str, layout: dict | None
) -> tuple["Counts", dict]:
    """Read the counts, and what a slide of one's own says of them for the record."""
    if layout:
        from st1k4m.expression.read_own import read_own_counts

        return read_own_counts(slide, layout["counts"], UNPACKED, threads)
    from st1k4m.expression.dense_csv import read_counts

    return read_counts(counts, threads), {}


def _read_spots(slide: str, coord: str | Path, layout: dict | None) -> tuple[set[str], set[str]]:
    """Read the ids of the spots with a position, and of those said to be beside the tissue."""
    if not layout:
        return _read_ids(slide, Path(coord)), set()
    from st1k4m.source.positions import read_positions

    positions = read_positions(slide, layout["coord"])
    spots = np.array([f"{slide}_{barcode}" for barcode in positions.barcodes], object)
    return set(spots), set(spots[~positions.selected])


def _read_ids(slide: str, coord: Path) -> set[str]:
    """Read the first column of a coordinate file; `align_spots` sees to the rest of it."""
    try:
        with coord.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            next(reader, None)
            return {row[0] for row in reader if row}
    except (FileNotFoundError, csv.Error) as error:
        raise SlideError(
            slide, f"{coord.name} cannot be read: {error}", "fetch it again"
        ) from error


def _judge_spots(matrix: "csr_matrix", mitochondrial: np.ndarray, options: dict) -> np.ndarray:
    """Return why each spot is dropped, an empty text for those that pass the filters."""
    genes = np.diff(matrix.indptr)
    totals, of_mitochondrial, _ = metrics.sum_spots(matrix, mitochondrial)
    reasons = np.full(len(genes), "", object)
    if options["max_pct_mito"] is not None and mitochondrial.any():
        reasons[of_mitochondrial > totals * options["max_pct_mito"] / 100] = "high_mito"
    reasons[totals < options["min_counts"]] = "few_counts"
    reasons[genes < options["min_genes"]] = "few_genes"
    reasons[(genes == 0) & (reasons != "")] = "no_genes"
    return reasons


def _refuse_overfiltered(slide: str, reasons: np.ndarray) -> None:
    """Refuse filters that leave no spot though some have counts."""
    often = Counter(reasons[reasons != "no_coordinates"])
    if "" in often or set(often) == {"no_genes"}:
        return
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(often.items()))
    raise SlideError(
        slide,
        f"none of the {often.total():,} spots passes the filters ({told})",
        "lower min_genes or min_counts, or raise max_pct_mito, for this technology",
    )


def _drop_genes(table: _Table) -> _Table:
    """Drop the genes found in fewer spots than ``min_spots``."""
    least = table.options["min_spots"]
    if not least or not len(table.spots):
        return table
    in_spots, *_ = metrics.sum_genes(table.matrix)
    if in_spots.max() < least:
        raise SlideError(
            table.slide, f"no gene is found in {least:,} spots", "lower min_spots for this slide"
        )
    return table.of_genes(in_spots >= least)


def _write(out: str | Path, table: _Table, made: Made | None = None) -> None:
    """Compute all that follows from the counts and write the file."""
    options = table.options
    table = _drop_genes(table)
    totals, obs = metrics.describe_spots(table.matrix, table.mitochondrial)
    var = metrics.describe_genes(table.matrix, totals, options["n_top_genes"], options["theta"])
    target = options["target_sum"]
    if target == "median":
        target = metrics.median_total(totals)
    repeated = _is_repeated(table.genes)
    facts = table.facts | {
        "spots": len(table.spots),
        "genes": len(table.genes),
        "genes_without_counts": int((var["total_counts"] == 0).sum()),
        "genes_with_repeated_names": int(repeated.sum()),
        "total_counts": int(totals.sum()),
        "non_zeros": table.matrix.nnz,
    }
    with atomic(out, made) as whole, anndata_file.create(whole) as file:
        anndata_file.write_frame(file, "obs", table.spots, {"barcode": table.barcodes} | obs)
        anndata_file.write_frame(
            file,
            "var",
            make_unique(table.genes),
            {
                "name": table.genes,
                "is_duplicate": repeated,
                "mt": table.mitochondrial,
            }
            | ({"gene_ids": table.gene_ids} if len(table.gene_ids) else {})
            | var,
        )
        compression = options["compression"]
        counts = anndata_file.write_csr(file["layers"], "counts", table.matrix, compression)
        x = anndata_file.create_csr_like(file, "X", counts, np.float32, compression)
        for begin, values in metrics.normalise(table.matrix, totals, target, anndata_file.CHUNK):
            x[begin : begin + len(values)] = values
        uns = {
            "slide": table.slide,
            "normalisation": {
                "target_sum": target,
                "target": str(options["target_sum"]),
                "log1p": True,
            },
            "log1p": {},
            "hvg": {
                "flavor": "pearson_residuals",
                "computed_on": "counts",
                "theta": options["theta"],
                "n_top_genes": options["n_top_genes"],
            },
            "options": options,
            "facts": facts,
            "dropped": table.dropped,
        }
        for name, value in uns.items():
            anndata_file.write(file["uns"], name, value)


def make_unique(names: np.ndarray) -> list[str]:
    """Append numbers to names that occurred before, ``A``, ``A-1``, ``A-2``, as anndata does."""
    taken = set(names)
    if len(taken) == len(names):
        return list(names)
    seen: set[str] = set()
    numbers: Counter[str] = Counter()
    unique = []
    for name in names:
        new = name
        while new in seen or (new != name and new in taken):
            numbers[name] += 1
            new = f"{name}-{numbers[name]}"
        seen.add(new)
        unique.append(new)
    return unique


def _is_repeated(names: np.ndarray) -> np.ndarray:
    often = Counter(names)
    return np.array([often[name] > 1 for name in names], bool)


def _find_oddities(
    slide: str, spots: list[str], kept: np.ndarray, mitochondrial: np.ndarray, options: dict
) -> list[str]:
    """Say in sentences what a user should know of spots and filters."""
    oddities = []
    strangers = [spot for spot in spots if not spot.startswith(f"{slide}_")]
    if strangers:
        oddities.append(
            f"{len(strangers):,} spot ids do not begin with {slide}_, the first is "
            f"{strangers[0][:80]!r}; they are kept as they are"
        )
    if options["max_pct_mito"] is not None and not mitochondrial.any():
        oddities.append("max_pct_mito has no effect: no mitochondrial genes are known")
    if not kept.any():
        oddities.append("no spot is left: all counts of the spots with coordinates are zero")
    return oddities
