"""Split the slides into parts; slides with a relation that the split respects stay together."""

from st1k4m.run import job

with job.run_script("make_splits", snakemake):
    from st1k4m.collection import make_splits

    make_splits.make_splits(
        snakemake.input.slides,
        snakemake.input.relations,
        snakemake.output.split,
        name=snakemake.wildcards.split,
        options=snakemake.params.options,
        earlier=snakemake.output.split,
    )
