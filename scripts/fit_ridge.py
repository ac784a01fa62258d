"""Fit and test one encoder with both protocols."""

from st1k4m.run import job

with job.run_script("fit_ridge", snakemake):
    from st1k4m.baseline import fit_ridge

    # The training mean has no features: then the list is empty and the names are not used.
    features = snakemake.input.get("features", [])
    fit_ridge.fit_ridge(
        snakemake.input.targets,
        dict(zip(snakemake.params.names, features, strict=False)),
        snakemake.output.scores,
        snakemake.output.painted,
        encoder=snakemake.params.encoder,
    )
