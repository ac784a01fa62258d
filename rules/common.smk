# What the rules ask: which slides there are, where a slide's files lie, which options hold for it.

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

# Not workflow.basedir: that is the folder of a workflow which takes this one in with `module`.
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
            "`replace_prefix` out of the module. To keep its rules apart from yours: "
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


def tell(line):
    print(line, file=sys.stderr)


def read_configuration():
    """The catalogue, the selected slides, and every slide's status; or one message with all faults."""
    schema = beside_snakefile("config/config.schema.yaml")
    settings.parse_texts(config, schema)
    faults = settings.check(config, schema)
    sentences = [fault.sentence for fault in faults]
    if {fault.key for fault in faults} & {"dataset", "refresh", "checksums", "select", "exclude"}:
        raise ConfigError("\n".join(sentences))
    # A job on a cluster parses too, with the same --config: only the command itself refreshes. What
    # it finds replaces the catalogue when the run begins, for then no other run is on.
    refresh = config["refresh"] and workflow.is_main_process
    slides = open_dataset.load(
        config["dataset"], CATALOGUE_PATH, refresh, config["checksums"], tell, overwrite=IS_MODULE
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
        f"{error}\nthe dataset must be readable and the working directory, {os.getcwd()}, writable; "
        "--directory chooses another"
    ) from None


# What is made only where the configuration asks for it.
PACKED = config["tiles"]["format"] in ("webdataset", "png")
STORE = StoreOptions.from_config(config["spatialdata"])
CARD = CardOptions.from_config(config["card"])


wildcard_constraints:
    slide=SLIDE_NAME,
    split=r"\w+",


def fact(name):
    """A fact of the catalogue about the slide, as a param."""
    return lambda wildcards: getattr(CATALOGUE.slides[wildcards.slide], name)


def options(section):
    """The options of a section that hold for the slide's technology, as a param."""

    def find(wildcards):
        tech = CATALOGUE.slides[wildcards.slide].tech
        found = settings.options(config, section, tech)
        if "barcodes" in found and tech != "Visium":  # other ids state their positions themselves
            found = found | {"barcodes": None}
        # The tables' rows that concern the slide are params of their own.
        return {name: found[name] for name in found if name not in ("table", "overrides")}

    return find


def geometry_rows(wildcards):
    """The rows of the geometry table that apply to the slide, as a param."""
    slide = CATALOGUE.slides[wildcards.slide]
    return settings.rows_for(GEOMETRY, slide.slide, slide.tech)


def barcode_tables(wildcards):
    """What the tables of barcodes hold, as a param: a slide that they place follows a change."""
    return BARCODES if CATALOGUE.slides[wildcards.slide].tech == "Visium" else ""


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
        files = own_layout.real_files(own_layout.files_of(part)) if part else [path]
        return [file for file in files if os.path.isfile(file) and os.access(file, os.R_OK)]

    return find


def identities(*kinds):
    """Which content of the slide's files a step reads, as a param: a file may be replaced by an
    older one, which no time stamp shows."""

    def find(wildcards):
        slide = wildcards.slide
        if CATALOGUE.is_fetched(slide):
            fetched_kinds = set(kinds) - {"annotation"}  # that one is here since the catalogue is
        else:
            fetched_kinds = set()
        return {
            kind: (
                f"{getattr(CATALOGUE.slides[slide], f'{kind}_bytes')}:{CATALOGUE.identity(slide, kind)}"
                if kind in fetched_kinds
                else file_identity(source(kind)(wildcards))
            )
            for kind in kinds
        }

    return find


ASKED = {}


def asked(step, **params):
    """The params of a step of a slide, and what the products that it reads must be made with.

    They are kept as well, to compare finished products with them.
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
    """The line that says that the image was fetched, or the image itself where it is read in place."""
    if CATALOGUE.is_fetched(wildcards.slide):
        return ancient(f"resources/files/image/{wildcards.slide}.fetched")
    return source("image")(wildcards)


def visium_slides(product):
    """A product of every selected Visium slide."""
    chosen = [slide for slide in SLIDES if CATALOGUE.slides[slide].tech == "Visium"]
    return expand(STEPS["build_anndata"].makes[product], slide=chosen)


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
    """Memory of decoding an image, in MB. The few that must be decoded whole are known by their header.

    Used only after a first try: opening every image would be a scan of the dataset.
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


def leaks_options():
    """What the target `leaks` checks, as a param: a file alone, or a section with options."""
    asked = config["leaks"]
    return {"file": asked} if isinstance(asked, str) else {"file": "", **asked}


def tile_options(wildcards):
    """The options of the tiles, as a param; the format matters to cut_tiles only if it is none."""
    found = options("tiles")(wildcards)
    return {name: found[name] for name in found if name != "format"} | {
        "pixels": found["format"] != "none"
    }


