"""Cut the tiles of one slide out of its image."""

from st1k4m import jobs

slide = snakemake.wildcards.slide

with jobs.run("cut_tiles", slide, snakemake.log[0], snakemake.resources.attempt, snakemake.threads):
    from st1k4m import slide as slides
    from st1k4m import tiles

    tiles.cut_tiles(
        jobs.require(slide, "image", snakemake.params.image),
        snakemake.input.spots,
        slides.read_spot_names(snakemake.input.expression),
        snakemake.output.tiles,
        slide=slide,
        options=snakemake.params.options,
        archive=snakemake.output.get("archive"),
        threads=snakemake.threads,
    )
