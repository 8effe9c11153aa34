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
