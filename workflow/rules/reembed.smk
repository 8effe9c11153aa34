# Averages placed at the particles' positions, one job per tomogram.
rule reembed_averages:
    input:
        check="results/check/{tomogram}.tsv",
        tomogram=files_to_check,
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        particles=["results/averages/particles.star"],
    output:
        density="results/reembedded/{tomogram}.mrc",
        labels="results/reembedded/{tomogram}_labels.mrc",
        script="results/reembedded/{tomogram}.cxc",
        artiax="results/reembedded/{tomogram}_artiax.star",
        placements="results/reembedded/{tomogram}_placements.tsv",
    log:
        "logs/reembed_averages/{tomogram}.log",
    benchmark:
        "costs/reembed_averages/{tomogram}.tsv"
    wildcard_constraints:
        tomogram="|".join(TOMOGRAMS),
    conda:
        "../../envs/torch.yaml"
    resources:
        # density, labels and their copies during writing: seven bytes per voxel of an int8 tomogram
        mem_mb=lambda wildcards, input, attempt: attempt
        * (2000 + 7 * input_size_mb(wildcards, input)),
    params:
        **options_of("reembed_averages", config),
        tomogram=row_of_table("voxel_size"),
    message:
        "Placing the averages in {wildcards.tomogram}."
    script:
        "../../scripts/reembed_averages.py"
