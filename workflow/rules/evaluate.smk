# Scores against known truth, only if `evaluation: truth` is set.
EVALUATION = (
    expand(
        "results/evaluation/{table}.tsv",
        table=["picking", "clusters", "contents", "averages"],
    )
    if config["evaluation"]["truth"]
    else []
)


# Truth files of the tomograms; one file may contain all tomograms.
TRUTH = refuse_future_times(
    sorted(
        {
            (config["evaluation"]["truth"] or "").replace("{tomogram}", name)
            for name in TOMOGRAMS
        }
        if EVALUATION
        else []
    )
)


rule evaluate:
    input:
        truth=TRUTH,
        picks=of_tomograms("results/picks/{tomogram}.star"),
        particles="results/clusters/particles.star",
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        aligned=of_clusters("results/averages/cluster_{cluster}.star"),
    output:
        picking="results/evaluation/picking.tsv",
        clusters="results/evaluation/clusters.tsv",
        contents="results/evaluation/contents.tsv",
        averages="results/evaluation/averages.tsv",
        matches="results/evaluation/matches.star",
    log:
        "logs/evaluate.log",
    benchmark:
        "costs/evaluate.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (4000 + 15 * input_size_mb(wildcards, input)),
    params:
        **options_of("evaluate", config),
        tomograms=list(TOMOGRAMS),
        files=[file_state(path) for path in TRUTH if not is_made(path)],
        maps=file_state(config["evaluation"]["maps"]),
    message:
        "Scoring picks, clusters and averages against the truth."
    script:
        "../../scripts/evaluate.py"
