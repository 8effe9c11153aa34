# Search of all tomograms with the averages that are particles, only on request (`snakemake rescan`), one job per tomogram.
rule rescan_tomogram:
    input:
        check="results/check/{tomogram}.tsv",
        tomogram=files_to_check,
        picks="results/picks/{tomogram}.star",
        located=["results/located/particles.star"],
        verdicts=["results/averages/clusters.tsv"],
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        fsc=of_clusters("results/averages/cluster_{cluster}_fsc.star"),
    output:
        "results/rescan/{tomogram}.star",
    log:
        "logs/rescan_tomogram/{tomogram}.log",
    benchmark:
        "costs/rescan_tomogram/{tomogram}.tsv"
    wildcard_constraints:
        tomogram="|".join(TOMOGRAMS),
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 1000 * int(config["memory_gb"] + 2),
    params:
        **options_of("rescan_tomogram", config),
        tomogram=row_of_table(
            "voxel_size", "tilt_range", "tilt_axis", "contrast", "mask"
        ),
        files=state_of_files,
        # not an output, because Snakemake would remove it after an interruption
        checkpoint=lambda wildcards: f"results/rescan/{wildcards.tomogram}.safetensors",
    message:
        "Searching {wildcards.tomogram} with the averages."
    script:
        "../../scripts/rescan_tomogram.py"


# The picks of a second round, of all tomograms: a file for the option pick.particles.
rule rescan:
    input:
        of_tomograms("results/rescan/{tomogram}.star"),
    output:
        "results/rescan/particles.star",
    log:
        "logs/rescan.log",
    benchmark:
        "costs/rescan.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (2000 + 15 * input_size_mb(wildcards, input)),
    message:
        "Gathering the particles of the rescan."
    script:
        "../../scripts/rescan.py"
