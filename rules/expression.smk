rule count_expression:
    input:
        counts=source("counts"),
        coord=source("coord"),
    output:
        expression="work/expression/{slide}.h5ad",
    log:
        "logs/count_expression/{slide}.log",
    group:
        "slide"
    conda:
        "../envs/st1k4m.yaml"
    threads: cores("count_expression")
    resources:
        **needs("count_expression"),
    params:
        **asked(
            "count_expression",
            revision=REVISIONS["count_expression"],
            inputs=identities("counts", "coord"),
            counts=path("counts"),
            coord=path("coord"),
            layout=layout("counts", "coord"),
            species=fact("species"),
            options=options("expression"),
        ),
    script:
        "../scripts/count_expression.py"
