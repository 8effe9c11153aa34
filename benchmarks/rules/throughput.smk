# Speed of the learners on this machine; --force measures again
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
        "Measuring the speed of training and embedding for docs/throughput.md."
    script:
        "../scripts/measure_throughput.py"
