"""Turn the tiles of one slide into features with one encoder."""

from st1k4m.run import job

# Not as a slide's step: a slide without these features is as done as any other.
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
