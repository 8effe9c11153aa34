# Decoys: classes accepted in tomograms with and without particles, and the time that decoys take
rule benchmark_evidence:
    output:
        "evidence/runs.tsv",
    log:
        "logs/benchmark_evidence.log",
    benchmark:
        "costs/benchmark_evidence.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 6000,
    params:
        finished="evidence/finished",
        minutes=OPTIONS.minutes,
        size="full" if OPTIONS.size == "full" else "reduced",
        page=str(CHECKOUT / "docs/evidence.md"),
    message:
        "Comparing classes with decoys in simulated tomograms for docs/evidence.md."
    script:
        "../scripts/measure_evidence.py"
