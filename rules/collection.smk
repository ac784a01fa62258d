rule build_manifest:
    input:
        catalogue="resources/catalogue.tsv",
        records=expand("results/records/{slide}.json", slide=SLIDES),
        drawn=expand("results/report/slides/{slide}.js", slide=SLIDES),
    output:
        manifest=report(
            "results/manifest.tsv", caption="../report/manifest.rst", category="Dataset"
        ),
        summary=report("results/summary.json", caption="../report/summary.rst", category="Dataset"),
        citations="results/citations.bib",
        # Not there after a failed run, which makes the others itself: so this rule runs again.
        complete="work/manifest.complete",
    log:
        "logs/build_manifest.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["build_manifest"],
        status=STATUS,
        catalogue=digest_of(str(CATALOGUE.slides)),
    script:
        "../scripts/build_manifest.py"


rule build_report:
    input:
        manifest="results/manifest.tsv",
        summary="results/summary.json",
        drawn=expand("results/report/slides/{slide}.js", slide=SLIDES),
    output:
        index="results/report/index.html",
        style="results/report/report.css",
        scripts=expand(
            "results/report/{name}.js",
            name=["core", "gallery", "painting", "slide", "dataset", "start", "cards", "run"],
        ),
    log:
        "logs/build_report.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["build_report"],
    script:
        "../scripts/build_report.py"


# For people alone: removes what is left of slides that are not selected, after listing it.
rule remove_leftovers:
    log:
        "logs/remove_leftovers.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        selected=SLIDES,
    script:
        "../scripts/remove_leftovers.py"


rule choose_panel:
    input:
        slides="results/collection/slides.tsv",
        split=panel_split,
        genes=panel_file(lambda options: options.genes),
        renames=panel_file(lambda options: options.names.rename),
        anndata=lambda wildcards: expand(
            "results/anndata/{slide}.h5ad", slide=panel_slides(PANELS[wildcards.panel])
        ),
    output:
        table="results/collection/panels/{panel}.tsv",
        stacked="results/collection/panels/{panel}.h5ad",
    log:
        "logs/choose_panel/{panel}.log",
    wildcard_constraints:
        panel=r"\w+",
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * (12000 if PANELS[wildcards.panel].method == "slide_hvg" else 3000),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        revision=REVISIONS["choose_panel"],
        options=lambda wildcards: PANEL_CONFIGS[wildcards.panel],
    script:
        "../scripts/choose_panel.py"


# What all slides together teach about the arrays, and which slides contradict that.
def visium_slides(product):
    """A product of every selected Visium slide."""
    chosen = [slide for slide in SLIDES if CATALOGUE.slides[slide].tech == "Visium"]
    return expand(STEPS["build_anndata"].makes[product], slide=chosen)


rule calibrate_arrays:
    input:
        ledgers=visium_slides("ledger"),
        records=visium_slides("record"),
    output:
        arrays=directory("results/collection/arrays"),
    log:
        "logs/calibrate_arrays.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["calibrate_arrays"],
    script:
        "../scripts/calibrate_arrays.py"
