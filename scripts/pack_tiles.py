"""Pack the tiles of one slide into a tar."""

from st1k4m.run import job

with job.run_script("pack_tiles", snakemake):
    from st1k4m.tiles import pack_tiles

    job.origins("pack_tiles", snakemake, cut_tiles=snakemake.input.tiles)
    pack_tiles.pack_tiles(
        snakemake.input.tiles,
        snakemake.output.archive,
        slide=snakemake.wildcards.slide,
        layout=snakemake.params.layout,
        threads=snakemake.threads,
    )
