"""Draw the page of a baseline: its encoders by tissue, and genes painted on a slide."""

from st1k4m.run import job

with job.run_script("draw_baseline", snakemake):
    from st1k4m.report import draw_baseline

    draw_baseline.draw_baseline(
        snakemake.input.numbers,
        dict(zip(snakemake.params.encoders, snakemake.input.painted, strict=True)),
        snakemake.output.page,
    )
