"""Fetch the count file of one slide from the hub, verified; a broken transfer is continued."""

import os

from st1k4m import jobs

slide = snakemake.wildcards.slide

with (
    open(os.dup(2), "w") as terminal,
    jobs.run("fetch_counts", slide, snakemake.log[0], snakemake.resources.attempt),
):
    from st1k4m import sources

    sources.fetch_for_run(
        "resources/catalogue.tsv",
        slide,
        "counts",
        snakemake.output[0],
        snakemake.config,
        tell=lambda line: print(line, file=terminal, flush=True),
    )
