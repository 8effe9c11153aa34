# Particles of tomograms that arrived after the last clustering: not part of a run, but asked for by `cryopipe watch`.
rule assign_particles:
    input:
        check="results/check/{tomogram}.tsv",
        tomogram=files_to_check,
        boxes="results/subtomograms/{tomogram}.h5",
        particles="results/subtomograms/{tomogram}.star",
    output:
        particles="results/arrivals/{tomogram}.star",
        counts="results/arrivals/{tomogram}.tsv",
    log:
        "logs/assign_particles/{tomogram}.log",
    benchmark:
        "costs/assign_particles/{tomogram}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * (4000 + 1000 * int(config["memory_gb"])),
    params:
        **options_of("learn_features", config),
        clustering=config["clustering"],
        tomogram=row_of_table("voxel_size", "contrast"),
        # not inputs: Snakemake would learn anew, because there are new boxes
        model="results/features/model.safetensors",
        known="results/features/features.npz",
        clusters="results/clusters/particles.star",
        made=lambda wildcards: file_state("results/clusters/particles.star"),
    message:
        "Assigning the particles of {wildcards.tomogram} to the clusters at hand."
    script:
        "../../scripts/assign_particles.py"
