# Particles for RELION, Warp, Dynamo and ArtiaX; every file is read back and verified.
rule export:
    input:
        particles="results/clusters/particles.star",
        clusters=["results/averages/particles.star"],
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        checks=of_tomograms("results/check/{tomogram}.tsv"),
    output:
        summary="results/export/summary.tsv",
        folders=[directory(f"results/{name}") for name in config["export"]["formats"]],
    log:
        "logs/export.log",
    benchmark:
        "benchmarks/export.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (4000 + 15 * input_size_mb(wildcards, input)),
    params:
        tomograms=[vars(tomogram) for tomogram in TOMOGRAMS.values()],
        microscope={
            name: config["imaging"][name]
            for name in ("voltage", "spherical_aberration", "amplitude_contrast")
        },
        options=config["export"],
        box_width=config["subtomograms"]["box_size"]
        * config["subtomograms"]["voxel_size"],
        seed=config["seed"],
    message:
        "Exporting the particles as {params.options[formats]}."
    script:
        "../../scripts/export.py"
