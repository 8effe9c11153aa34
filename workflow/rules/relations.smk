# Where the particles of each class are: relations to the imaging, to membranes and to each other.
MEMBRANES = refuse_future_times(
    sorted(
        {
            config["relations"]["membranes"].replace("{tomogram}", name)
            for name in TOMOGRAMS
        }
        if config["relations"]["membranes"]
        else []
    )
)


# How well tomogram, depth, defocus, distances and orientation predict the classes.
rule measure_leakage:
    input:
        # older or newer than the result: the aligned particles tell whether a class changed
        particles=ancient("results/clusters/particles.star"),
        aligned=of_clusters("results/averages/cluster_{cluster}.star"),
        membranes=MEMBRANES,
    output:
        "results/evidence/leakage.tsv",
    log:
        "logs/measure_leakage.log",
    benchmark:
        "costs/measure_leakage.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("measure_leakage", config),
        tomograms=[canonical(vars(tomogram)) for tomogram in TOMOGRAMS.values()],
        files=[file_state(path) for path in MEMBRANES],
    message:
        "Measuring how well where particles are predicts their classes."
    script:
        "../../scripts/measure_leakage.py"


# Which classes are neighbours of each other or of membranes.
rule measure_neighbourhood:
    input:
        aligned=of_clusters("results/averages/cluster_{cluster}.star"),
        membranes=MEMBRANES,
    output:
        neighbourhood="results/evidence/neighbourhood.tsv",
        distances="results/evidence/distances.tsv",
    log:
        "logs/measure_neighbourhood.log",
    benchmark:
        "costs/measure_neighbourhood.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("measure_neighbourhood", config),
        tomograms=[canonical(vars(tomogram)) for tomogram in TOMOGRAMS.values()],
        files=[file_state(path) for path in MEMBRANES],
    message:
        "Comparing the neighbours of the classes with shuffled positions."
    script:
        "../../scripts/measure_neighbourhood.py"
