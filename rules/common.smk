# Functions for the rules: the selected slides, the paths of a slide's files, its options.

import atexit
import base64
import contextlib
import copy
import difflib
import os
import sys
from dataclasses import asdict
from types import SimpleNamespace

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

# Not workflow.basedir: that is the folder of a workflow that imports this one with `module`.
REPOSITORY = os.path.dirname(str(workflow.current_basedir))
IS_MODULE = not workflow.modifier.is_main_snakefile()

sys.path.insert(0, f"{REPOSITORY}/scripts")

from st1k4m.collection import panel_options
from st1k4m.collection.split_options import SplitOptions
from st1k4m.dataset import SLIDE_NAME
from st1k4m.errors import CatalogueError, ConfigError
from st1k4m.export.options import CardOptions, StoreOptions
from st1k4m.plan import costs
from st1k4m.run import job, outputs, settings
from st1k4m.run.products import read_origins
from st1k4m.run.provenance import difference, digest_of, file_identity, parameters_digest
from st1k4m.run.steps import REVISIONS, SLIDE_STEPS, STEPS, slide_of_product
from st1k4m.source import catalogue, open_dataset, own_layout, selection
from st1k4m.technologies import technology


def beside_snakefile(path):
    """Return a path of the configuration; a relative path starts at the folder of the Snakefile."""
    return os.path.join(REPOSITORY, path)


def with_defaults(given):
    """Return the configuration of an importing workflow, on top of the defaults of config.yaml."""
    with open(beside_snakefile("config/config.yaml"), encoding="utf-8") as file:
        complete = yaml.safe_load(file)
    update_config(complete, copy.deepcopy(given))
    return complete


if IS_MODULE:
    path_modifier = workflow.modifier.path_modifier
    if path_modifier.prefix or getattr(path_modifier, "_prefix_replacements", None):
        raise WorkflowError(
            "this workflow's products are always below the working directory: remove `prefix` and "
            "`replace_prefix` from the module. To give its rules names of their own: "
            "`use rule * from st1k4m as st1k4m_*`"
        )
    config = with_defaults(config)
else:
    import engine  # rules/engine.py: Snakemake finds modules in the folder of an included file

    engine.adapt()
    engine.quote_interpreter()
    logger.addFilter(engine.shorten_lists)
    if "rich" in workflow.output_settings.log_handler_settings:
        logger.addFilter(engine.keep_logs_off_the_display)
        engine.show_lines_of_jobs_above_the_bars()


CATALOGUE_PATH = "resources/catalogue.tsv"


def say(line):
    print(line, file=sys.stderr)


def read_configuration():
    """Return the catalogue, the selected slides and the status of all; or raise with all faults."""
    schema = beside_snakefile("config/config.schema.yaml")
    settings.parse_texts(config, schema)
    faults = settings.check(config, schema)
    sentences = [fault.sentence for fault in faults]
    if {fault.key for fault in faults} & {"dataset", "refresh", "checksums", "select", "exclude"}:
        raise ConfigError("\n".join(sentences))
    # Cluster jobs parse this too, with the same --config, so only the main process refreshes. The
    # new catalogue is written when the run begins, because then no other run is active.
    refresh = config["refresh"] and workflow.is_main_process
    slides = open_dataset.load(
        config["dataset"], CATALOGUE_PATH, refresh, config["checksums"], say, overwrite=IS_MODULE
    )
    for name, section in config["splits"].items() if not faults else ():
        try:
            SplitOptions.from_config(name, section)
        except ConfigError as error:
            sentences.append(str(error))
    try:
        selected, status = selection.select(slides, config["select"], config["exclude"])
    except ValueError as error:
        sentences.append(str(error))
    if sentences:
        raise ConfigError("\n".join(sentences))
    return slides, selected, status


try:
    CATALOGUE, SLIDES, STATUS = read_configuration()
    GEOMETRY = settings.read_geometry(beside_snakefile(config["geometry"]["table"]))
    OVERRIDES = settings.read_overrides(
        beside_snakefile(config["geometry"]["overrides"]), CATALOGUE.slides
    )
    BARCODES = settings.digest(config["geometry"]["barcodes"])
