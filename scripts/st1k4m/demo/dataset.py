"""Generate slides in the dataset's layout: the demo, and the data of tests and benchmarks.

A slide is painted as stained tissue with several regions, and the counts of a spot follow the
region under it. If tiles are shifted against spots, the colour of the tiles no longer correlates
with the marker genes of their region (``MARKERS``); a test measures this.

The output depends only on the arguments and the seed: the same arguments give the same bytes.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from st1k4m.demo.tissue import (
    ARRAYS,
    REGIONS,
    LaidSpots,
    at_spots,
    lay_spots,
    paint_tissue,
    shape_tissue,
)
from st1k4m.technologies import ST, VISIUM, VISIUM_HD, technology

META_FILE = "meta/meta_all_gene02122025.csv"
META_COLUMNS = (
    "slide",
    "species",
    "tissue",
    "pmid",
    "title",
    "abstract",
    "keywords",
    "involve_cancer",
    "tech",
    "spot_num",
    "gene_num",
)
DEMO_PMID = "00000000"

# Genes by region, in the order of REGIONS.
MARKERS = {
    "human": (
        ("CD3E", "MS4A1", "PTPRC", "CD79A", "IGKC", "CXCL13"),
        ("EPCAM", "KRT8", "KRT18", "KRT19", "MUC1", "ERBB2"),
        ("COL1A1", "COL1A2", "COL3A1", "DCN", "LUM", "SPARC"),
        ("ADIPOQ", "PLIN1", "FABP4", "CFD", "LPL", "CIDEC"),
    ),
    "mouse": (
        ("Prox1", "Calb1", "Dsp", "Lct", "Stxbp6", "C1ql2"),
        ("Nrgn", "Neurod6", "Satb2", "Cck", "Lamp5", "Rasgrf2"),
        ("Mbp", "Plp1", "Mobp", "Mal", "Cnp", "Mog"),
        ("Gfap", "Slc1a2", "Aqp4", "Agt", "Aldoc", "Slc6a11"),
    ),
}
MITOCHONDRIAL = ("ND1", "ND2", "CO1", "CO2", "ATP6", "CYB")
ENSEMBL = {"human": "ENSG", "mouse": "ENSMUSG"}


def name_genes(number: int, species: str) -> tuple[list[str], np.ndarray]:
    """Make gene names, and the region that each gene marks.

    The names are like those of real headers: markers, mitochondrial genes, a name that occurs
    twice, versioned Ensembl ids, and at the end a gene without counts.

    Returns
    -------
    list of str
        ``number`` names.
    numpy.ndarray
        int64: the index into ``REGIONS``, -1 for genes that mark none.
    """
    style = species if species in MARKERS else "human"
    symbols, marks = [], []
    for wave in zip(*MARKERS[style], strict=True):  # each region has a marker early
        symbols += wave
        marks += range(len(wave))
    prefix = "mt-" if style == "mouse" else "MT-"
    plain = [prefix + (n.title() if style == "mouse" else n) for n in MITOCHONDRIAL]
    plain += ["DEMO0", "DEMO0"]
    plain += [f"{ENSEMBL[style]}{i:011d}.{1 + i % 9}" for i in range(1, 6)]
    names = [*symbols, *plain]
    names = [*names, *(f"DEMO{i}" for i in range(1, max(1, number - len(names)) + 1))][:number]
    marks = (marks + [-1] * number)[:number]
    return names, np.array(marks)


def sample_counts(
    marks: np.ndarray, region: np.ndarray, *, depth: float, seed: int, block: int = 256
) -> Iterator[np.ndarray]:
    """Sample the counts of spots from the region under each spot.

    Counts are overdispersed Poisson; ``depth`` sets how sparse they are. A gene's rate is its
    abundance (log-normal) times the depth of the spot (log-normal, a tenth on background). Marker
    genes have 8 times the rate in their region and a sixth elsewhere.

    Parameters
    ----------
    marks
        The region that each gene marks, see ``name_genes``.
    region
        Index into ``REGIONS`` under each spot, -1 for background.
    depth
        Expected counts in a spot on tissue.
    seed
        Seed of the random numbers.
    block
        Spots per array.

    Yields
    ------
    numpy.ndarray
        int64 (at most ``block``, genes). The last gene and the last spot have no counts.
    """
    rng = np.random.default_rng([seed, 4])
    abundance = rng.lognormal(0, 1.2, len(marks))
    abundance[marks >= 0] = np.quantile(abundance, 0.9)
    abundance *= depth / abundance.sum()
    abundance[-1] = 0.0
    factor = np.ones((len(REGIONS) + 1, len(marks)))
    factor[:, marks >= 0] = 1 / 6
    factor[marks[marks >= 0], np.flatnonzero(marks >= 0)] = 8.0
    scale = rng.lognormal(0, 0.35, len(region)) * np.where(region < 0, 0.1, 1.0)
    scale[-1] = 0.0
    for start in range(0, len(region), block):
        here = slice(start, start + block)
        yield rng.poisson(abundance * factor[region[here]] * scale[here, None])


def name_spots(array: str, spots: LaidSpots, seed: int) -> list[str]:
    """Return names as the platform's: ``10x13``, ``ACGT...-1`` or ``s_008um_00123_00456-1``."""
    written = ARRAYS[array].tech.id_format
    if written:
        positions = zip(spots.col.tolist(), spots.row.tolist(), strict=True)
        return [written.format(col=col, row=row) for col, row in positions]
    rng = np.random.default_rng([seed, 5])
    letters = np.frombuffer(b"ACGT", "S1")[rng.integers(0, 4, (2 * len(spots), 16))]
    drawn = letters.view("S16").ravel().astype(str).tolist()
    return [f"{barcode}-1" for barcode in list(dict.fromkeys(drawn))[: len(spots)]]


