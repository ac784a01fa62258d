# What the rules of training ask: the sets of shards, and what each of them needs.

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
