"""List the checksums of one slide's products."""

from st1k4m.run import job

with job.run_script("hash_products", snakemake):
    from st1k4m.export import hash_products

    job.origins(
        "hash_products",
        snakemake,
        build_anndata=[snakemake.input.anndata, snakemake.input.ledger, snakemake.input.record],
        cut_tiles=snakemake.input.tiles,
        draw_slide=snakemake.input.overlay,
    )
    hash_products.hash_products("results", snakemake.input, snakemake.output.sums)