except (ConfigError, CatalogueError) as error:
    raise WorkflowError(f"the configuration cannot be used:\n{error}") from None
except OSError as error:
    raise WorkflowError(
        f"{error}\nthe dataset must be readable, and the working directory {os.getcwd()} must be "
        "writable; --directory chooses another"
    ) from None


# Products that are made only if the configuration asks for them.
PACKED = config["tiles"]["format"] in ("webdataset", "png")
STORE = StoreOptions.from_config(config["spatialdata"])
CARD = CardOptions.from_config(config["card"])


wildcard_constraints:
    slide=SLIDE_NAME,
    split=r"\w+",


def fact_of(name):
    """Return a param: a fact of the catalogue about the slide."""
    return lambda wildcards: getattr(CATALOGUE.slides[wildcards.slide], name)


def options_of(section):
    """Return a param: the options of a section for the slide's technology."""

    def find(wildcards):
        tech = CATALOGUE.slides[wildcards.slide].tech
        found = settings.options(config, section, tech)
        if "barcodes" in found and not technology(tech).barcoded:  # ids state their positions
            found = found | {"barcodes": None}
        # The rows of the tables that apply to the slide are separate params.
        return {name: found[name] for name in found if name not in ("table", "overrides")}

    return find


def geometry_rows(wildcards):
    """Return a param: the rows of the geometry table that apply to the slide."""
    slide = CATALOGUE.slides[wildcards.slide]
    return settings.rows_for(GEOMETRY, slide.slide, slide.tech)


def barcode_tables(wildcards):
    """Return a param: the digest of the barcode tables, for slides whose spot ids are barcodes."""
    return BARCODES if technology(CATALOGUE.slides[wildcards.slide].tech).barcoded else ""


def override_of(wildcards):
    """Return a param: the slide's row of the overrides; empty if there is none."""
    return settings.override_for(OVERRIDES, wildcards.slide)


def file_of(kind):
    """Return an input: the slide's files of a kind (counts, coord, image, annotation).

    A file of a folder that is missing or unreadable is left out. The slide's job then fails, and
    not the run.
    """

    def find(wildcards):
        path = CATALOGUE.path(wildcards.slide, kind)
        if CATALOGUE.is_fetched(wildcards.slide) and kind != "annotation":
            return [path]
        part = CATALOGUE.layout(wildcards.slide, kind).get(kind)
        files = own_layout.real_files(own_layout.files_of(part)) if part else [path]
        return [file for file in files if os.path.isfile(file) and os.access(file, os.R_OK)]

    return find


def identities(*kinds):
    """Return a param: the identity of the files that a step reads.

    Time stamps are not enough, because a file can be replaced by an older one.
    """

    def find(wildcards):
        slide = wildcards.slide
        if CATALOGUE.is_fetched(slide):
            fetched_kinds = set(kinds) - {"annotation"}  # fetched with the catalogue
        else:
            fetched_kinds = set()
        return {
            kind: (
                f"{getattr(CATALOGUE.slides[slide], f'{kind}_bytes')}:{CATALOGUE.identity(slide, kind)}"
                if kind in fetched_kinds
                else file_identity(file_of(kind)(wildcards))
            )
            for kind in kinds
        }

    return find


ASKED = {}


def asked(step, **params):
    """Return the params of a slide's step, with the digests of the params of the steps it reads.

    The params are also stored, to compare finished products with them later.
    """
    ASKED[step] = params

    def made_with(wildcards):
        earlier = [name for name in STEPS[step].reads if name in ASKED]
        return {
            name: parameters_digest(values(name, wildcards.slide, without=job.NOT_OPTIONS))
            for name in earlier
        }

    return params | {"made_with": made_with}


def image_is_here(wildcards):
    """Return the marker file of a fetched image, or the image itself if it is read in place."""
    if CATALOGUE.is_fetched(wildcards.slide):
        return ancient(f"resources/files/image/{wildcards.slide}.fetched")
    return file_of("image")(wildcards)


def barcoded_slides(product):
    """Return a product of every selected slide whose spot ids are barcodes."""
    chosen = [slide for slide in SLIDES if technology(CATALOGUE.slides[slide].tech).barcoded]
    return expand(STEPS["build_anndata"].makes[product], slide=chosen)


