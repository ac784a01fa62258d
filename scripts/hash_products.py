"""List the checksums of one slide's products."""

from st1k4m.run import job

with job.run_script("hash_products", snakemake):
    from st1k4m.export import checksums

    checksums.hash_products("results", snakemake.input, snakemake.output.sums)
