"""Print what the selected slides will cost, from the catalogue alone."""

from pathlib import Path

from st1k4m import catalogue, plan

table = catalogue.read("resources/catalogue.tsv")
selected, _ = catalogue.select(table, snakemake.config["select"], snakemake.config["exclude"])
made = plan.make_plan(table, selected, snakemake.config["keep_downloads"])
text = "\n".join(plan.describe(made))
print(text)
Path(snakemake.log[0]).write_text(f"{text}\n")
