# A cluster's particles are located by a first alignment, one job per cluster: their boxes for learning are in the files of
# all tomograms.
rule locate_particles:
    input:
        # older or newer than the result: `members` tells whether this cluster changed
        particles=ancient("results/clusters/particles.star"),
        boxes=of_tomograms("results/subtomograms/{tomogram}.h5"),
    output:
        "results/located/cluster_{cluster}.star",
    log:
        "logs/locate_particles/{cluster}.log",
    benchmark:
        "costs/locate_particles/{cluster}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        # boxes are read in batches: the memory does not depend on the size of the cluster
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        **options_of("locate_particles", config),
        members=members_of_cluster,
    message:
        "Locating the particles of cluster {wildcards.cluster}."
    script:
        "../../scripts/locate_particles.py"


# Of several particles at one place, in one cluster or in several, one is kept.
rule mark_doubles:
    input:
        of_clusters("results/located/cluster_{cluster}.star"),
    output:
        "results/located/particles.star",
    log:
        "logs/mark_doubles.log",
    benchmark:
        "costs/mark_doubles.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("mark_doubles", config),
    message:
        "Searching for particles that were found twice."
    script:
        "../../scripts/mark_doubles.py"


# Boxes at the centres of the particles, at the voxel size of the averages, one job per tomogram.
rule extract_for_averaging:
    input:
        particles=["results/located/particles.star"],
        tomogram=files_to_check,
    output:
        boxes=temp("results/averaging_boxes/{tomogram}.h5"),
        particles="results/averaging_boxes/{tomogram}.star",
    log:
        "logs/extract_for_averaging/{tomogram}.log",
    benchmark:
        "costs/extract_for_averaging/{tomogram}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 1000 * int(config["memory_gb"] + 1),
    params:
        tomogram=row_of_table(
            "voxel_size", "tilt_range", "tilt_axis", "contrast", "defocus"
        ),
        files=state_of_files,
        subtomograms=averaging_box_options,
        microscope=options_of("extract_for_averaging", config)["imaging"],
        ctf=config["averaging"]["ctf"],
        seed=config["seed"],
    message:
        "Cutting the boxes of {wildcards.tomogram} at the centres of the particles."
    script:
        "../../scripts/extract_for_averaging.py"


# Alignment and averaging, one job per cluster.
rule average_cluster:
    input:
        particles=of_tomograms("results/averaging_boxes/{tomogram}.star"),
        boxes=of_tomograms("results/averaging_boxes/{tomogram}.h5"),
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
        located="results/located/particles.star",
        leakage="results/evidence/leakage.tsv",
        evidence=evidence_table("classes"),
    output:
        clusters="results/averages/clusters.tsv",
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
        located="results/located/particles.star",
        evidence=evidence_table("particles"),
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
