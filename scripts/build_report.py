"""Assemble the report from what was drawn of each slide."""

from pathlib import Path

from st1k4m import jobs

with jobs.run("build_report", "", snakemake.log[0]):
    from st1k4m import report

    report.build_report(
        snakemake.input.manifest,
        snakemake.input.summary,
        Path(snakemake.output.index).parent,
        logs="logs",
    )