def write_counts(
    path: Path, spots: list[str], genes: list[str], blocks: Iterator[np.ndarray], *, decimals: bool
) -> None:
    """Write a count file: a dense CSV whose zeros are printed ``0`` or, with decimals, ``0.0``."""
    suffix = ".0" if decimals else ""
    printed = np.array([b""])
    rows = iter(spots)
    with path.open("wb") as file:
        file.write(f",{','.join(genes)}\n".encode())
        for block in blocks:
            if (largest := int(block.max(initial=0))) >= len(printed):
                printed = np.array([f",{count}{suffix}".encode() for count in range(largest + 1)])
            for counts in block:
                # Fixed-width cells are padded with NUL; without NUL they are the CSV.
                cells = printed[counts].tobytes().translate(None, b"\0")
                file.write(next(rows).encode() + cells + b"\n")


def write_coordinates(path: Path, names: list[str], spots: LaidSpots, array: str) -> None:
    """Write a coordinate file: y before x, with as many digits as the array's published files."""
    digits = ARRAYS[array].digits
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",yaxis,xaxis,r\n")
        for name, y, x in zip(names, spots.y.tolist(), spots.x.tolist(), strict=True):
            printed = (f"{v:.{digits}f}" if digits is not None else repr(v) for v in (y, x))
            file.write(f"{name},{','.join(printed)},{spots.r!r}\n")


def write_image(path: Path, image: np.ndarray, encoding: str) -> None:
    """Write an RGB image (h, w, 3) as ``png``, ``jpeg`` or ``tiff``; the file name may differ."""
    import cv2

    _, data = cv2.imencode(f".{encoding}", image[..., ::-1])
    path.write_bytes(data.tobytes())