def layout(*kinds):
    """Return a param: the slide's own layout for some kinds of files."""
    return lambda wildcards: CATALOGUE.layout(wildcards.slide, *kinds)


def path_of(kind):
    """Return a param: the path of the slide's file of a kind, even if it is missing."""
    return lambda wildcards: CATALOGUE.path(wildcards.slide, kind)


def study_of(wildcards):
    """Return a param: the facts of the catalogue for the slide's record."""
    slide = CATALOGUE.slides[wildcards.slide]
    names = ("tech", "species", "tissue", "pmid", "title", "involve_cancer", "spots", "genes")
    checksums = ("counts_sha256", "coord_sha256", "image_sha256")
    own = ("study", "patient", "block") if slide.layout else ()
    return {name: getattr(slide, name) for name in names + checksums + own}


def this_attempt(wildcards, attempt):
    """Return a resource: the number of the try. A retry of a job with bad data ends at once."""
    return attempt


def needs_of(step):
    """Return the resources of a step: number of the try, and memory, time and disk of the slide."""

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
    """Return the memory for decoding an image, in MB; 0 if its header cannot be read.

    The header shows whether an image must be decoded whole. Only retries use this, because opening
    every image would scan the dataset.
    """
    from st1k4m.errors import SlideError
    from st1k4m.image import decode

    try:
        return decode.decode_mb(decode.read_header(image))
    except (SlideError, OSError):  # the job reports what is wrong with it
        return 0


def cores_of(step):
    """Return the number of cores that the step can use well, as threads."""
    return lambda wildcards: costs.threads(step, CATALOGUE.slides[wildcards.slide])


def leaks_options():
    """Return a param: the options of the target `leaks`, given as a file or as a section."""
    asked = config["leaks"]
    return {"file": asked} if isinstance(asked, str) else {"file": "", **asked}


def tile_options(wildcards):
    """Return a param: the options of the tiles. For cut_tiles only the format none matters."""
    found = options_of("tiles")(wildcards)
    return {name: found[name] for name in found if name != "format"} | {
        "pixels": found["format"] != "none"
    }


def read_panels():
    """Return the options of every panel that has slides in this run, by name."""
    panels = dict(config["panels"])
    if config["dataset"] == "demo" and not panels:
        with open(beside_snakefile("config/demo.yaml"), encoding="utf-8") as file:
            panels = yaml.safe_load(file)["panels"]
    try:
        options = panel_options.read_panels(panels, config.get("splits") or {})
    except ConfigError as error:
        raise WorkflowError(f"the configuration cannot be used:\n{error}") from None
    for name in [name for name, asked in options.items() if not panel_slides(asked)]:
        if workflow.is_main_process:
            say(f"panels.{name} is not made: it selects none of the slides of this run.")
        del options[name]
    for name, asked in options.items() if workflow.is_main_process else ():
        known = {slide: CATALOGUE.slides[slide].genes for slide in panel_slides(asked)}
        known = {slide: int(genes) for slide, genes in known.items() if genes}
        if warning := panel_options.foresee_losses(name, asked, known):
            say(f"WARNING: {warning}")
    return options, {name: panels[name] for name in options}


def panel_slides(options):
    """Return the names of the slides of a panel."""
    return [
        slide
        for slide in SLIDES
        if options.takes({key: getattr(CATALOGUE.slides[slide], key) for key in PANEL_FACTS})
    ]


PANEL_FACTS = tuple(panel_options.SELECT.values())
PANELS, PANEL_CONFIGS = read_panels()


def panel_file(find):
    """Return an input: a file that the panel's options name; none if they name none."""

    def of(wildcards):
        path = find(PANELS[wildcards.panel])
        return beside_snakefile(path) if path else []

    return of


def panel_split(wildcards):
    """Return the table of a panel's split; none if it has no split."""
    split = PANELS[wildcards.panel].split
    return f"results/collection/splits/{split}.tsv" if split else []


def wanted():
    """Return the products that are made for every selected slide."""
    optional = {"pack_tiles": PACKED, "write_spatialdata": STORE is not None}
    return [
        path
        for step in SLIDE_STEPS.values()
        if not step.kept_when_stale and (optional.get(step.name) or not step.optional)
        for path in step.makes.values()
        if not path.startswith("work/")
    ]


