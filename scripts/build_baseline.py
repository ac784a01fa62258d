"""Join the scores of a baseline's encoders into one table and one file of all numbers."""

from st1k4m.run import job

with job.run_script("build_baseline", snakemake):
    from st1k4m.baseline import build_baseline

    build_baseline.build_baseline(
        {task: snakemake.input.get(task, []) for task in ("ridge", "probe", "clusters")},
        snakemake.output.table,
        snakemake.output.numbers,
        name=snakemake.wildcards.baseline,
        options=snakemake.params.options,
        contrastive=next(iter(snakemake.input.get("contrastive", [])), None),
    )
