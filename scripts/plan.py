"""Print the estimated bytes and hours of the selected slides, from the catalogue alone."""

from st1k4m.plan.forecast import forecast
from st1k4m.run.outputs import write_text

config = snakemake.config

text = forecast(
    "resources/catalogue.tsv",
    select=config["select"],
    exclude=config["exclude"],
    keep_downloads=config["keep_downloads"],
)
print(text)
write_text(snakemake.log[0], f"{text}\n")
