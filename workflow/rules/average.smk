# Alignment and averaging, one job per cluster; a cluster's boxes are in the files of all tomograms.
rule average_cluster:
    input:
        # older or newer than the average: `members` tells whether this cluster changed
        particles=ancient("results/clusters/particles.star"),
        boxes=of_tomograms(AVERAGED_BOXES),
    output:
        average="results/averages/cluster_{cluster}.mrc",
        half1="results/averages/cluster_{cluster}_half1.mrc",
        half2="results/averages/cluster_{cluster}_half2.mrc",
        fsc="results/averages/cluster_{cluster}_fsc.star",
        particles="results/averages/cluster_{cluster}.star",
    log:
        "logs/average_cluster/{cluster}.log",
    benchmark:
        "costs/average_cluster/{cluster}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        # boxes are read in batches: the memory does not depend on the size of the cluster
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        **options_of("average_cluster", config),
        members=members_of_cluster,
    message:
        "Aligning and averaging cluster {wildcards.cluster}."
    script:
        "../../scripts/average_cluster.py"


# Quality of the averages, and clusters with matching averages.
rule triage_averages:
    input:
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        half1=of_clusters("results/averages/cluster_{cluster}_half1.mrc"),
        half2=of_clusters("results/averages/cluster_{cluster}_half2.mrc"),
        fsc=of_clusters("results/averages/cluster_{cluster}_fsc.star"),
        aligned=of_clusters("results/averages/cluster_{cluster}.star"),
    output:
        triage="results/averages/triage.tsv",
        mergers="results/averages/mergers.tsv",
    log:
        "logs/triage_averages.log",
    benchmark:
        "costs/triage_averages.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 2
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("triage_averages", config),
        known_maps=file_state(config["averaging"]["known_maps"]),
    message:
        "Assessing the averages and searching for clusters that match."
    script:
        "../../scripts/triage_averages.py"


# Particles of all clusters in one table, without rejected ones; matching clusters are merged if `averaging: merge` is set.
rule merge_clusters:
    input:
        particles="results/clusters/particles.star",
        mergers="results/averages/mergers.tsv",
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        aligned=of_clusters("results/averages/cluster_{cluster}.star"),
    output:
        "results/averages/particles.star",
    log:
        "logs/merge_clusters.log",
    benchmark:
        "costs/merge_clusters.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("merge_clusters", config),
    message:
        "Gathering the particles of all clusters."
    script:
        "../../scripts/merge_clusters.py"
