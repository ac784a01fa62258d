"""Print every leak in a table or list of slides; exit status 1 if there is any."""

import sys

from st1k4m.run import job

with job.run_script("leaks", snakemake) as terminal:
    from st1k4m.collection import find_leaks

    found = find_leaks.check_file(
        "resources/catalogue.tsv",
        "work/fingerprints",
        "results/collection/leaks.tsv",
        tables=snakemake.params.tables,
        also_in=snakemake.params.also_in,
        **snakemake.params.leaks,
    )
    print("\n".join(found.describe()), file=terminal, flush=True)

sys.exit(bool(found.leaks))
