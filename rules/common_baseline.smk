# Functions for the rules of baselines: their options and inputs.

from st1k4m.baseline import encoder_names
from st1k4m.baseline import options as baseline_options

TRAINING_MEAN = "training_mean"


def read_baselines():
    """Return the options of every baseline whose panel has slides in this run, by name."""
    try:
        found = baseline_options.read_baselines(
            config["baselines"], config["splits"], config["panels"]
        )
        return {name: asked for name, asked in found.items() if asked.panel in PANELS}
    except ConfigError as error:
        raise WorkflowError(f"the configuration cannot be used:\n{error}") from None


def read_encoders():
    """Return the encoders of all baselines by folder, and the identity of each by folder."""
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
    """Return the names of a baseline's slides: the slides of its panel."""
    return panel_slides(PANELS[baseline_of(wildcards).panel])


def baseline_split(wildcards):
    """Return an input: the split of a baseline."""
    return f"results/collection/splits/{baseline_of(wildcards).split}.tsv"


def baseline_anndata(wildcards):
    """Return inputs: the AnnData files of a baseline's slides."""
    return expand("results/anndata/{slide}.h5ad", slide=baseline_slides(wildcards))


def baseline_features(wildcards):
    """Return inputs: an encoder's features of a baseline's slides; none for the training mean."""
    if wildcards.encoder == TRAINING_MEAN:
        return []
    return expand(
        "results/features/{encoder}/{slide}.h5",
        encoder=wildcards.encoder,
        slide=baseline_slides(wildcards),
    )


def baseline_panel(wildcards):
    """Return a param: the options of a baseline's panel except `train`, which is not used here."""
    chosen = PANEL_CONFIGS[baseline_of(wildcards).panel]
    return {key: value for key, value in chosen.items() if key != "train"}


def baseline_file(find):
    """Return an input: a file that the options of a baseline's panel name, if they name one."""
    return lambda wildcards: [
        beside_snakefile(path) for path in [find(PANELS[baseline_of(wildcards).panel])] if path
    ]


def baseline_scores(kind):
    """Return inputs: the results of one kind for every encoder of a baseline."""

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
    """Return the results of the contrastive training; none if a baseline does not ask for it."""
    asked = baseline_of(wildcards).contrastive
    return [f"work/baseline/{wildcards.baseline}/contrastive.json"] if asked else []


def encoder_of(wildcards):
    return ENCODERS.get(wildcards.encoder, wildcards.encoder)
