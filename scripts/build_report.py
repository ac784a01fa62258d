"""Assemble the report from the page and the images of each slide."""

from pathlib import Path

from st1k4m.run import job

with job.run_script("build_report", snakemake):
    from st1k4m.report import build_report

    build_report.build_report(
        snakemake.input.manifest,
        snakemake.input.summary,
        Path(snakemake.output.index).parent,
        logs="logs",
    )