def values(step, slide, without=()):
    """Return the params of a step for one slide, except those in ``without``."""
    wildcards = SimpleNamespace(slide=slide)
    return {
        name: value(wildcards) if callable(value) else value
        for name, value in ASKED[step].items()
        if name not in without
    }


def is_known(path):
    """Return whether Snakemake has the metadata of a file, so it detects changed params itself."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    return os.path.exists(f".snakemake/metadata/{name}")


def remake_what_was_made_otherwise():
    """Force products to be remade if they have other options and Snakemake cannot detect it.

    Snakemake stores the params of products in .snakemake, which is lost when results are copied, or
    by --cleanup-metadata. The record of a slide states them too.
    """
    if not workflow.is_main_process or IS_MODULE:
        return
    stale = {}
    for slide in SLIDES:
        unknown = [
            step
            for step in ("count_expression", "align_spots", "cut_tiles", "build_anndata")
            if not all(is_known(path.format(slide=slide)) for path in STEPS[step].makes.values())
        ]
        for made in unknown and read_origins(f"results/records/{slide}.json"):
            wanted = job.statement(made.step, values(made.step, slide), made.reads)
            if made.step in unknown and made != wanted:
                stale[slide, made.step] = difference(asdict(made), asdict(wanted))
    if stale:
        (slide, step), first = next(iter(stale.items()))
        say(
            f"{len({slide for slide, _ in stale})} slides were made with other options or from other "
            f"files. They are made again. The first is {slide}, at {step}: {first}"
        )
        engine.force(
            workflow,
            {
                path.format(slide=slide)
                for slide, step in stale
                for path in STEPS[step].makes.values()
            },
            say,
        )


def refuse_unknown_slides():
    """Raise an error for a target whose slide is not in the catalogue."""
    for target in workflow.dag_settings.targets:
        slide = slide_of_product(os.path.normpath(str(target)))
        if slide and slide not in CATALOGUE.slides:
            near = difflib.get_close_matches(slide, CATALOGUE.slides, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise WorkflowError(
                f"{target}: slide '{slide}' is not in the catalogue, {CATALOGUE_PATH}{hint}"
            )


def begin():
    """Begin a run after Snakemake has locked the folder: only its jobs may put files in place."""
    try:
        outputs.begin_run()
        if config["refresh"] and not workflow.touch:
            catalogue.write(CATALOGUE, CATALOGUE_PATH)
    except OSError as error:
        raise WorkflowError(
            f"the working directory, {os.getcwd()}, cannot be written: {error}. Make it "
            "writable, or free some space; then run the same command again"
        ) from None


def end(failed):
    """Print how many slides are done and which failed, after all messages of Snakemake.

    After a failure the manifest and the report are made here, because their jobs are not run.
    """
    if config["leaks"]:  # `leaks` builds no slides, and a leak is not a failed slide
        return
    from st1k4m.collection import build_manifest

    rows = build_manifest.list_slides(CATALOGUE, STATUS)
    if failed:
        make_collection_after_failure(rows)
    else:
        build_manifest.write_failed(rows, "results/failed.yaml")
    leftovers = list(build_manifest.find_leftovers(set(SLIDES)))
    said = build_manifest.describe(rows, os.path.abspath("results"), leftovers, failed)
    atexit.register(say, said)


def make_collection_after_failure(rows):
    """Make the products of build_manifest and build_report; the next good run makes them again."""
    from st1k4m.collection import build_manifest
    from st1k4m.report import build_report

    made = STEPS["build_manifest"].makes
    try:
        # Without this file Snakemake runs build_manifest again in the next run.
        with contextlib.suppress(FileNotFoundError):
            os.remove(made["complete"])
        build_manifest.build_manifest(
            CATALOGUE_PATH, STATUS, made["manifest"], made["summary"], made["citations"]
        )
        build_manifest.write_failed(rows, "results/failed.yaml")
        build_report.build_report(made["manifest"], made["summary"], "results/report", "logs")
    except (OSError, ValueError, KeyError) as error:  # a full disk, or a damaged card of the report
        say(f"Manifest and report could not be written: {error}. Run the same command again.")
