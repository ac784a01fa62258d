"""List the files of a set of shards, with checksums."""

from st1k4m.run import job

with job.run_script("index_shards", snakemake):
    from st1k4m.training import index_shards
    from st1k4m.training.shard_options import ShardOptions

    index_shards.index_shards(
        snakemake.wildcards.shards,
        ShardOptions(**snakemake.params.options),
        snakemake.input.parts,
        snakemake.output.index,
    )
