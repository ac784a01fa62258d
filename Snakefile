# From the STimage-1K4M dataset to one AnnData and one tile store per slide.
#
# One slide is one chain of jobs; no chain waits for another:
#
#   fetch_counts, fetch_coord  ->  count_expression  ->  work/expression/{slide}.h5ad
#   fetch_coord, fetch_image   ->  align_spots       ->  work/spots/{slide}.parquet
#   both, fetch_image          ->  cut_tiles         ->  results/tiles/{slide}.h5
#   all three                  ->  build_anndata     ->  results/anndata|ledger|records/{slide}
#   its products               ->  draw_slide        ->  results/overlay/{slide}.jpg, results/report/
#                                  fingerprint_slide ->  work/fingerprints/{slide}.npz
#   all slides                 ->  build_manifest    ->  results/manifest.tsv, results/summary.json
#                                  build_report      ->  results/report/index.html
#                                  relate_slides     ->  results/collection/slides|relations|genes.tsv
#   its tables                 ->  make_splits       ->  results/collection/splits/{split}.tsv
#                                  draw_collection   ->  results/report/related.js
#   if configured              ->  write_spatialdata ->  results/spatialdata/{slide}.zarr
#                                  describe_collection -> results/README.md, results/collection/
#   if configured              ->  rules/training.smk, rules/baseline.smk
#
# All files are below the working directory: resources/ is downloaded or generated, work/ is passed
# from step to step, results/ is for users, logs/<rule>/{slide}.log is one file per job. The folder
# of a dataset is read in place. Wildcards: {slide}, and the names {split}, {panel}, {shards},
# {baseline} and {encoder} of what is configured.

import logging

from snakemake.utils import min_version

min_version("9.14")

# Each line of a log that a full disk does not take would be a traceback.
if workflow.modifier.is_main_snakefile():
    logging.raiseExceptions = False


report: "report/workflow.rst"


configfile: f"{workflow.current_basedir}/config/config.yaml"


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/expression.smk"
include: "rules/align.smk"
include: "rules/tiles.smk"
include: "rules/anndata.smk"
include: "rules/collection.smk"
include: "rules/training.smk"
include: "rules/export.smk"
include: "rules/baseline.smk"


remake_what_was_made_otherwise()
if not IS_MODULE:
    engine.before_jobs_are_chosen(workflow, refuse_unknown_slides)


rule all:
    input:
        expand(wanted(), slide=SLIDES),
        STEPS["build_manifest"].makes.values(),
        STEPS["build_report"].makes.values(),
        STEPS["relate_slides"].makes.values(),
        expand(STEPS["make_splits"].makes["split"], split=config["splits"]),
        STEPS["draw_collection"].makes.values(),
        expand(STEPS["choose_panel"].makes.values(), panel=PANELS),
        shards_wanted(),
        STEPS["describe_collection"].makes.values() if CARD else [],
        expand(STEPS["build_baseline"].makes.values(), baseline=BASELINES),
        expand(STEPS["draw_baseline"].makes.values(), baseline=BASELINES),
        STEPS["calibrate_arrays"].makes.values(),
    localrule: True


onstart:
    begin()


onsuccess:
    end(failed=False)


onerror:
    end(failed=True)
