rule align_spots:
    input:
        coord=source("coord"),
        image=image_is_here,
    output:
        spots="work/spots/{slide}.parquet",
    log:
        "logs/align_spots/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    resources:
        **needs("align_spots"),
    params:
        **asked(
            "align_spots",
            revision=REVISIONS["align_spots"],
            inputs=identities("coord", "image"),
            coord=path("coord"),
            image=path("image"),
            layout=layout("coord", "image"),
            tech=fact("tech"),
            geometry=geometry_rows,
            override=override,
            options=options("geometry"),
            barcodes=barcode_tables,
            max_pixels=lambda wildcards: options("tiles")(wildcards)["max_pixels"],
        ),
    script:
        "../scripts/align_spots.py"
