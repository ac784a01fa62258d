# How well encoders predict expression, by published recipes and without their leaks; off by default.
#
#   cut_tiles        ->  embed_tiles        ->  results/features/{encoder}/{slide}.h5
#   build_anndata    ->  collect_targets    ->  work/baseline/{baseline}/targets.h5ad
#   both             ->  fit_ridge, probe_labels, score_clusters, an encoder each
#   all of these     ->  build_baseline     ->  results/baseline/{baseline}.tsv and .json
#                        draw_baseline      ->  results/report/baseline/{baseline}.html
#
# {encoder} is the folder of an encoder: its name with `--` for every colon and slash.

from st1k4m.baseline import encoder_names
from st1k4m.baseline import options as baseline_options

TRAINING_MEAN = "training_mean"


def read_baselines():
    """The options of every baseline whose panel has slides in this run, by its name."""
    try:
        found = baseline_options.read_baselines(
            config["baselines"], config["splits"], config["panels"]
        )
        return {name: asked for name, asked in found.items() if asked.panel in PANELS}
    except ConfigError as error:
        raise WorkflowError(f"the configuration cannot be used:\n{error}") from None


def read_encoders():
    """The encoders of all baselines by folder, and what their features depend on."""
    try:
        folders = encoder_names.folders_of(
            [encoder for asked in BASELINES.values() for encoder in asked.encoders]
        )
        return folders, {
            folder: encoder_names.identity_of(encoder) for folder, encoder in folders.items()
        }
    except ConfigError as error:
        raise WorkflowError(f"the configuration cannot be used:\n{error}") from None


BASELINES = read_baselines()
ENCODERS, ENCODER_IDENTITIES = read_encoders()


def baseline_of(wildcards):
    return BASELINES[wildcards.baseline]


def baseline_slides(wildcards):
    """Names of a baseline's slides: those of its panel."""
    return panel_slides(PANELS[baseline_of(wildcards).panel])


def baseline_split(wildcards):
    """The split of a baseline, as an input."""
    return f"results/collection/splits/{baseline_of(wildcards).split}.tsv"


def baseline_anndata(wildcards):
    """The AnnData files of a baseline's slides, as inputs."""
    return expand("results/anndata/{slide}.h5ad", slide=baseline_slides(wildcards))


def baseline_features(wildcards):
    """The features of a baseline's slides by an encoder, as inputs; the training mean needs none."""
    if wildcards.encoder == TRAINING_MEAN:
        return []
    return expand(
        "results/features/{encoder}/{slide}.h5",
        encoder=wildcards.encoder,
        slide=baseline_slides(wildcards),
    )


def baseline_panel(wildcards):
    """The options of a baseline's panel, as a param; which part it is from does not matter here."""
    chosen = PANEL_CONFIGS[baseline_of(wildcards).panel]
    return {key: value for key, value in chosen.items() if key != "train"}


def baseline_file(find):
    """A file that the options of a baseline's panel name, as an input; none if they name none."""
    return lambda wildcards: [
        beside_snakefile(path) for path in [find(PANELS[baseline_of(wildcards).panel])] if path
    ]


def baseline_scores(kind):
    """What was measured of every encoder of a baseline, as inputs."""

    def of(wildcards):
        asked = baseline_of(wildcards)
        if kind != "ridge" and kind != "painted" and kind not in asked.tasks:
            return []
        folders = list(asked.folders)
        if kind == "ridge":
            folders.append(TRAINING_MEAN)
        return [f"work/baseline/{wildcards.baseline}/{folder}.{kind}.json" for folder in folders]

    return of


def baseline_contrastive(wildcards):
    """The numbers of the contrastive training, where a baseline asks for it."""
    asked = baseline_of(wildcards).contrastive
    return [f"work/baseline/{wildcards.baseline}/contrastive.json"] if asked else []


def encoder_of(wildcards):
    return ENCODERS.get(wildcards.encoder, wildcards.encoder)


