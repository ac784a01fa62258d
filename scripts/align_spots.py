"""Place the spots of one slide: array positions, micrometres per pixel, checks, corrections."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("align_spots", snakemake):
    from st1k4m.geometry import align_spots
    from st1k4m.source.inputs import image_at_hand, require

    layout = snakemake.params.layout
    place = require(slide, "image", snakemake.params.image, layout)
    with image_at_hand(slide, place, layout, "work/unpacked") as image:
        align_spots.align_spots(
            require(slide, "coord", snakemake.params.coord, layout),
            image,
            snakemake.output.spots,
            slide=slide,
            tech=snakemake.params.tech,
            geometry=snakemake.params.geometry,
            override=snakemake.params.override or None,
            options=snakemake.params.options,
            max_pixels=snakemake.params.max_pixels,
            layout=layout,
            made=job.origins("align_spots", snakemake)["align_spots"],
        )
