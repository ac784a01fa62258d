"""List every slide of the catalogue with its status, and write the totals."""

from st1k4m.run import job

with job.run_script("build_manifest", snakemake):
    from st1k4m.collection import build_manifest
    from st1k4m.run.outputs import write_text

    build_manifest.build_manifest(
        snakemake.input.catalogue,
        snakemake.params.status,
        snakemake.output.manifest,
        snakemake.output.summary,
        snakemake.output.citations,
    )
    write_text(snakemake.output.complete, "")
