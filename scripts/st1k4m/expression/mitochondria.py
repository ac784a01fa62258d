"""Find the mitochondrial genes by species and by the form of the gene names."""

import re
from collections.abc import Sequence

import numpy as np

ANIMALS = frozenset(
    {
        "human",
        "mouse",
        "human & mouse",
        "rattus norvegicus",
        "pig",
        "fish",
        "frog",
        "ambystoma mexicanum",
    }
)

_ASSEMBLY = re.compile(r"(?:hg19|hg38|GRCh3[78]|mm10|mm39|GRCm3[89])[_-]+(?=.)")
"""Prefix of a gene's name on a slide that was mapped to two species."""

_SYMBOL = re.compile(r"mt-.+", re.IGNORECASE)
"""MT-ND1 (human), mt-Nd1 (mouse), Mt-nd1 (rat), mt-nd1 (zebrafish)."""

_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})(?:\.\d+)?")

# Chromosome MT in Ensembl (GRCh38, GRCm39): 13 proteins, 2 rRNAs and 22 tRNAs each.
_ENSEMBL_MT = frozenset(
    f"ENSG00000{number}"
    for number in (
        *(198695, 198712, 198727, 198763, 198786, 198804, 198840, 198886, 198888, 198899),
        *(198938, 209082, 210049, 210077, 210082, 210100, 210107, 210112, 210117, 210127),
        *(210135, 210140, 210144, 210151, 210154, 210156, 210164, 210174, 210176, 210184),
        *(210191, 210194, 210195, 210196, 211459, 212907, 228253),
    )
) | frozenset(
    f"ENSMUSG000000{number}" for number in (*range(64336, 64362), *range(64363, 64373), 65947)
)

# The 13 proteins as NCBI's annotation names them in animals without a naming committee. A single
# name can belong to another gene, so at least _MOST of the 13 must be present.
_BARE = frozenset(
    (
        *("ND1", "ND2", "ND3", "ND4", "ND4L", "ND5", "ND6"),
        *("COX1", "COX2", "COX3", "ATP6", "ATP8", "CYTB"),
    )
)
_MOST = 7

_ARABIDOPSIS = re.compile(r"ATMG\d{5}", re.IGNORECASE)
"""Locus names of TAIR: AT, chromosome (1 to 5, C, M), G, five digits."""


def find_mitochondrial(genes: Sequence[str], species: str) -> tuple[np.ndarray, str]:
    """Find the mitochondrial genes of a slide.

    Parameters
    ----------
    genes
        Names as printed: symbols, Ensembl ids with or without a version, or both mixed. They have
        the assembly's name as prefix if the slide has two species.
    species
        The species as written in the meta table.

    Returns
    -------
    mitochondrial
        (genes,) bool. If no gene is found, the mitochondrial share of a spot is unknown, not 0.
    rule
        The rule that found them, or the reason why none was found.
    """
    names = [_ASSEMBLY.sub("", gene) for gene in genes]
    if species == "plant":
        rules = [("locus names ATMG (Arabidopsis)", lambda name: bool(_ARABIDOPSIS.match(name)))]
        missing = "no rule for plants without locus names such as ATMG00010 (Arabidopsis)"
    elif species in ANIMALS:
        rules = [("symbols MT-", _is_symbol), ("Ensembl ids", _is_ensembl)]
        if len(_BARE.intersection(map(str.upper, names))) >= _MOST:
            rules.append(("symbols ND1 to CYTB", lambda name: name.upper() in _BARE))
        missing = "no gene has a symbol MT-..., an Ensembl id of human or mouse mitochondria, or a "
        missing += "name out of ND1 to CYTB beside most of the others"
    else:
        return np.zeros(len(names), bool), f"no rule for species {species!r}"
    masks = {rule: np.fromiter(map(test, names), bool, len(names)) for rule, test in rules}
    found = [rule for rule, mask in masks.items() if mask.any()]
    return np.logical_or.reduce(list(masks.values())), " and ".join(found) or missing


def _is_symbol(name: str) -> bool:
    return bool(_SYMBOL.match(name))


def _is_ensembl(name: str) -> bool:
    match = _ENSEMBL.fullmatch(name)
    return match is not None and match[1] in _ENSEMBL_MT
