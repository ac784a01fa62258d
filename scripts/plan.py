"""Print the estimated bytes and hours of the selected slides, from the catalogue alone."""

from pathlib import Path

from st1k4m.plan import forecast
from st1k4m.source import catalogue, selection

table = catalogue.read("resources/catalogue.tsv")
selected, _ = selection.select(table, snakemake.config["select"], snakemake.config["exclude"])
made = forecast.make_plan(table, selected, snakemake.config["keep_downloads"])
text = "\n".join(forecast.describe(made))
print(text)
Path(snakemake.log[0]).write_text(f"{text}\n")
