# A checkpoint, because the number of clusters is known only after it; the jobs per cluster follow.
checkpoint cluster_features:
    input:
        features="results/features/features.npz",
        particles=of_tomograms("results/subtomograms/{tomogram}.star"),
    output:
        particles="results/clusters/particles.star",
        clusters="results/clusters/clusters.tsv",
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


# What the network has learned about each cluster, only with a learner that reconstructs boxes.
rule decode_cluster:
    input:
        model="results/features/model.safetensors",
        features="results/features/features.npz",
        particles="results/clusters/particles.star",
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
    message:
        "Decoding the mean features of cluster {wildcards.cluster}."
    script:
        "../../scripts/decode_cluster.py"