def make_slide(
    folder: Path | str,
    slide: str,
    *,
    tech: str = VISIUM.name,
    array: str | None = None,
    spots: int = 120,
    genes: int = 60,
    um_per_px: float = 4.0,
    rotation: float = 0.0,
    jitter: float | None = None,
    missing: float = 0.0,
    image_format: str = "png",
    decimals: bool | None = None,
    shuffled: bool = False,
    unmatched: int = 0,
    depth: float | None = None,
    annotated: bool = False,
    species: str = "human",
    tissue: str = "breast",
    pmid: str = "",
    seed: int = 0,
) -> dict[str, str]:
    """Write image, counts and coordinates of one slide below ``folder``.

    Parameters
    ----------
    folder
        The dataset's folder.
    slide
        The slide's name.
    tech
        Name of a technology: the folder and the names of the spots.
    array
        Key of ``ARRAYS``; None for the one of ``tech``.
    spots, genes
        Their number.
    um_per_px
        Micrometres per pixel; with ``spots`` it decides how large the image is.
    rotation, jitter
        Of the lattice, see ``lay_spots``.
    missing
        Fraction of the spots on tissue that are left out, at random.
    image_format
        Format of the image (``png``, ``jpeg``, ``tiff``); the name always ends in ``.png``.
    decimals
        Whether counts are printed as ``3.0``; None for the form of ``tech``.
    shuffled
        Whether the rows of the count file are in another order than those of the coordinates.
    unmatched
        Number of spots that the count file lacks; the coordinate file lacks as many other spots.
    depth
        Expected counts in a spot; None for that of the array.
    annotated
        Whether to write labels of a pathologist: the name of each spot's region.
    species, tissue, pmid
        Cells of the meta table; the species also sets the genes' names.
    seed
        Seed of all random numbers.

    Returns
    -------
    dict
        The slide's row of the meta table.
    """
    folder = Path(folder)
    array = array or tech
    paths = {
        "image": folder / tech / "image" / f"{slide}.png",
        "gene_exp": folder / tech / "gene_exp" / f"{slide}_count.csv",
        "coord": folder / tech / "coord" / f"{slide}_coord.csv",
    }
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)

    lattice, size = lay_spots(
        array, spots, um_per_px=um_per_px, rotation=rotation, jitter=jitter, seed=seed
    )
    laid, regions = shape_tissue(lattice, size, spots, missing=missing, seed=seed)
    write_image(paths["image"], paint_tissue(regions, um_per_px, seed=seed), image_format)

    names = [f"{slide}_{barcode}" for barcode in name_spots(array, laid, seed)]
    region = at_spots(regions, laid)
    counted = np.arange(unmatched, len(laid))
    if shuffled:
        counted = np.random.default_rng([seed, 6]).permutation(counted)
    symbols, marks = name_genes(genes, species)
    if depth is None:
        depth = genes * ARRAYS[array].depth
    write_counts(
        paths["gene_exp"],
        [names[i] for i in counted],
        symbols,
        sample_counts(marks, region[counted], depth=depth, seed=seed),
        decimals=technology(tech).decimals if decimals is None else decimals,
    )
    located = np.delete(np.arange(len(laid)), slice(unmatched, 2 * unmatched))
    write_coordinates(paths["coord"], [names[i] for i in located], laid[located], array)
    if annotated:
        labels = ["", *(kind.name for kind in REGIONS)]
        lines = [f"{name}\t{labels[kind + 1]}\n" for name, kind in zip(names, region, strict=True)]
        path = folder / "annotation" / f"{slide}_anno.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\tV2\n" + "".join(lines), encoding="utf-8", newline="")
    return {
        "slide": slide,
        "species": species,
        "tissue": tissue,
        "pmid": pmid,
        "title": f"Generated slide of {tissue}, painted with numbers",
        "abstract": "No tissue was cut for this slide.\nIts counts follow its colours.",
        "keywords": "generated; demo",
        "involve_cancer": "False",
        "tech": tech,
        "spot_num": str(len(counted)),
        "gene_num": str(genes),
    }


def write_meta(folder: Path | str, rows: list[dict[str, str]]) -> None:
    """Write the meta table of a dataset, quoted like the published one, and its bibliography."""
    path = Path(folder) / META_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, META_COLUMNS, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    entry = (
        f"@misc{{{DEMO_PMID},\n  title = {{Generated slides}},\n"
        f"  note = {{Painted, not published}},\n  pmid = {{{DEMO_PMID}}},\n}}\n"
    )
    (path.parent / "bib.txt").write_text(entry, encoding="utf-8", newline="")


def make_dataset(folder: Path | str, slides: list[dict]) -> list[dict[str, str]]:
    """Write a dataset in the published layout.

    Parameters
    ----------
    folder
        Folder of the dataset; created if missing.
    slides
        For each slide the arguments of ``make_slide``, except the folder.

    Returns
    -------
    list of dict
        The rows of the meta table.
    """
    rows = [make_slide(folder, **arguments) for arguments in slides]
    write_meta(folder, rows)
    return rows


# With these seeds no mirror image of a tissue looks like the tissue: no test passes by symmetry.
DEMO = (
    {
        "slide": "Demo_Breast_ST",
        "tech": ST.name,
        "spots": 220,
        "genes": 600,
        "um_per_px": 3.0,
        "annotated": True,
        "pmid": DEMO_PMID,
        "seed": 15,
    },
    {
        "slide": "Demo_Brain_Visium",
        "tech": VISIUM.name,
        "spots": 500,
        "genes": 700,
        "um_per_px": 2.0,
        "image_format": "jpeg",
        "shuffled": True,
        "unmatched": 1,
        "species": "mouse",
        "tissue": "brain",
        "seed": 22,
    },
    {
        "slide": "Demo_Colon_VisiumHD",
        "tech": VISIUM_HD.name,
        "spots": 3000,
        "genes": 300,
        "um_per_px": 0.5,
        "image_format": "tiff",
        "tissue": "colon",
        "seed": 24,
    },
    {
        "slide": "Demo_v1.2+crop_Visium",
        "tech": VISIUM.name,
        "spots": 80,
        "genes": 400,
        "um_per_px": 1.0,
        "rotation": 8.0,
        "tissue": "lymph node",
        "seed": 2,
    },
)


def make_demo(folder: Path | str) -> list[dict[str, str]]:
    """Write the four slides of the demo; the same bytes every time."""
    return make_dataset(folder, [dict(arguments) for arguments in DEMO])
