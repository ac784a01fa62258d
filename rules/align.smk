rule align_spots:
    input:
        coord=file_of("coord"),
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
        **needs_of("align_spots"),
    params:
        **asked(
            "align_spots",
            revision=REVISIONS["align_spots"],
            inputs=identities("coord", "image"),
            coord=path_of("coord"),
            image=path_of("image"),
            layout=layout("coord", "image"),
            tech=fact_of("tech"),
            geometry=geometry_rows,
            override=override_of,
            options=options_of("geometry"),
            barcodes=barcode_tables,
            max_pixels=lambda wildcards: options_of("tiles")(wildcards)["max_pixels"],
        ),
    script:
        "../scripts/align_spots.py"
