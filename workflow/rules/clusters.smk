rule cluster_features:
    input:
        features="results/features/features.npz",
        particles=of_tomograms("results/subtomograms/{tomogram}.star"),
    output:
        clusters="results/clusters/by_features.star",
        selection="results/clusters/selection.tsv",
    log:
        "logs/cluster_features.log",
    benchmark:
        "costs/cluster_features.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 20 * input_size_mb(wildcards, input)),
    params:
        **options_of("cluster_features", config),
    message:
        "Clustering all particles."
    script:
        "../../scripts/cluster_features.py"


# The classes: clusters of the features, or what the averages of classes decide from there.
rule classify_particles:
    input:
        clusters="results/clusters/by_features.star",
        features="results/features/features.npz",
        boxes=of_tomograms("results/subtomograms/{tomogram}.h5"),
    output:
        found="results/clusters/found.star",
        rounds="results/clusters/rounds.tsv",
    log:
        "logs/classify_particles.log",
    benchmark:
        "costs/classify_particles.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        # the coefficients of the boxes, the rotated averages of all classes, and tables of 15 times their files
        mem_mb=lambda wildcards, input, attempt: attempt
        * (5000 + input_size_mb(wildcards, input)),
    params:
        **options_of("classify_particles", config),
        # not an output, because Snakemake would remove it after an interruption
        checkpoint="results/clusters/classification.safetensors",
    message:
        "Classifying all particles by averages ({config[classification][method]})."
    script:
        "../../scripts/classify_particles.py"


# The clusters after the user's decisions, if `curation` is set. A checkpoint, because the number of clusters is known only
# after it; the jobs per cluster follow.
checkpoint apply_curation:
    input:
        found="results/clusters/found.star",
        curation=given_curation,
        features="results/features/features.npz" if config["curation"] else [],
    output:
        particles="results/clusters/particles.star",
        clusters="results/clusters/clusters.tsv",
        decisions="results/clusters/decisions.tsv",
    log:
        "logs/apply_curation.log",
    benchmark:
        "costs/apply_curation.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (2000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("apply_curation", config),
        decisions=file_state(config["curation"]),
    message:
        "Applying the decisions about clusters and particles."
    script:
        "../../scripts/apply_curation.py"


# What the network generates between clusters and along its poses, only with a learner that reconstructs boxes.
rule decode_paths:
    input:
        model="results/features/model.safetensors",
        features="results/features/features.npz",
        particles="results/clusters/particles.star",
        boxes=of_tomograms("results/subtomograms/{tomogram}.h5"),
    output:
        "results/features/paths.png",
    log:
        "logs/decode_paths.log",
    benchmark:
        "costs/decode_paths.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 2 * input_size_mb(wildcards, input)),
    params:
        learner=config["features"]["learner"],
    message:
        "Drawing what the network generates between clusters."
    script:
        "../../scripts/decode_paths.py"


# What the network has learned about each cluster, only with a learner that reconstructs boxes.
rule decode_cluster:
    input:
        model="results/features/model.safetensors",
        features="results/features/features.npz",
        # older or newer than the map: `members` tells whether this cluster changed
        particles=ancient("results/clusters/particles.star"),
    output:
        "results/features/decoded/cluster_{cluster}.mrc",
    log:
        "logs/decode_cluster/{cluster}.log",
    benchmark:
        "costs/decode_cluster/{cluster}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (2000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("decode_cluster", config),
        learner=config["features"]["learner"],
        members=members_of_cluster,
    message:
        "Decoding the mean features of cluster {wildcards.cluster}."
    script:
        "../../scripts/decode_cluster.py"
