"""Print what each slide of one's own was recognised as, from which files, and what is missing."""

from st1k4m.run.outputs import write_text
from st1k4m.source.describe_slides import describe_slides

text = describe_slides("resources/catalogue.tsv")
print(text)
write_text(snakemake.log[0], f"{text}\n")
