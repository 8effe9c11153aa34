# How fast the learners are on this machine, measured anew with --force
rule benchmark_throughput:
    log:
        "logs/benchmark_throughput.log",
    benchmark:
        "costs/benchmark_throughput.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 16000,
    params:
        device=OPTIONS.device,
        page=str(CHECKOUT / "docs/throughput.md"),
    message:
        "Measuring how fast the learners train and embed; docs/throughput.md has the table."
    script:
        "../scripts/measure_throughput.py"
