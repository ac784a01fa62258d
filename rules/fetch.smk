# The three files of a slide on a hub; files of a folder are read in place. Transfers are not in a
# group: each is a separate job, so `downloads` can limit them.
#
# With keep_downloads: false a file is removed when the last job that reads it is done. A later run
# fetches it again for the step that needs it. Other steps must not re-run because of this. Only one
# step reads counts. Coordinates (70 bytes per spot) are always kept. align_spots depends on the
# marker file {slide}.fetched instead of the image. The image is still there when it runs, because
# cut_tiles needs it later.
#
# Only the file's identity is a param. A changed address, number of tries or timeout must not fetch
# everything again, so the scripts read those from the catalogue and the configuration.

fetched = str if config["keep_downloads"] else temp


if "downloads" not in workflow.global_resources:
    workflow.register_resource("downloads", config["fetch"]["parallel"])


rule fetch_counts:
    output:
        fetched("resources/files/counts/{slide}_count.csv"),
    log:
        "logs/fetch_counts/{slide}.log",
    # Jobs of fetched slides run before more slides are fetched, to limit the disk space.
    priority: -1
    localrule: config["fetch"]["on_submit_host"]
    conda:
        "../envs/st1k4m.yaml"
    resources:
        downloads=1,
        attempt=this_attempt,
    params:
        identity=lambda wildcards: CATALOGUE.identity(wildcards.slide, "counts"),
    script:
        "../scripts/fetch_counts.py"


rule fetch_coord:
    output:
        "resources/files/coord/{slide}_coord.csv",
    log:
        "logs/fetch_coord/{slide}.log",
    priority: -1
    localrule: config["fetch"]["on_submit_host"]
    conda:
        "../envs/st1k4m.yaml"
    resources:
        downloads=1,
        attempt=this_attempt,
    params:
        identity=lambda wildcards: CATALOGUE.identity(wildcards.slide, "coord"),
    script:
        "../scripts/fetch_coord.py"


rule fetch_image:
    output:
        image=fetched("resources/files/image/{slide}.png"),
        told="resources/files/image/{slide}.fetched",
    log:
        "logs/fetch_image/{slide}.log",
    priority: -1
    localrule: config["fetch"]["on_submit_host"]
    conda:
        "../envs/st1k4m.yaml"
    resources:
        downloads=1,
        attempt=this_attempt,
    params:
        identity=lambda wildcards: CATALOGUE.identity(wildcards.slide, "image"),
    script:
        "../scripts/fetch_image.py"


# Prints what was recognised in each of the user's own slides, and what is missing.
rule describe:
    log:
        "logs/describe.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    script:
        "../scripts/describe.py"


# Prints the cost of the selected slides.
rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    script:
        "../scripts/plan.py"
