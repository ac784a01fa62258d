# The three files of a slide on a hub; those of a folder are read in place. No group: each transfer is
# a job of its own, so that `downloads` can limit them.
#
# With keep_downloads: false a file is removed when the last job that reads it is done, and a later run
# fetches it again for the step that needs it. Other steps must not re-run because of this: counts have
# one reader, coordinates (70 bytes a spot) are always kept, and align_spots depends on the marker file
# {slide}.fetched instead of the image. cut_tiles, which follows it, keeps the image until then.
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
    # Work on a fetched slide before fetching another: this bounds the disk space.
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


# For the terminal alone: what each slide of one's own was recognised as, and what is missing.
rule describe:
    log:
        "logs/describe.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    script:
        "../scripts/describe.py"


# For the terminal alone: what the selected slides will cost.
rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/st1k4m.yaml"
    script:
        "../scripts/plan.py"
