"""The slides of the published meta table, or as many made up where it is not at hand."""

import csv
from pathlib import Path

COLUMNS = ("slide", "species", "tissue", "pmid", "title", "tech", "spot_num", "gene_num")
#: Technology: slides, and spots in a slide on average.
PUBLISHED = {"ST": (151, 398), "Visium": (994, 2_350), "VisiumHD": (4, 474_186)}


def read_slides(meta: Path | None) -> list[dict[str, str]]:
    """Read the published rows' `COLUMNS`, or make up as many slides of the same technologies."""
    if meta:
        with meta.open(newline="", encoding="utf-8") as file:
            return [{key: row[key] for key in COLUMNS} for row in csv.DictReader(file)]
    techs = [(tech, spots) for tech, (slides, spots) in PUBLISHED.items() for _ in range(slides)]
    alike = {"species": "human", "tissue": "brain", "pmid": "", "title": "Title"}
    return [
        {"slide": f"Made_Up_{n}", "tech": tech, "spot_num": str(spots), "gene_num": "30000"} | alike
        for n, (tech, spots) in enumerate(techs)
    ]
