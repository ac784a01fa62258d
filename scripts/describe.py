"""Print the recognised layout, the files and the missing parts of each of the user's slides."""

from st1k4m.run.outputs import write_text
from st1k4m.source.describe_slides import describe_slides

text = describe_slides("resources/catalogue.tsv")
print(text)
write_text(snakemake.log[0], f"{text}\n")
