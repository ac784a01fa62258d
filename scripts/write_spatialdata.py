"""Write one slide as a SpatialData store."""

from st1k4m.run import job

slide = snakemake.wildcards.slide
image = snakemake.params.image

with job.run_script("write_spatialdata", snakemake):
    from st1k4m.export import write_spatialdata
    from st1k4m.run.outputs import require

    made = job.origins(
        "write_spatialdata",
        snakemake,
        build_anndata=[snakemake.input.anndata, snakemake.input.record],
        cut_tiles=snakemake.input.tiles,
    )
    collected = None
    if snakemake.input.get("relations"):
        splits = dict(zip(snakemake.params.splits, snakemake.input.splits, strict=True))
        collected = write_spatialdata.read_collected(slide, snakemake.input.relations, splits)
    write_spatialdata.write_spatialdata(
        snakemake.input.anndata,
        snakemake.input.tiles,
        snakemake.input.record,
        snakemake.output.store,
        slide=slide,
        collected=collected,
        image=require(slide, "image", image) if image else None,
        threads=snakemake.threads,
        made=made["write_spatialdata"],
    )
