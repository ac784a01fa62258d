"""Find the relations between all slides."""

import os

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
        tables=[path for path in snakemake.resources.tables.split(os.pathsep) if path],
        also_in=[path for path in snakemake.resources.also_in.split(os.pathsep) if path],
    )
