"""Print the recognised layout, the files and the missing parts of each of the user's slides."""

import json
from pathlib import Path

from st1k4m.source import catalogue, own_layout

table = catalogue.read("resources/catalogue.tsv")
lines = []
for slide in table.slides.values():
    if slide.layout:
        lines += own_layout.describe(slide.slide, slide.tech, json.loads(slide.layout))
text = "\n".join(lines or ["every slide is in the dataset's own layout"])
print(text)
Path(snakemake.log[0]).write_text(f"{text}\n", encoding="utf-8")
