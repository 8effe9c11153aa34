# Feature learning: one job for the boxes of all tomograms, with one process per GPU (`gpu` in the profile).
rule learn_features:
    input:
        boxes=of_tomograms("results/subtomograms/{tomogram}.h5"),
        weights=given_weights,
        maps=given_maps,
        labels=given_labels,
        particles=particles_to_label,
        check=check_of_labels,
    output:
        model="results/features/model.safetensors",
        features="results/features/features.npz",
        history="results/features/history.tsv",
    log:
        "logs/learn_features.log",
    benchmark:
        "costs/learn_features.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * (4000 + 1000 * int(config["memory_gb"])),
    params:
        **options_of("learn_features", config),
        weights=lambda wildcards: [
            file_state(path) for path in given_weights(wildcards)
        ],
        maps=lambda wildcards: [file_state(path) for path in given_maps(wildcards)],
        labels=file_state(config["features"]["labels"]),
        # not an output, because Snakemake would remove it after an interruption
        checkpoint="results/features/checkpoint.safetensors",
    message:
        "Learning features from the subtomograms of all tomograms ({config[features][learner]})."
    script:
        "../../scripts/learn_features.py"
