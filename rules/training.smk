# What models are trained on, where it is configured: shards of pairs, for training over many nodes.
#
# A set of shards is written by as many jobs as it names, each its own folder; the order over all of
# them is one shuffle, and no job waits for another.

from st1k4m.training import shard_options


def read_shards():
    """The options of every set of shards, by its name."""
    given = config.get("shards") or {}
    names = [list(config.get("splits") or {}), list(PANELS)]
    try:
        return {name: shard_options.read_options(name, given[name], *names) for name in given}
    except ConfigError as error:
        raise WorkflowError(f"the configuration cannot be used:\n{error}") from None


SHARD_SETS = read_shards()


wildcard_constraints:
    shards=r"\w+",
    job=r"\d+",


def shard_tables(wildcards):
    """The tables of the collection that a set of shards needs, as inputs."""
    options, folder = SHARD_SETS[wildcards.shards], "results/collection"
    tables = [f"{folder}/slides.tsv"]
    if options.split:
        tables.append(f"{folder}/splits/{options.split}.tsv")
    if options.panel:
        tables += [f"{folder}/panels/{options.panel}.{ending}" for ending in ("tsv", "h5ad")]
    return tables


def shard_parts(wildcards):
    """What the jobs of a set of shards make, in their order."""
    jobs = SHARD_SETS[wildcards.shards].jobs
    width = max(2, len(str(jobs - 1)))
    return [f"results/shards/{wildcards.shards}/{job:0{width}d}" for job in range(jobs)]


def shards_wanted():
    """The index of every set of shards that is configured."""
    return expand(STEPS["index_shards"].makes.values(), shards=SHARD_SETS)


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
