"""Score how well one encoder's features separate the labels of each slide."""

from st1k4m.run import job

with job.run_script("score_clusters", snakemake):
    from st1k4m.baseline import score_clusters

    score_clusters.score_clusters(
        snakemake.input.targets,
        dict(zip(snakemake.params.names, snakemake.input.features, strict=True)),
        snakemake.output.scores,
        encoder=snakemake.params.encoder,
    )
