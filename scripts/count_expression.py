"""Read the counts of one slide, drop spots by its options, normalise, find variable genes."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("count_expression", snakemake):
    from st1k4m.expression import count_expression
    from st1k4m.run.outputs import require

    count_expression.count_expression(
        require(slide, "count file", snakemake.params.counts),
        require(slide, "coordinate file", snakemake.params.coord),
        snakemake.output.expression,
        slide=slide,
        species=snakemake.params.species,
        options=snakemake.params.options,
        threads=snakemake.threads,
    )
