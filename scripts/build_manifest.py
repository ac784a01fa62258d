"""List every slide of the catalogue with its state, and total what was found."""

from st1k4m.run import job

with job.run_script("build_manifest", snakemake):
    from st1k4m.collection import build_manifest

    build_manifest.build_manifest(
        snakemake.input.catalogue,
        snakemake.params.status,
        snakemake.output.manifest,
        snakemake.output.summary,
    )
    build_manifest.write_citations(
        snakemake.input.catalogue, snakemake.params.status, snakemake.output.citations
    )
