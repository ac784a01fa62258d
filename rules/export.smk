# Files for other programs: SpatialData, and the results described as a dataset. Off by default. An
# export reads finished products. No other step reads an export.
#
# Exports are not in the group of a slide's own steps, because the tables of the collection need all
# slides.

COLLECTION = "results/collection"
SPLITS = {name: f"{COLLECTION}/splits/{name}.tsv" for name in config["splits"]}
PANEL_TABLES = {name: f"{COLLECTION}/panels/{name}.tsv" for name in config["panels"]}
SHARDS = {name: f"results/shards/{name}/index.json" for name in config["shards"]}

# Whether the stores get the tables of the collection.
with_collection = STORE is not None and STORE.collection
with_image = STORE is not None and STORE.full_image


rule write_spatialdata:
    input:
        anndata="results/anndata/{slide}.h5ad",
        tiles="results/tiles/{slide}.h5",
        record="results/records/{slide}.json",
        image=file_of("image") if with_image else [],
        relations=f"{COLLECTION}/relations.tsv" if with_collection else [],
        splits=list(SPLITS.values()) if with_collection else [],
    output:
        store=directory("results/spatialdata/{slide}.zarr"),
    log:
        "logs/write_spatialdata/{slide}.log",
    group:
        "export"
    conda:
        "../envs/spatialdata.yaml"
    resources:
        **needs_of("write_spatialdata"),
    params:
        **asked(
            "write_spatialdata",
            revision=REVISIONS["write_spatialdata"],
            inputs=identities("image") if with_image else {},
            image=path_of("image") if with_image else "",
            splits=list(SPLITS) if with_collection else [],
        ),
    script:
        "../scripts/write_spatialdata.py"


# The checksums of one slide's products. Only slides whose products changed are read again.
rule hash_products:
    input:
        anndata="results/anndata/{slide}.h5ad",
        tiles="results/tiles/{slide}.h5",
        archive="results/tiles/{slide}.tar" if PACKED else [],
        ledger="results/ledger/{slide}.parquet",
        record="results/records/{slide}.json",
        overlay="results/overlay/{slide}.jpg",
        store="results/spatialdata/{slide}.zarr" if STORE else [],
    output:
        sums="work/checksums/{slide}.txt",
    log:
        "logs/hash_products/{slide}.log",
    group:
        "export"
    conda:
        "../envs/st1k4m.yaml"
    resources:
        **needs_of("hash_products"),
    params:
        **asked("hash_products", revision=REVISIONS["hash_products"]),
    script:
        "../scripts/hash_products.py"


rule describe_collection:
    input:
        catalogue="resources/catalogue.tsv",
        licences=beside_snakefile((CARD or CardOptions()).licences),
        sums=expand("work/checksums/{slide}.txt", slide=SLIDES),
        manifest="results/manifest.tsv",
        summary="results/summary.json",
        citations="results/citations.bib",
        tables=[f"{COLLECTION}/{name}.tsv" for name in ("slides", "relations", "genes")],
        splits=list(SPLITS.values()),
        panels=list(PANEL_TABLES.values()),
        counts=[path.replace(".tsv", ".h5ad") for path in PANEL_TABLES.values()],
        shards=list(SHARDS.values()),
    output:
        card="results/README.md",
        same_card="results/collection/README.md",
        croissant="results/collection/croissant.json",
        sums="results/collection/SHA256SUMS",
        slides="results/collection/slides.parquet",
        splits="results/collection/splits.parquet",
    log:
        "logs/describe_collection.log",
    conda:
        "../envs/st1k4m.yaml"
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        revision=REVISIONS["describe_collection"],
        splits=list(SPLITS),
        panels=list(PANEL_TABLES),
        shards=list(SHARDS),
        card=config["card"],
    script:
        "../scripts/describe_collection.py"
