"""Every status, reason and flag that a product can have, each with a sentence.

A code is written only here. Other modules import it, and a test checks this. ``docs/codes.md`` is
made from these tables (`make codes`). Standard library only: read at parse time.
"""

# -- slides

SELECTED = "selected"
EXCLUDED = "excluded"
NOT_SELECTED = "not_selected"

SELECTIONS = {
    SELECTED: "select names the slide, or names none",
    EXCLUDED: "exclude names the slide",
    NOT_SELECTED: "select leaves the slide out, or the meta table does not list it",
}
"""Whether the configuration selects a slide, and why not."""

DONE = "done"
FAILED = "failed"

STATUSES = {
    DONE: "all products of the slide are there and belong together",
    FAILED: "the slide is selected and is not done; stage, cause, reason and hint say more",
    EXCLUDED: SELECTIONS[EXCLUDED],
    NOT_SELECTED: SELECTIONS[NOT_SELECTED],
}
"""``status`` of a slide in ``manifest.tsv``."""

BAD_DATA = "bad_data"
ERROR = "error"
NOT_REACHED = "not_reached"

CAUSES = {
    BAD_DATA: "the slide's data or options cannot be used; without a change it fails again",
    ERROR: "something else went wrong in its job, or a product was changed afterwards",
    NOT_REACHED: "the run ended, or the job was killed, before this step",
}
"""``cause`` of a failed slide in ``manifest.tsv``."""

OK = "ok"
NO_ROW = "no_row"
MISSING_FILE = "missing_file"
REPEATED_ROW = "repeated_row"
OTHER_FOLDER = "other_folder"
OTHER_CASE = "other_case"
DECLARED = "declared"

CONTRADICTIONS = {
    NO_ROW: "files without a row in the meta table",
    MISSING_FILE: "in the meta table, but a file is missing",
    REPEATED_ROW: "more than one row in the meta table; the first counts",
    OTHER_FOLDER: "a file lies in another technology's folder",
    OTHER_CASE: "a name differs only in case",
    DECLARED: "declared spots and genes do not fit the count file",
}
"""``status`` of a slide in ``catalogue.tsv`` whose source contradicts itself, the most serious
first; else it is ``ok``."""

# -- spots

KEPT = "kept"
DROPPED = "dropped"

SPOTS = {
    KEPT: "the spot is in the AnnData file",
    DROPPED: "the spot is not; reason says why",
}
"""``status`` of a spot in the ledger."""

NO_COUNTS = "no_counts"
NO_COORDINATES = "no_coordinates"
NOT_IN_TISSUE = "not_in_tissue"
NO_GENES = "no_genes"
FEW_GENES = "few_genes"
FEW_COUNTS = "few_counts"
HIGH_MITO = "high_mito"
OUTSIDE_IMAGE = "outside_image"
PARTLY_OUTSIDE_IMAGE = "partly_outside_image"
OFF_TISSUE = "off_tissue"

REASONS = {
    NO_COUNTS: "the spot is not in the count file",
    NO_COORDINATES: "the spot is not in the coordinate file",
    NOT_IN_TISSUE: "the slide's own files say that the spot is not in tissue",
    NO_GENES: "no gene is found in the spot, and a filter drops such spots",
    FEW_GENES: "fewer genes than expression.min_genes are found in the spot",
    FEW_COUNTS: "the spot has fewer counts than expression.min_counts",
    HIGH_MITO: "mitochondrial counts exceed expression.max_pct_mito",
    OUTSIDE_IMAGE: "the centre of the spot lies outside the image",
    PARTLY_OUTSIDE_IMAGE: "the square around the spot leaves the image, and tiles.edge is drop",
    OFF_TISSUE: "less tissue in the square than tiles.tissue_threshold, with tiles.drop_off_tissue",
}
"""``reason`` of a dropped spot in the ledger."""

# -- flags

CORRECTED = "corrected"
OVERRIDE = "override"
CORRECTION_PROPOSED = "correction_proposed"
LATTICE_UNSURE = "lattice_unsure"
BARCODES_UNKNOWN = "barcodes_unknown"
STRAY_SPOTS = "stray_spots"
SQUEEZED = "squeezed"
RADIUS_INCONSISTENT = "radius_inconsistent"
RADIUS_VARIES = "radius_varies"
ORIENTATION_UNSURE = "orientation_unsure"
IN_CORNER = "in_corner"
UM_PER_PX_CONTRADICTS = "um_per_px_contradicts"
COARSER_THAN_SPOTS = "coarser_than_spots"
MISPLACED = "misplaced"
FEATURELESS_IMAGE = "featureless_image"
DECODED_WHOLE = "decoded_whole"
TRANSPARENT = "transparent"
UPSAMPLED = "upsampled"
ANNOTATION_UNMATCHED = "annotation_unmatched"
FIRST_GENE_UNSURE = "first_gene_unsure"

