"""Compute the features of one slide's tiles with one encoder."""

from st1k4m.run import job

# Not `run_script`: a slide is complete without these features, so a failure must not fail it.
with job.run(
    "embed_tiles",
    "",
    snakemake.log[0],
    threads=snakemake.threads,
    reads=[snakemake.input.tiles],
):
    from st1k4m.baseline import embed_tiles

    made = job.origins("embed_tiles", snakemake, cut_tiles=snakemake.input.tiles)
    embed_tiles.embed_tiles(
        snakemake.input.tiles,
        snakemake.output.features,
        slide=snakemake.wildcards.slide,
        encoder=snakemake.params.encoder,
        revision=snakemake.params.revision,
        threads=snakemake.threads,
        made=made["embed_tiles"],
    )
