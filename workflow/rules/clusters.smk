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
