"""Draw one slide for the report: spots on the tissue, sample tiles, the data of its page."""

from st1k4m.run import job

slide = snakemake.wildcards.slide

with job.run_script("draw_slide", snakemake):
    from st1k4m.report import draw_slide

    made = job.origins(
        "draw_slide",
        snakemake,
        build_anndata=[
            snakemake.input.anndata,
            snakemake.input.ledger,
            snakemake.input.record,
        ],
        cut_tiles=snakemake.input.tiles,
    )
    draw_slide.draw_slide(
        snakemake.input.anndata,
        snakemake.input.tiles,
        snakemake.input.ledger,
        snakemake.input.record,
        overlay=snakemake.output.overlay,
        tissue=snakemake.output.tissue,
        thumbnail=snakemake.output.thumbnail,
        sheet=snakemake.output.sheet,
        page=snakemake.output.page,
        made=made["draw_slide"],
    )
