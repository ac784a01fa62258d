# What the rules ask: which slides there are, where a slide's files lie, which options hold for it.

import atexit
import copy
import os
import sys

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

# Not workflow.basedir: that is the folder of a workflow which takes this one in with `module`.
REPOSITORY = os.path.dirname(str(workflow.current_basedir))
IS_MODULE = not workflow.modifier.is_main_snakefile()

sys.path.insert(0, f"{REPOSITORY}/scripts")

from st1k4m.dataset import SLIDE_NAME
from st1k4m.errors import CatalogueError, ConfigError
from st1k4m.plan import costs
from st1k4m.run import settings
from st1k4m.run.steps import REVISIONS, SLIDE_STEPS, STEPS
from st1k4m.source import open_dataset, own_slides, selection


def beside_snakefile(path):
    """A path of the configuration; a relative one is found wherever the workflow is started."""
    return os.path.join(REPOSITORY, path)


def with_defaults(given):
    """What a workflow that takes this one in configures, over our defaults, which it does not read."""
    with open(beside_snakefile("config/config.yaml"), encoding="utf-8") as file:
        complete = yaml.safe_load(file)
    update_config(complete, copy.deepcopy(given))
    return complete


if IS_MODULE:
    path_modifier = workflow.modifier.path_modifier
    if path_modifier.prefix or getattr(path_modifier, "_prefix_replacements", None):
        raise WorkflowError(
            "this workflow's products always lie below the working directory: leave `prefix` and "
            "`replace_prefix` out of the module. To tell its rules from yours: "
            "`use rule * from st1k4m as st1k4m_*`"
        )
    config = with_defaults(config)
else:
    import engine  # rules/engine.py: Snakemake finds modules beside an included file

    engine.adapt()
    engine.quote_interpreter()
    logger.addFilter(engine.shorten_lists)
    if "rich" in workflow.output_settings.log_handler_settings:
        engine.show_lines_of_jobs_above_the_bars()


def tell(line):
    print(line, file=sys.stderr)


def read_configuration():
    """The catalogue, the selected slides, and every slide's status; or one message with all faults."""
    schema = beside_snakefile("config/config.schema.yaml")
    settings.parse_texts(config, schema)
    faults = settings.check(config, schema)
    if any(
        fault.startswith(("dataset", "refresh", "checksums", "select", "exclude"))
        for fault in faults
    ):
        raise ConfigError("\n".join(faults))
    # A job on a cluster parses too, with the same --config: only the command itself refreshes.
    refresh = config["refresh"] and workflow.is_main_process
    slides = open_dataset.load(
        config["dataset"], "resources/catalogue.tsv", refresh, config["checksums"], tell
    )
    try:
        selected, status = selection.select(slides, config["select"], config["exclude"])
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return slides, selected, status


try:
    CATALOGUE, SLIDES, STATUS = read_configuration()
    GEOMETRY = settings.read_geometry(beside_snakefile(config["geometry"]["table"]))
    OVERRIDES = settings.read_overrides(
        beside_snakefile(config["geometry"]["overrides"]), CATALOGUE.slides
    )
except (ConfigError, CatalogueError) as error:
    raise WorkflowError(f"the configuration cannot be used:\n{error}") from None
except OSError as error:
    raise WorkflowError(
        f"{error}\nthe dataset must be readable and the working directory, {os.getcwd()}, writable; "
        "--directory chooses another"
    ) from None


wildcard_constraints:
    slide=SLIDE_NAME,


def fact(name):
    """A fact of the catalogue about the slide, as a param."""
    return lambda wildcards: getattr(CATALOGUE.slides[wildcards.slide], name)


def options(section):
    """The options of a section that hold for the slide's technology, as a param."""

    def find(wildcards):
        found = settings.options(config, section, CATALOGUE.slides[wildcards.slide].tech)
        # The tables' rows that concern the slide are params of their own.
        return {name: found[name] for name in found if name not in ("table", "overrides")}

    return find


def geometry_rows(wildcards):
    """The rows of the geometry table that speak of the slide, as a param."""
    slide = CATALOGUE.slides[wildcards.slide]
    return settings.rows_for(GEOMETRY, slide.slide, slide.tech)


def override(wildcards):
    """The slide's row of the overrides, as a param; empty if there is none."""
    return settings.override_for(OVERRIDES, wildcards.slide)


