"""Train a joint embedding of tiles and expression; measure retrieval on the held-out parts."""

from pathlib import Path

from st1k4m.run import job

with job.run_script("train_contrastive", snakemake):
    from st1k4m.baseline import train_contrastive
    from st1k4m.baseline.options import ContrastiveOptions

    train_contrastive.train_contrastive(
        Path(snakemake.input.slides).parents[1],
        snakemake.params.checkpoint,
        snakemake.output.scores,
        split=snakemake.params.split,
        panel=snakemake.params.panel,
        slides=snakemake.params.names,
        train=snakemake.params.train,
        options=ContrastiveOptions(**snakemake.params.recipe),
        threads=snakemake.threads,
    )
