"""Fetch the image of one slide from the hub and verify it; resume a broken transfer."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("fetch_image", snakemake) as terminal:
    from st1k4m.run.outputs import write_text
    from st1k4m.source import fetch

    fetch.fetch_for_run(
        "resources/catalogue.tsv",
        slide,
        "image",
        snakemake.output.image,
        snakemake.config,
        tell=lambda line: print(line, file=terminal, flush=True),
    )
    write_text(snakemake.output.told, f"{snakemake.params.identity}\n")
