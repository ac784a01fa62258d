"""Join expression, spots and tiles of one slide; account for every spot."""

from st1k4m.run import job

slide = snakemake.wildcards.slide
annotation = snakemake.params.annotation

with job.run_script("build_anndata", snakemake):
    from st1k4m.join import build_anndata
    from st1k4m.run.outputs import require

    made = job.origins(
        "build_anndata",
        snakemake,
        count_expression=snakemake.input.expression,
        align_spots=snakemake.input.spots,
        cut_tiles=snakemake.input.tiles,
    )
    build_anndata.build_anndata(
        snakemake.input.expression,
        snakemake.input.spots,
        snakemake.input.tiles,
        snakemake.output.anndata,
        snakemake.output.ledger,
        snakemake.output.record,
        slide=slide,
        study=snakemake.params.study,
        parameters=snakemake.params.options,
        made=made,
        annotation=annotation and require(slide, "annotation", annotation),
    )
