# Simulation of the demo's tomograms: those whose path in the table is results/demo/NAME.mrc.
SIMULATED = [
    name
    for name, tomogram in TOMOGRAMS.items()
    if tomogram.path == f"results/demo/{name}.mrc"
]


# The true maps of the species are written to results/demo/maps. They are the same for all tomograms and therefore not
# the output of a single job.
rule simulate_tomogram:
    output:
        volume="results/demo/{tomogram}.mrc",
        truth="results/demo/{tomogram}_truth.star",
        labels="results/demo/{tomogram}_labels.mrc",
    log:
        "logs/simulate_tomogram/{tomogram}.log",
    benchmark:
        "costs/simulate_tomogram/{tomogram}.tsv"
    wildcard_constraints:
        tomogram="|".join(SIMULATED) or "(?!)",
    conda:
        "../../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        **options_of("simulate_tomogram", config),
    message:
        "Simulating tomogram {wildcards.tomogram}."
    script:
        "../../scripts/simulate_tomogram.py"
