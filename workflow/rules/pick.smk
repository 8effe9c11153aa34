# Template-free particle picking, one job per tomogram.
rule pick_particles:
    input:
        check="results/check/{tomogram}.tsv",
        tomogram=files_to_check,
    output:
        "results/picks/{tomogram}.star",
    log:
        "logs/pick_particles/{tomogram}.log",
    benchmark:
        "costs/pick_particles/{tomogram}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        **options_of("pick_particles", config),
        tomogram=row_of_table("voxel_size", "contrast", "mask"),
        files=state_of_files,
    message:
        "Picking particles in {wildcards.tomogram}."
    script:
        "../../scripts/pick_particles.py"
