rule build_anndata:
    input:
        expression="work/expression/{slide}.h5ad",
        spots="work/spots/{slide}.parquet",
        tiles="results/tiles/{slide}.h5",
        annotation=file_of("annotation"),
    output:
        anndata="results/anndata/{slide}.h5ad",
        ledger="results/ledger/{slide}.parquet",
        record="results/records/{slide}.json",
    log:
        "logs/build_anndata/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    resources:
        **needs_of("build_anndata"),
    params:
        **asked(
            "build_anndata",
            revision=REVISIONS["build_anndata"],
            inputs=identities("annotation"),
            annotation=path_of("annotation"),
            study=study_of,
            options=lambda wildcards: {
                section: options_of(section)(wildcards)
                for section in ("expression", "geometry", "tiles")
            },
        ),
    script:
        "../scripts/build_anndata.py"


rule draw_slide:
    input:
        anndata="results/anndata/{slide}.h5ad",
        tiles="results/tiles/{slide}.h5",
        ledger="results/ledger/{slide}.parquet",
        record="results/records/{slide}.json",
    output:
        overlay="results/overlay/{slide}.jpg",
        tissue="results/report/tissue/{slide}.jpg",
        thumbnail=report(
            "results/report/thumbs/{slide}.jpg",
            caption="../report/spots.rst",
            category="Spots on the tissue",
            labels={"slide": "{slide}"},
        ),
        sheet="results/report/tiles/{slide}.jpg",
        page="results/report/slides/{slide}.js",
    log:
        "logs/draw_slide/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    resources:
        **needs_of("draw_slide"),
    params:
        **asked(
            "draw_slide",
            revision=REVISIONS["draw_slide"],
        ),
    script:
        "../scripts/draw_slide.py"
