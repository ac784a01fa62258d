"""Read the counts of one slide, filter its spots, normalise, find variable genes."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("count_expression", snakemake):
    from st1k4m.expression import count_expression
    from st1k4m.source.inputs import require

    layout = snakemake.params.layout
    count_expression.count_expression(
        require(slide, "counts", snakemake.params.counts, layout),
        require(slide, "coord", snakemake.params.coord, layout),
        snakemake.output.expression,
        slide=slide,
        species=snakemake.params.species,
        options=snakemake.params.options,
        threads=snakemake.threads,
        made=job.origins("count_expression", snakemake)["count_expression"],
        layout=layout,
    )