FLAGS = {
    CORRECTED: "a correction of the coordinates was found beyond doubt, and applied",
    OVERRIDE: "a correction of the coordinates was stated by hand, and applied",
    CORRECTION_PROPOSED: "a correction of the coordinates is likely, and was not applied",
    OUTSIDE_IMAGE: "some spots lie outside the image",
    LATTICE_UNSURE: "positions on the array, or the size of a pixel, could not be told",
    BARCODES_UNKNOWN: "the table of barcodes does not know the slide's barcodes",
    STRAY_SPOTS: "some spots stand off the lattice",
    SQUEEZED: "pixels are not square",
    RADIUS_INCONSISTENT: "radius and pitch contradict each other",
    RADIUS_VARIES: "the radius differs between spots; the first one cuts",
    ORIENTATION_UNSURE: "which way round the array lies in the image is in doubt",
    IN_CORNER: "all spots lie in the quarter of the image at its origin",
    OFF_TISSUE: "most spots lie beside the tissue",
    UM_PER_PX_CONTRADICTS: "what the files state of the size of a pixel contradicts the spots",
    COARSER_THAN_SPOTS: "the image is too coarse for the spots: their tiles are single pixels",
    MISPLACED: "another placement of the spots fits the tissue better",
    FEATURELESS_IMAGE: "the image does not tell where the tissue is",
    DECODED_WHOLE: "the image cannot be decoded in parts, so memory grows with it",
    TRANSPARENT: "transparent pixels have the colour that is stored below",
    UPSAMPLED: "tiles were enlarged: the pixels are too coarse for tiles.extent and tiles.size",
    ANNOTATION_UNMATCHED: "no label of the annotation is of a spot in the AnnData file",
    FIRST_GENE_UNSURE: "the count file names one column fewer than it has; genes may be shifted",
}
"""What is unusual about a slide: ``flags`` in record, manifest and report."""

# -- verdicts

FITS = "fits"
ALIKE = "alike"
UNKNOWN = "unknown"

PLACEMENTS = {
    FITS: "the spots lie on the tissue, and no rival placement fits as well",
    ALIKE: "the spots fit the tissue, and so do rival placements, which cannot be excluded",
    MISPLACED: FLAGS[MISPLACED],
    UNKNOWN: FLAGS[FEATURELESS_IMAGE],
}
"""``placement.verdict`` in the record."""

AGREES = "agrees"
CONTRADICTS = "contradicts"

ARRAY_VERDICTS = {
    AGREES: "the positions are those that the other slides of its kind give its barcodes",
    CORRECTED: "the same, since the workflow turned or mirrored the slide",
    CONTRADICTS: "they are others",
    UNKNOWN: "too few slides share its barcodes",
}
"""``verdict`` of a slide in ``arrays/slides.tsv`` of calibrate_arrays."""

TABLES = {
    "Slides: `status` in `manifest.tsv`": STATUSES,
    "Failed slides: `cause` in `manifest.tsv`": CAUSES,
    "Slides: `status` in `catalogue.tsv`": {OK: "nothing contradicts"} | CONTRADICTIONS,
    "Spots: `status` in the ledger": SPOTS,
    "Dropped spots: `reason` in the ledger": REASONS,
    "Slides: `flags` in record, manifest and report": FLAGS,
    "Slides: `placement.verdict` in the record": PLACEMENTS,
    "Slides: `verdict` in `arrays/slides.tsv`": ARRAY_VERDICTS,
}
"""All tables, by their title in ``docs/codes.md``."""


def describe() -> str:
    """Return all tables as a page of Markdown."""
    lines = [
        "# Statuses, reasons and flags",
        "",
        "Made by `make codes` from `scripts/st1k4m/codes.py`.",
    ]
    for title, codes in TABLES.items():
        lines += ["", f"## {title}", "", "| code | meaning |", "|---|---|"]
        lines += [f"| `{code}` | {sentence} |" for code, sentence in codes.items()]
    return "\n".join(lines) + "\n"
