"""List every slide of the catalogue with its state, and total what was found."""

from st1k4m import jobs

with jobs.run("build_manifest", "", snakemake.log[0]):
    from st1k4m import manifest

    manifest.build_manifest(
        snakemake.input.catalogue,
        snakemake.params.status,
        snakemake.output.manifest,
        snakemake.output.summary,
    )
    manifest.write_citations(
        snakemake.input.catalogue, snakemake.params.status, snakemake.output.citations
    )
