"""Write the dataset card and the Croissant description of the results."""

from pathlib import Path

from st1k4m.run import job

given = snakemake.input

with job.run_script("describe_collection", snakemake):
    from st1k4m.export import describe_collection
    from st1k4m.export.options import CardOptions

    def by_name(kind):
        """Return the products of a kind by their names in the configuration."""
        return dict(zip(snakemake.params[kind], given[kind], strict=True))

    describe_collection.describe_collection(
        "results",
        given.catalogue,
        given.licences,
        given.sums,
        [given.manifest, given.summary, given.citations]
        + [path for kind in ("tables", "splits", "panels", "counts") for path in given[kind]],
        splits=by_name("splits"),
        panels=by_name("panels"),
        shards={name: Path(index).parent for name, index in by_name("shards").items()},
        options=CardOptions.from_config(snakemake.params.card),
    )
