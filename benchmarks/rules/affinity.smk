# affinity-VAE on structures that it was not trained on: table and figures of docs/affinity.md.
from benchmarks.affinity_names import run_names


rule affinity_matrix:
    output:
        "affinity/matrix.npz",
    log:
        "logs/affinity_matrix.log",
    benchmark:
        "costs/affinity_matrix.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    params:
        size=OPTIONS.size,
        device=OPTIONS.device,
    message:
        "Comparing the structures that affinity-VAE is trained on."
    script:
        "../scripts/write_affinity_matrix.py"


rule affinity_run:
    input:
        "affinity/matrix.npz",
    output:
        "affinity/beta_{beta}_gamma_{gamma}_seed_{seed}.npz",
    log:
        "logs/affinity_run/beta_{beta}_gamma_{gamma}_seed_{seed}.log",
    benchmark:
        "costs/affinity_run/beta_{beta}_gamma_{gamma}_seed_{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        device=OPTIONS.device,
    message:
        "Training affinity-VAE with beta {wildcards.beta} and gamma {wildcards.gamma}, seed {wildcards.seed}."
    script:
        "../scripts/affinity_run.py"


rule benchmark_affinity:
    input:
        expand("affinity/{run}.npz", run=run_names()),
    log:
        "logs/benchmark_affinity.log",
    conda:
        "../../envs/report.yaml"
    params:
        device=OPTIONS.device,
        images=str(CHECKOUT / "docs/images"),
        page=str(CHECKOUT / "docs/affinity.md"),
    message:
        "Writing table and figures of affinity-VAE into docs/affinity.md."
    script:
        "../scripts/affinity_page.py"
