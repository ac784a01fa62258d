"""Choose the genes of a baseline, and collect the expression of its spots."""

from dataclasses import replace

from st1k4m.run import job

with job.run_script("collect_targets", snakemake):
    from st1k4m.baseline import collect_targets
    from st1k4m.collection.panel_options import read_options

    panel = read_options(snakemake.wildcards.baseline, snakemake.params.panel)
    panel = replace(
        panel,
        genes=next(iter(snakemake.input.get("genes", [])), ""),
        names=replace(panel.names, rename=next(iter(snakemake.input.get("renames", [])), "")),
    )
    collect_targets.collect_targets(
        dict(zip(snakemake.params.names, snakemake.input.anndata, strict=True)),
        snakemake.input.slides,
        snakemake.input.split,
        snakemake.output.targets,
        collect_targets.TargetOptions(
            panel,
            snakemake.params.hest_genes,
            snakemake.params.max_spots,
            snakemake.params.seed,
        ),
    )
