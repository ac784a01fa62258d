"""Cut the tiles of one slide from its image."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("cut_tiles", snakemake):
    from st1k4m.formats.expression import read_spot_names
    from st1k4m.source.inputs import image_at_hand, require
    from st1k4m.tiles import cut_tiles

    made = job.origins(
        "cut_tiles",
        snakemake,
        count_expression=snakemake.input.expression,
        align_spots=snakemake.input.spots,
    )
    layout = snakemake.params.layout
    place = require(slide, "image", snakemake.params.image, layout)
    with image_at_hand(slide, place, layout, "work/unpacked") as image:
        cut_tiles.cut_tiles(
            image,
            snakemake.input.spots,
            read_spot_names(snakemake.input.expression),
            snakemake.output.tiles,
            slide=slide,
            options=snakemake.params.options,
            threads=snakemake.threads,
            made=made["cut_tiles"],
        )
