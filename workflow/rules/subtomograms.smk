# Boxes around the picks, rescaled and normalised, one job per tomogram.
rule extract_subtomograms:
    input:
        particles="results/picks/{tomogram}.star",
        tomogram=files_to_check,
    output:
        boxes="results/subtomograms/{tomogram}.h5",
        particles="results/subtomograms/{tomogram}.star",
    log:
        "logs/extract_subtomograms/{tomogram}.log",
    benchmark:
        "costs/extract_subtomograms/{tomogram}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 1000 * int(config["memory_gb"] + 1),
    params:
        **options_of("extract_subtomograms", config),
        tomogram=row_of_table("voxel_size", "tilt_range", "tilt_axis", "contrast"),
        files=state_of_files,
    message:
        "Cutting the boxes of {wildcards.tomogram}."
    script:
        "../../scripts/extract_subtomograms.py"


# Boxes of the same particles at the voxel size of the averages, only if `averaging: voxel_size` is set.
use rule extract_subtomograms as extract_for_averaging with:
    input:
        particles="results/subtomograms/{tomogram}.star",
        tomogram=files_to_check,
    output:
        boxes=temp("results/averaging_boxes/{tomogram}.h5"),
        particles="results/averaging_boxes/{tomogram}.star",
    log:
        "logs/extract_for_averaging/{tomogram}.log",
    benchmark:
        "costs/extract_for_averaging/{tomogram}.tsv"
    params:
        tomogram=row_of_table("voxel_size", "tilt_range", "tilt_axis", "contrast"),
        files=state_of_files,
        subtomograms=averaging_box_options,
        seed=config["seed"],
    message:
        "Cutting the boxes of {wildcards.tomogram} at the voxel size of the averages."
