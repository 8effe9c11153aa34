from cryopipe.evidence.options import fewest_decoys


# Decoys: picks where no particle can be, embedded and averaged beside the particles; only if `evidence: decoys` is set.
rule pick_decoys:
    input:
        check="results/check/{tomogram}.tsv",
        tomogram=files_to_check,
        particles="results/subtomograms/{tomogram}.star",
    output:
        boxes="results/decoy_boxes/{tomogram}.h5",
        averaging="results/decoy_averaging_boxes/{tomogram}.h5",
        decoys="results/decoys/{tomogram}.star",
    log:
        "logs/pick_decoys/{tomogram}.log",
    benchmark:
        "costs/pick_decoys/{tomogram}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 1000 * int(config["memory_gb"] + 3),
    params:
        **options_of("pick_decoys", config),
        tomogram=row_of_table(
            "voxel_size", "tilt_range", "tilt_axis", "contrast", "defocus", "mask"
        ),
        files=state_of_files,
        averaged=averaging_box_options,
        fewest=fewest_decoys(len(TOMOGRAMS)),
    message:
        "Picking decoys in {wildcards.tomogram}."
    script:
        "../../scripts/pick_decoys.py"


# Features of the decoys from the model that was trained on the particles.
rule embed_decoys:
    input:
        model="results/features/model.safetensors",
        boxes=of_tomograms("results/decoy_boxes/{tomogram}.h5"),
    output:
        "results/decoys/features.npz",
    log:
        "logs/embed_decoys.log",
    benchmark:
        "costs/embed_decoys.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * (4000 + 1000 * int(config["memory_gb"])),
    params:
        **options_of("embed_decoys", config),
    message:
        "Embedding the decoys of all tomograms."
    script:
        "../../scripts/embed_decoys.py"


# Resolution that averages of decoys reach.
rule average_decoys:
    input:
        features="results/decoys/features.npz",
        particles=of_tomograms("results/subtomograms/{tomogram}.star"),
        decoys=of_tomograms("results/decoys/{tomogram}.star"),
        boxes=of_tomograms("results/decoy_averaging_boxes/{tomogram}.h5"),
    output:
        "results/decoys/curves.tsv",
    log:
        "logs/average_decoys.log",
    benchmark:
        "costs/average_decoys.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        **options_of("average_decoys", config),
    message:
        "Aligning and averaging decoys."
    script:
        "../../scripts/average_decoys.py"


# Significance and purity of the classes, and local false discovery rates of the particles.
rule assess_classes:
    input:
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        half1=of_clusters("results/averages/cluster_{cluster}_half1.mrc"),
        half2=of_clusters("results/averages/cluster_{cluster}_half2.mrc"),
        fsc=of_clusters("results/averages/cluster_{cluster}_fsc.star"),
        aligned=of_clusters("results/averages/cluster_{cluster}.star"),
        # older or newer than the result: the aligned particles tell whether a class changed
        particles=ancient("results/clusters/particles.star"),
        features="results/features/features.npz",
        decoys=of_tomograms("results/decoys/{tomogram}.star"),
        decoy_features="results/decoys/features.npz",
        curves="results/decoys/curves.tsv",
        boxes=of_tomograms_when_clustered("results/averaging_boxes/{tomogram}.h5"),
        decoy_boxes=of_tomograms("results/decoy_averaging_boxes/{tomogram}.h5"),
    output:
        classes="results/evidence/classes.tsv",
        particles="results/evidence/particles.tsv",
        bands="results/evidence/bands.tsv",
    log:
        "logs/assess_classes.log",
    benchmark:
        "costs/assess_classes.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        # boxes are read in batches; a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, attempt: attempt * 6000,
    params:
        **options_of("assess_classes", config),
    message:
        "Comparing the classes with decoys."
    script:
        "../../scripts/assess_classes.py"
