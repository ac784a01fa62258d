"""Join expression, spots and tiles of one slide; account for every spot."""

from st1k4m import jobs

slide = snakemake.wildcards.slide
annotation = snakemake.params.annotation

with jobs.run(
    "build_anndata", slide, snakemake.log[0], snakemake.resources.attempt, snakemake.threads
):
    from st1k4m import slide as slides

    slides.build_anndata(
        snakemake.input.expression,
        snakemake.input.spots,
        snakemake.input.tiles,
        snakemake.output.anndata,
        snakemake.output.ledger,
        snakemake.output.record,
        slide=slide,
        study=snakemake.params.study,
        parameters=snakemake.params.options,
        annotation=annotation and jobs.require(slide, "annotation", annotation),
    )
