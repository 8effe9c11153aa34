# Particles made elsewhere, read once for all tomograms; only if the option pick.particles names them.
rule read_particles:
    input:
        particles=given_particles,
        checks=of_tomograms("results/check/{tomogram}.tsv"),
    output:
        "results/given_particles.star",
    log:
        "logs/read_particles.log",
    benchmark:
        "costs/read_particles.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (3000 + 15 * input_size_mb(wildcards, input)),
    params:
        tomograms=[canonical(vars(tomogram)) for tomogram in TOMOGRAMS.values()],
        options=options_of("read_particles", config),
        files=file_state(config["pick"]["particles"]),
    message:
        "Reading the given particles."
    script:
        "../../scripts/read_particles.py"


# Template-free particle picking, one job per tomogram.
rule pick_particles:
    input:
        check="results/check/{tomogram}.tsv",
        tomogram=files_to_check,
        given=particles_as_picks,
    output:
        "results/picks/{tomogram}.star",
    log:
        "logs/pick_particles/{tomogram}.log",
    benchmark:
        "costs/pick_particles/{tomogram}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        **options_of("pick_particles", config),
        tomogram=row_of_table("voxel_size", "contrast", "mask"),
        files=state_of_files,
    message:
        "Picking particles in {wildcards.tomogram}."
    script:
        "../../scripts/pick_particles.py"
