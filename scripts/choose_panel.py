"""Choose the genes of one panel and stack their counts over its slides."""

from st1k4m.run import job

with job.run_script("choose_panel", snakemake) as terminal:
    from st1k4m.collection import choose_panel

    warnings = choose_panel.choose_panel(
        snakemake.wildcards.panel,
        snakemake.params.options,
        snakemake.input.slides,
        "results/anndata",
        snakemake.output.table,
        snakemake.output.stacked,
        split=snakemake.input.get("split") or None,
        genes=snakemake.input.get("genes") or None,
        renames=snakemake.input.get("renames") or None,
    )
    for warning in warnings:
        print(f"panel {snakemake.wildcards.panel}: {warning}", file=terminal, flush=True)
