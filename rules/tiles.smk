rule cut_tiles:
    input:
        image=source("image"),
        spots="work/spots/{slide}.parquet",
        expression="work/expression/{slide}.h5ad",
    output:
        **tile_files(),
    log:
        "logs/cut_tiles/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    threads: cores("cut_tiles")
    resources:
        **needs("cut_tiles"),
    params:
        revision=REVISIONS["cut_tiles"],
        image=path("image"),
        layout=layout("image"),
        options=options("tiles"),
    script:
        "../scripts/cut_tiles.py"
