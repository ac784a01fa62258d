"""Draw one slide for the report: spots on the tissue, sample tiles, the data of its page."""

from st1k4m import jobs

slide = snakemake.wildcards.slide

with jobs.run(
    "draw_slide", slide, snakemake.log[0], snakemake.resources.attempt, snakemake.threads
):
    from st1k4m import page

    page.draw_slide(
        snakemake.input.anndata,
        snakemake.input.tiles,
        snakemake.input.ledger,
        snakemake.input.record,
        overlay=snakemake.output.overlay,
        tissue=snakemake.output.tissue,
        thumbnail=snakemake.output.thumbnail,
        sheet=snakemake.output.sheet,
        page=snakemake.output.page,
    )
