"""Write the data of the report's page on the collection."""

from st1k4m.run import job

with job.run_script("draw_collection", snakemake):
    from st1k4m.report import draw_collection

    draw_collection.draw_collection(
        snakemake.input.slides,
        snakemake.input.relations,
        snakemake.input.splits,
        snakemake.input.panels,
        snakemake.output.page,
    )
