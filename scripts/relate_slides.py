"""Say of all slides who is related to whom."""

from st1k4m.run import job

with job.run_script("relate_slides", snakemake):
    from st1k4m.collection import relate_slides

    relate_slides.check_origins(snakemake.input.records, snakemake.input.fingerprints)
    relate_slides.relate_slides(
        snakemake.input.records,
        snakemake.input.fingerprints,
        snakemake.output.slides,
        snakemake.output.relations,
        snakemake.output.genes,
        tables=snakemake.input.tables,
        also_in=snakemake.input.also_in,
    )
