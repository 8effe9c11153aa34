# Particles for other programs; every file is read back and verified. The files are not outputs of the
# rule, because Snakemake would remove user's files in the same folder.
rule export:
    input:
        particles="results/clusters/particles.star",
        clusters=["results/averages/particles.star"],
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        checks=of_tomograms("results/check/{tomogram}.tsv"),
        verdicts="results/averages/clusters.tsv",
    output:
        "results/export/{format}.tsv",
    log:
        "logs/export/{format}.log",
    benchmark:
        "costs/export/{format}.tsv"
    wildcard_constraints:
        format="|".join(FORMATS),
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (4000 + 15 * input_size_mb(wildcards, input)),
    params:
        tomograms=[canonical(vars(tomogram)) for tomogram in TOMOGRAMS.values()],
        options=lambda wildcards: options_of(f"export_{wildcards.format}", config),
        files=lambda wildcards: files_of_export(wildcards.format),
    message:
        "Exporting the particles for {wildcards.format}."
    script:
        "../../scripts/export.py"


# Also removes the files of formats that are no longer in the configuration.
rule gather_exports:
    input:
        expand("results/export/{format}.tsv", format=config["export"]["formats"]),
    output:
        "results/export/summary.tsv",
    log:
        "logs/gather_exports.log",
    benchmark:
        "costs/gather_exports.tsv"
    conda:
        "../../envs/base.yaml"
    params:
        others=[name for name in FORMATS if name not in config["export"]["formats"]],
    message:
        "Gathering the exported files in one table."
    script:
        "../../scripts/gather_exports.py"
