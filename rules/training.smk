# Shards of pairs for training over many nodes; off by default.
#
# A set of shards is written by several jobs, each into its own folder. One shuffle orders the pairs
# of all jobs, and no job waits for another.


include: "common_training.smk"


wildcard_constraints:
    shards=r"\w+",
    job=r"\d+",


rule write_shards:
    input:
        tables=shard_tables,
        tiles=expand("results/tiles/{slide}.h5", slide=SLIDES),
        anndata=expand("results/anndata/{slide}.h5ad", slide=SLIDES),
    output:
        part=directory("results/shards/{shards}/{job}"),
    log:
        "logs/write_shards/{shards}.{job}.log",
    conda:
        "../envs/st1k4m.yaml"
    threads: 2
    resources:
        attempt=this_attempt,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        revision=REVISIONS["write_shards"],
        options=lambda wildcards: vars(SHARD_SETS[wildcards.shards]),
    script:
        "../scripts/write_shards.py"


rule index_shards:
    input:
        parts=shard_parts,
    output:
        index="results/shards/{shards}/index.json",
    log:
        "logs/index_shards/{shards}.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["index_shards"],
        options=lambda wildcards: vars(SHARD_SETS[wildcards.shards]),
    script:
        "../scripts/index_shards.py"
