"""Fetch the coordinate file of one slide from the hub and verify it; resume a broken transfer."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("fetch_coord", snakemake) as terminal:
    from st1k4m.source import fetch

    fetch.fetch_for_run(
        "resources/catalogue.tsv",
        slide,
        "coord",
        snakemake.output[0],
        snakemake.config,
        tell=lambda line: print(line, file=terminal, flush=True),
    )