rule embed_tiles:
    input:
        tiles="results/tiles/{slide}.h5",
    output:
        features="results/features/{encoder}/{slide}.h5",
    log:
        "logs/embed_tiles/{encoder}/{slide}.log",
    wildcard_constraints:
        encoder=encoder_names.FOLDER,
    conda:
        "../envs/st1k4m.yaml"
    threads: lambda wildcards: 1 if wildcards.encoder == encoder_names.PIXELS else 4
    resources:
        # The model and a batch; the features, of which large models have 1,536 to 2,560 a tile.
        mem_mb=lambda wildcards, attempt: attempt
        * (4000 + 20 * CATALOGUE.slides[wildcards.slide].spots // 1000),
        runtime=lambda wildcards, attempt: attempt
        * (20 + CATALOGUE.slides[wildcards.slide].spots // 200),
        gpu=lambda wildcards: (
            0 if wildcards.encoder == encoder_names.PIXELS else config["features"]["gpu"]
        ),
    params:
        revision=REVISIONS["embed_tiles"],
        encoder=encoder_of,
        identity=lambda wildcards: ENCODER_IDENTITIES[wildcards.encoder],
    script:
        "../scripts/embed_tiles.py"


rule collect_targets:
    input:
        slides="results/collection/slides.tsv",
        split=baseline_split,
        anndata=baseline_anndata,
        genes=baseline_file(lambda panel: panel.genes),
        renames=baseline_file(lambda panel: panel.names.rename),
    output:
        targets="work/baseline/{baseline}/targets.h5ad",
    log:
        "logs/collect_targets/{baseline}.log",
    wildcard_constraints:
        baseline=r"\w+",
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        revision=REVISIONS["collect_targets"],
        names=baseline_slides,
        panel=baseline_panel,
        hest_genes=lambda wildcards: baseline_of(wildcards).hest_genes,
        max_spots=lambda wildcards: baseline_of(wildcards).max_spots,
        seed=lambda wildcards: baseline_of(wildcards).seed,
    script:
        "../scripts/collect_targets.py"


# One core each: numbers whose last digits depend on the cores would differ from run to run.
rule fit_ridge:
    input:
        targets="work/baseline/{baseline}/targets.h5ad",
        features=baseline_features,
    output:
        scores="work/baseline/{baseline}/{encoder}.ridge.json",
        painted="work/baseline/{baseline}/{encoder}.painted.json",
    log:
        "logs/fit_ridge/{baseline}/{encoder}.log",
    wildcard_constraints:
        baseline=r"\w+",
        encoder=encoder_names.FOLDER,
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        revision=REVISIONS["fit_ridge"],
        names=baseline_slides,
        encoder=encoder_of,
    script:
        "../scripts/fit_ridge.py"


rule probe_labels:
    input:
        targets="work/baseline/{baseline}/targets.h5ad",
        features=baseline_features,
    output:
        scores="work/baseline/{baseline}/{encoder}.probe.json",
    log:
        "logs/probe_labels/{baseline}/{encoder}.log",
    wildcard_constraints:
        baseline=r"\w+",
        encoder=encoder_names.FOLDER,
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        revision=REVISIONS["probe_labels"],
        names=baseline_slides,
        encoder=encoder_of,
    script:
        "../scripts/probe_labels.py"


rule score_clusters:
    input:
        targets="work/baseline/{baseline}/targets.h5ad",
        features=baseline_features,
    output:
        scores="work/baseline/{baseline}/{encoder}.clusters.json",
    log:
        "logs/score_clusters/{baseline}/{encoder}.log",
    wildcard_constraints:
        baseline=r"\w+",
        encoder=encoder_names.FOLDER,
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        revision=REVISIONS["score_clusters"],
        names=baseline_slides,
        encoder=encoder_of,
    script:
        "../scripts/score_clusters.py"


# Its checkpoint is no output, so that the engine leaves it where a killed job goes on from it.
rule train_contrastive:
    input:
        slides="results/collection/slides.tsv",
        split=baseline_split,
        panel=lambda wildcards: f"results/collection/panels/{baseline_of(wildcards).panel}.h5ad",
        anndata=baseline_anndata,
        tiles=lambda wildcards: expand("results/tiles/{slide}.h5", slide=baseline_slides(wildcards)),
    output:
        scores="work/baseline/{baseline}/contrastive.json",
    log:
        "logs/train_contrastive/{baseline}.log",
    wildcard_constraints:
        baseline=r"\w+",
    conda:
        "../envs/st1k4m.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
        gpu=config["features"]["gpu"],
    params:
        revision=REVISIONS["train_contrastive"],
        names=baseline_slides,
        split=lambda wildcards: baseline_of(wildcards).split,
        panel=lambda wildcards: baseline_of(wildcards).panel,
        train=lambda wildcards: list(baseline_of(wildcards).train),
        recipe=lambda wildcards: baseline_of(wildcards).as_dict()["contrastive"],
        checkpoint="work/baseline/{baseline}/contrastive.pt",
    script:
        "../scripts/train_contrastive.py"


rule build_baseline:
    input:
        ridge=baseline_scores("ridge"),
        probe=baseline_scores("probe"),
        clusters=baseline_scores("clusters"),
        contrastive=baseline_contrastive,
    output:
        table="results/baseline/{baseline}.tsv",
        numbers="results/baseline/{baseline}.json",
    log:
        "logs/build_baseline/{baseline}.log",
    wildcard_constraints:
        baseline=r"\w+",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["build_baseline"],
        options=lambda wildcards: baseline_of(wildcards).as_dict(),
    script:
        "../scripts/build_baseline.py"


rule draw_baseline:
    input:
        numbers="results/baseline/{baseline}.json",
        painted=baseline_scores("painted"),
    output:
        page="results/report/baseline/{baseline}.html",
    log:
        "logs/draw_baseline/{baseline}.log",
    wildcard_constraints:
        baseline=r"\w+",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["draw_baseline"],
        encoders=lambda wildcards: list(baseline_of(wildcards).encoders),
    script:
        "../scripts/draw_baseline.py"