def read_panels():
    """The options of every panel that has slides in this run, by its name."""
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
            tell(f"panels.{name}: none of this run's slides is selected, so it is not made.")
        del options[name]
    for name, asked in options.items() if workflow.is_main_process else ():
        known = {slide: CATALOGUE.slides[slide].genes for slide in panel_slides(asked)}
        known = {slide: int(genes) for slide, genes in known.items() if genes}
        if warning := panel_options.foresee_losses(name, asked, known):
            tell(f"WARNING: {warning}")
    return options, {name: panels[name] for name in options}


def panel_slides(options):
    """Names of the slides of a panel."""
    return [
        slide
        for slide in SLIDES
        if options.takes({key: getattr(CATALOGUE.slides[slide], key) for key in PANEL_FACTS})
    ]


PANEL_FACTS = tuple(panel_options.SELECT.values())
PANELS, PANEL_CONFIGS = read_panels()


def panel_file(find):
    """A file that the panel's options name, as an input; none if they name none."""

    def of(wildcards):
        path = find(PANELS[wildcards.panel])
        return beside_snakefile(path) if path else []

    return of


def panel_split(wildcards):
    """The split that a panel is chosen by, if it is."""
    split = PANELS[wildcards.panel].split
    return f"results/collection/splits/{split}.tsv" if split else []


def wanted():
    """What is made for every selected slide."""
    optional = {"pack_tiles": PACKED, "write_spatialdata": STORE is not None}
    return [
        path
        for step in SLIDE_STEPS.values()
        if not step.kept_when_stale and (optional.get(step.name) or not step.optional)
        for path in step.makes.values()
        if not path.startswith("work/")
    ]


def values(step, slide, without=()):
    """The params of a step for one slide, but those ``without``."""
    wildcards = SimpleNamespace(slide=slide)
    return {
        name: value(wildcards) if callable(value) else value
        for name, value in ASKED[step].items()
        if name not in without
    }


def is_known(path):
    """Whether Snakemake knows how a file was made, so that it sees changed params by itself."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    return os.path.exists(f".snakemake/metadata/{name}")


def remake_what_was_made_otherwise():
    """Ask for products again that this configuration would not give, where Snakemake cannot tell.

    It keeps the params of every product in .snakemake, which is lost when results are copied, or by
    --cleanup-metadata. The record of a slide states them too.
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
        tell(
            f"{len({slide for slide, _ in stale})} slides were made with other options or from other "
            f"files than now, and are made again; the first is {slide}, at {step}: {first}"
        )
        engine.force(
            workflow,
            {
                path.format(slide=slide)
                for slide, step in stale
                for path in STEPS[step].makes.values()
            },
            tell,
        )


def refuse_unknown_slides():
    """Refuse a target of a slide that the catalogue does not have, in a sentence."""
    for target in workflow.dag_settings.targets:
        slide = slide_of_product(os.path.normpath(str(target)))
        if slide and slide not in CATALOGUE.slides:
            near = difflib.get_close_matches(slide, CATALOGUE.slides, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise WorkflowError(
                f"{target}: slide '{slide}' is not in the catalogue, {CATALOGUE_PATH}{hint}"
            )


def begin():
    """Begin a run: it holds the lock now. Its jobs and no others may put files in place."""
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
    """Say how many slides are done and which failed, after all that the engine has to say.

    After a failure the manifest and the report are made here, for no job comes to it.
    """
    if config["leaks"]:  # to find some is no failure of the run, and none was made
        return
    from st1k4m.collection import build_manifest

    rows = build_manifest.list_slides(CATALOGUE, STATUS)
    if failed:
        make_collection_after_failure(rows)
    else:
        build_manifest.write_failed(rows, "results/failed.yaml")
    leftovers = list(build_manifest.find_leftovers(set(SLIDES)))
    said = build_manifest.describe(rows, os.path.abspath("results"), leftovers, failed)
    atexit.register(tell, said)


def make_collection_after_failure(rows):
    """Make what build_manifest and build_report make, and let the next good run make it again."""
    from st1k4m.collection import build_manifest
    from st1k4m.report import build_report

    made = STEPS["build_manifest"].makes
    try:
        # Snakemake must not take this for the work of its jobs.
        with contextlib.suppress(FileNotFoundError):
            os.remove(made["complete"])
        build_manifest.build_manifest(
            CATALOGUE_PATH, STATUS, made["manifest"], made["summary"], made["citations"]
        )
        build_manifest.write_failed(rows, "results/failed.yaml")
        build_report.build_report(made["manifest"], made["summary"], "results/report", "logs")
    except (OSError, ValueError, KeyError) as error:  # a full disk, or a damaged card of the report
        tell(f"Manifest and report could not be written: {error}.")
