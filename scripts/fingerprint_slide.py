"""Compute the fingerprint of a slide, which identifies its section under any other name."""

from st1k4m.run import job

with job.run_script("fingerprint_slide", snakemake):
    from st1k4m.collection import fingerprint_slide

    made = job.origins("fingerprint_slide", snakemake, build_anndata=snakemake.input.anndata)
    fingerprint_slide.fingerprint_slide(
        snakemake.input.anndata,
        snakemake.output.fingerprint,
        slide=snakemake.wildcards.slide,
        made=made["fingerprint_slide"],
    )