def source(kind):
    """The slide's file of a kind (counts, coord, image, annotation) as an input.

    A file of a folder that is missing or cannot be read is left out, so that it fails its slide's
    job and not the run.
    """

    def find(wildcards):
        path = CATALOGUE.path(wildcards.slide, kind)
        if CATALOGUE.is_fetched(wildcards.slide) and kind != "annotation":
            return [path]
        part = CATALOGUE.layout(wildcards.slide, kind).get(kind)
        files = own_slides.real_files(own_slides.files_of(part)) if part else [path]
        return [file for file in files if os.path.isfile(file) and os.access(file, os.R_OK)]

    return find


def layout(*kinds):
    """What a job must know of a slide's own layout for some kinds of files, as a param."""
    return lambda wildcards: CATALOGUE.layout(wildcards.slide, *kinds)


def path(kind):
    """Where the slide's file of a kind is, or should be, as a param."""
    return lambda wildcards: CATALOGUE.path(wildcards.slide, kind)


def study(wildcards):
    """What the catalogue says of the slide for its record, as a param."""
    slide = CATALOGUE.slides[wildcards.slide]
    names = ("tech", "species", "tissue", "pmid", "title", "involve_cancer", "spots", "genes")
    checksums = ("counts_sha256", "coord_sha256", "image_sha256")
    own = ("study", "patient", "block") if slide.layout else ()
    return {name: getattr(slide, name) for name in names + checksums + own}


def this_attempt(wildcards, attempt):
    """Which try the job is, as a resource: a job that knows its data to be bad ends at once."""
    return attempt


def needs(step):
    """What the step asks for, as resources: which try it is, and the slide's memory, time and disk."""

    def find(what):
        def ask(wildcards, attempt):
            asked = costs.need(step, CATALOGUE.slides[wildcards.slide], attempt)[what]
            if step == "cut_tiles" and what == "mem_mb" and attempt > 1:
                return max(
                    asked, costs.ENGINE_MB + decode_mb(CATALOGUE.path(wildcards.slide, "image"))
                )
            return asked

        return ask

    return {"attempt": this_attempt} | {what: find(what) for what in costs.NEEDS}


def decode_mb(image):
    """Memory of decoding an image: few can only be decoded whole, and their headers tell which.

    Asked for after a first try alone: to open every image would be a scan of the dataset.
    """
    from st1k4m.errors import SlideError
    from st1k4m.image import decode

    try:
        return decode.decode_mb(decode.read_header(image))
    except (SlideError, OSError):  # the job itself says what is wrong with it
        return 0


def cores(step):
    """How many cores the step can use well, as threads."""
    return lambda wildcards: costs.threads(step, CATALOGUE.slides[wildcards.slide])


def tile_options(wildcards):
    """The options of the tiles, as a param; the format matters to cut_tiles only if it is none."""
    found = options("tiles")(wildcards)
    return {name: found[name] for name in found if name != "format"} | {
        "pixels": found["format"] != "none"
    }


def wanted():
    """What is made for every selected slide."""
    packed = config["tiles"]["format"] in ("webdataset", "png")
    return [
        path
        for step in SLIDE_STEPS.values()
        if not step.kept_when_stale and (packed or not step.optional)
        for path in step.makes.values()
        if not path.startswith("work/")
    ]


def build_cohort_after_failure():
    """What build_manifest and build_report make, so old that the next good run makes them again."""
    from st1k4m.collection import build_manifest
    from st1k4m.report import build_report

    made = "results/manifest.tsv", "results/summary.json"
    try:
        build_manifest.build_manifest("resources/catalogue.tsv", STATUS, *made)
        build_manifest.write_citations("resources/catalogue.tsv", STATUS, "results/citations.bib")
        for path in made + build_report.build_report(*made, "results/report", "logs"):
            os.utime(path, (1, 1))
    except (OSError, ValueError, KeyError) as error:  # a full disk, or a damaged card of the report
        tell(f"Manifest and report could not be written: {error}.")
    else:
        tell_result()


def tell_result():
    """Say how many slides are done and which failed, after all that the engine has to say."""
    from st1k4m.collection import build_manifest

    path = os.path.abspath("results/manifest.tsv")
    if os.path.exists(path):
        atexit.register(tell, build_manifest.describe(path))
