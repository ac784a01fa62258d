rule cut_tiles:
    input:
        image=file_of("image"),
        spots="work/spots/{slide}.parquet",
        expression="work/expression/{slide}.h5ad",
    output:
        tiles="results/tiles/{slide}.h5",
    log:
        "logs/cut_tiles/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    threads: cores_of("cut_tiles")
    resources:
        **needs_of("cut_tiles"),
    params:
        **asked(
            "cut_tiles",
            revision=REVISIONS["cut_tiles"],
            inputs=identities("image"),
            image=path_of("image"),
            layout=layout("image"),
            options=tile_options,
        ),
    script:
        "../scripts/cut_tiles.py"


# If tiles.format is webdataset or png: the same tiles as PNG files in one tar.
rule pack_tiles:
    input:
        tiles="results/tiles/{slide}.h5",
    output:
        archive="results/tiles/{slide}.tar",
    log:
        "logs/pack_tiles/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    threads: cores_of("cut_tiles")
    resources:
        **needs_of("cut_tiles"),
    params:
        **asked(
            "pack_tiles",
            revision=REVISIONS["pack_tiles"],
            layout=config["tiles"]["format"],
        ),
    script:
        "../scripts/pack_tiles.py"
