# Check of every tomogram before the long computations; only the jobs of a bad tomogram fail.
rule check_tomogram:
    input:
        files_to_check,
    output:
        "results/check/{tomogram}.tsv",
    log:
        "logs/check_tomogram/{tomogram}.log",
    benchmark:
        "costs/check_tomogram/{tomogram}.tsv"
    wildcard_constraints:
        tomogram="|".join(TOMOGRAMS),
    conda:
        "../../envs/base.yaml"
    params:
        tomogram=row_of_table("voxel_size", "tilt_range", "contrast", "mask"),
        files=state_of_files,
        twins=lambda wildcards: TWINS[wildcards.tomogram],
        siblings=lambda wildcards: SIBLINGS[wildcards.tomogram],
    message:
        "Checking {wildcards.tomogram}: header, voxels, contrast and mask."
    script:
        "../../scripts/check_tomogram.py"


rule gather_checks:
    input:
        of_tomograms("results/check/{tomogram}.tsv"),
    output:
        "results/check/tomograms.tsv",
    log:
        "logs/gather_checks.log",
    benchmark:
        "costs/gather_checks.tsv"
    conda:
        "../../envs/base.yaml"
    message:
        "Gathering the checks of all tomograms in one table."
    script:
        "../../scripts/gather_checks.py"


# The user's labels, before the long computations; labels of particles that were not picked are found later.
rule check_labels:
    input:
        given_labels,
    output:
        "results/check/labels.tsv",
    log:
        "logs/check_labels.log",
    benchmark:
        "costs/check_labels.tsv"
    priority: 100
    conda:
        "../../envs/base.yaml"
    params:
        labels=file_state(config["features"]["labels"]),
        tomograms=list(TOMOGRAMS),
    message:
        "Checking the labels of particles."
    script:
        "../../scripts/check_labels.py"
