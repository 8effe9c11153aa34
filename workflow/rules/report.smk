# Report page, picture of all averages, and summary of the run.
rule report:
    input:
        check="results/check/tomograms.tsv",
        picks=of_tomograms("results/picks/{tomogram}.star"),
        boxes=of_tomograms("results/subtomograms/{tomogram}.star"),
        features="results/features/features.npz",
        history="results/features/history.tsv",
        particles="results/clusters/particles.star",
        curation=given_curation,
        selection="results/clusters/selection.tsv",
        averages=of_clusters("results/averages/cluster_{cluster}.mrc"),
        curves=of_clusters("results/averages/cluster_{cluster}_fsc.star"),
        clusters="results/averages/clusters.tsv",
        triage="results/averages/triage.tsv",
        mergers="results/averages/mergers.tsv",
        neighbourhood="results/evidence/neighbourhood.tsv",
        bands=evidence_table("bands"),
        decoded=decoded_maps,
        paths=decoded_paths,
        evaluation=EVALUATION,
    output:
        page=report(
            "results/report/report.html",
            caption="../report/report.rst",
            category="Results",
            labels={"what": "report of the run"},
        ),
        averages=report(
            "results/report/averages.png",
            caption="../report/averages.rst",
            category="Results",
            labels={"what": "averages of all clusters"},
        ),
        summary="results/report/summary.txt",
        methods="results/report/methods.txt",
    log:
        "logs/report.log",
    benchmark:
        "costs/report.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        # a table takes some 15 times its file while it is read
        mem_mb=lambda wildcards, input, attempt: attempt
        * (4000 + 15 * input_size_mb(wildcards, input)),
    params:
        tomograms=[canonical(vars(tomogram)) for tomogram in TOMOGRAMS.values()],
        settings=config,
    message:
        "Writing the report."
    script:
        "../../scripts/report.py"
