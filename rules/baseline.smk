# Measures how well encoders predict expression, by published recipes and without their leaks. Off
# by default.
#
#   cut_tiles        ->  embed_tiles        ->  results/features/{encoder}/{slide}.h5
#   build_anndata    ->  collect_targets    ->  work/baseline/{baseline}/targets.h5ad
#   both             ->  fit_ridge, probe_labels, score_clusters, each for one encoder
#   all of these     ->  build_baseline     ->  results/baseline/{baseline}.tsv and .json
#                        draw_baseline      ->  results/report/baseline/{baseline}.html
#
# {encoder} is the folder of an encoder: its name with `--` for every colon and slash.


include: "common_baseline.smk"


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
        # The model, a batch, and the features: 1,536 to 2,560 per tile for large models.
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


# Each uses one core: the last digits would otherwise depend on the number of cores.
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


# The checkpoint is not an output, because Snakemake would remove it when the job is killed. The
# next job continues from it.
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
