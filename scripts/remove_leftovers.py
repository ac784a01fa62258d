"""List the products of slides that are not selected, and remove them."""

from st1k4m.run import job

with job.run_script("remove_leftovers", snakemake) as terminal:
    from st1k4m.collection import build_manifest

    found = build_manifest.find_leftovers(set(snakemake.params.selected))
    build_manifest.remove_leftovers(found, lambda line: print(line, file=terminal, flush=True))
