"""Write one job's part of a set of shards."""

from st1k4m.run import job

with job.run_script("write_shards", snakemake):
    from st1k4m.training import write_shards
    from st1k4m.training.shard_options import ShardOptions

    write_shards.write_shards(
        "results",
        snakemake.wildcards.shards,
        ShardOptions(**snakemake.params.options),
        int(snakemake.wildcards.job),
        snakemake.output.part,
        snakemake.threads,
    )
