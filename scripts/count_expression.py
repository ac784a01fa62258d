"""Read the counts of one slide, drop spots by its options, normalise, find variable genes."""

from st1k4m import jobs

slide = snakemake.wildcards.slide

with jobs.run(
    "count_expression", slide, snakemake.log[0], snakemake.resources.attempt, snakemake.threads
):
    from st1k4m import expression

    expression.count_expression(
        jobs.require(slide, "count file", snakemake.params.counts),
        jobs.require(slide, "coordinate file", snakemake.params.coord),
        snakemake.output.expression,
        slide=slide,
        species=snakemake.params.species,
        options=snakemake.params.options,
        threads=snakemake.threads,
    )
