"""Place the spots of one slide: array positions, micrometres per pixel, checks, corrections."""

from st1k4m import jobs

slide = snakemake.wildcards.slide

with jobs.run(
    "align_spots", slide, snakemake.log[0], snakemake.resources.attempt, snakemake.threads
):
    from st1k4m import geometry

    geometry.align_spots(
        jobs.require(slide, "coordinate file", snakemake.params.coord),
        jobs.require(slide, "image", snakemake.params.image),
        snakemake.output.spots,
        slide=slide,
        tech=snakemake.params.tech,
        geometry=snakemake.params.geometry,
        override=snakemake.params.override or None,
        options=snakemake.params.options,
        max_pixels=snakemake.params.max_pixels,
    )
