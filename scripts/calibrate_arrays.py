"""Compute the array position of every Visium barcode from all slides together."""

from st1k4m.run import job

with job.run_script("calibrate_arrays", snakemake):
    from st1k4m.collection import calibrate_arrays

    calibrate_arrays.calibrate_arrays(
        snakemake.input.ledgers, snakemake.input.records, snakemake.output.arrays
    )
