"""Probe one encoder with pathologists' labels."""

from st1k4m.run import job

with job.run_script("probe_labels", snakemake):
    from st1k4m.baseline import probe_labels

    probe_labels.probe_labels(
        snakemake.input.targets,
        dict(zip(snakemake.params.names, snakemake.input.features, strict=True)),
        snakemake.output.scores,
        encoder=snakemake.params.encoder,
    )
