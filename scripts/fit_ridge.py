"""Fit and test one encoder by both protocols."""

from st1k4m.run import job

with job.run_script("fit_ridge", snakemake):
    from st1k4m.baseline import fit_ridge

    # Without features, as for the training mean, there is nothing to pair names with.
    features = snakemake.input.get("features", [])
    fit_ridge.fit_ridge(
        snakemake.input.targets,
        dict(zip(snakemake.params.names, features, strict=False)),
        snakemake.output.scores,
        snakemake.output.painted,
        encoder=snakemake.params.encoder,
    )
