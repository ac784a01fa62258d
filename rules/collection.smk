# The collection of all slides: relations, splits that keep related slides together, panels, report.


rule fingerprint_slide:
    input:
        anndata="results/anndata/{slide}.h5ad",
    output:
        fingerprint="work/fingerprints/{slide}.npz",
    log:
        "logs/fingerprint_slide/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    resources:
        **needs_of("fingerprint_slide"),
    params:
        **asked(
            "fingerprint_slide",
            revision=REVISIONS["fingerprint_slide"],
        ),
    script:
        "../scripts/fingerprint_slide.py"


rule relate_slides:
    input:
        records=expand("results/records/{slide}.json", slide=SLIDES),
        fingerprints=expand("work/fingerprints/{slide}.npz", slide=SLIDES),
    output:
        slides="results/collection/slides.tsv",
        relations="results/collection/relations.tsv",
        genes="results/collection/genes.tsv",
    log:
        "logs/relate_slides.log",
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=1500,
        runtime=30,
        # Not params: only changed content of the tables, `stated`, is a reason to run again.
        tables=os.pathsep.join(map(beside_snakefile, config["relations"]["tables"])),
        also_in=os.pathsep.join(map(beside_snakefile, config["relations"]["also_in"])),
    params:
        revision=REVISIONS["relate_slides"],
        stated=file_identity(
            map(beside_snakefile, config["relations"]["tables"] + config["relations"]["also_in"])
        ),
    script:
        "../scripts/relate_slides.py"


# The file of an earlier run stays until the new one is written, because slides keep their parts.
rule make_splits:
    input:
        slides="results/collection/slides.tsv",
        relations="results/collection/relations.tsv",
    output:
        split=update("results/collection/splits/{split}.tsv"),
    log:
        "logs/make_splits/{split}.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["make_splits"],
        options=lambda wildcards: config["splits"][wildcards.split],
    script:
        "../scripts/make_splits.py"


rule draw_collection:
    input:
        slides="results/collection/slides.tsv",
        relations="results/collection/relations.tsv",
        splits=expand("results/collection/splits/{split}.tsv", split=config["splits"]),
        panels=expand("results/collection/panels/{panel}.tsv", panel=PANELS),
    output:
        page="results/report/related.js",
    log:
        "logs/draw_collection.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        revision=REVISIONS["draw_collection"],
    script:
        "../scripts/draw_collection.py"


# Prints the leaks in a table or list of slides; the exit status is 1 if there are any.
rule leaks:
    log:
        "logs/leaks.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    params:
        leaks=leaks_options(),
        tables=[beside_snakefile(path) for path in config["relations"]["tables"]],
        also_in=[beside_snakefile(path) for path in config["relations"]["also_in"]],
    script:
        "../scripts/find_leaks.py"


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
        # A failed run writes the other outputs but not this file, so the rule runs again.
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
        fingerprints=expand("work/fingerprints/{slide}.npz", slide=SLIDES),
    output:
        index="results/report/index.html",
        style="results/report/report.css",
        scripts=expand(
            "results/report/{name}.js",
            name=[
                "core",
                "gallery",
                "painting",
                "slide",
                "dataset",
                "collection",
                "start",
                "cards",
                "run",
            ],
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


# Lists and removes the products of slides that are not selected.
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


# Learns the arrays from all slides together, and finds slides that contradict them.
rule calibrate_arrays:
    input:
        ledgers=barcoded_slides("ledger"),
        records=barcoded_slides("record"),
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
