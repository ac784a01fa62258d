# Functions for the rules of training: the sets of shards, their inputs and outputs.

from st1k4m.training import shard_options


def read_shards():
    """Return the options of every set of shards, by name."""
    given = config.get("shards") or {}
    names = [list(config.get("splits") or {}), list(PANELS)]
    try:
        return {name: shard_options.read_options(name, given[name], *names) for name in given}
    except ConfigError as error:
        raise WorkflowError(f"the configuration cannot be used:\n{error}") from None


SHARD_SETS = read_shards()


def shard_tables(wildcards):
    """Return inputs: the tables of the collection that a set of shards needs."""
    options, folder = SHARD_SETS[wildcards.shards], "results/collection"
    tables = [f"{folder}/slides.tsv"]
    if options.split:
        tables.append(f"{folder}/splits/{options.split}.tsv")
    if options.panel:
        tables += [f"{folder}/panels/{options.panel}.{ending}" for ending in ("tsv", "h5ad")]
    return tables


def shard_parts(wildcards):
    """Return the folders that the jobs of a set of shards make, in order."""
    jobs = SHARD_SETS[wildcards.shards].jobs
    width = max(2, len(str(jobs - 1)))
    return [f"results/shards/{wildcards.shards}/{job:0{width}d}" for job in range(jobs)]


def shards_wanted():
    """Return the index of every configured set of shards."""
    return expand(STEPS["index_shards"].makes.values(), shards=SHARD_SETS)
