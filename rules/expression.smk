rule count_expression:
    input:
        counts=file_of("counts"),
        coord=file_of("coord"),
    output:
        expression="work/expression/{slide}.h5ad",
    log:
        "logs/count_expression/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    threads: cores_of("count_expression")
    resources:
        **needs_of("count_expression"),
    params:
        **asked(
            "count_expression",
            revision=REVISIONS["count_expression"],
            inputs=identities("counts", "coord"),
            counts=path_of("counts"),
            coord=path_of("coord"),
            layout=layout("counts", "coord"),
            species=fact_of("species"),
            options=options_of("expression"),
        ),
    script:
        "../scripts/count_expression.py"
