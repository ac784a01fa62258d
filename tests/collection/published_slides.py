"""The published meta table as facts of slides, and the shipped tables of relations."""

import csv

from places import REPOSITORY
from st1k4m.collection import relate_slides
from st1k4m.collection.facts import SlideFacts

PATTERNS = REPOSITORY / "config/relations.tsv"
OVERLAPS = REPOSITORY / "config/also_in.tsv"


def read_facts(meta):
    """Read the facts of all slides of a meta table."""
    with open(meta, encoding="utf-8", newline="") as file:
        return [
            SlideFacts(
                slide=row["slide"],
                tech=row["tech"],
                species=row["species"],
                tissue=row["tissue"],
                pmid=row["pmid"],
                title=row["title"],
                spots=int(row["spot_num"]),
                genes=int(row["gene_num"]),
            )
            for row in csv.DictReader(file)
        ]


def relate(facts, fingerprints=None, patterns=(PATTERNS,), overlaps=(OVERLAPS,)):
    """Relate slides with the shipped tables."""
    return relate_slides.relate(facts, fingerprints or {}, patterns, overlaps)
