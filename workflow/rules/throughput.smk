# How fast the learners are on this machine, measured anew: snakemake --cores all --force benchmark_throughput
rule benchmark_throughput:
    log:
        "logs/benchmark_throughput.log",
    benchmark:
        "benchmarks/benchmark_throughput.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 16000,
    params:
        device=config["device"],
        page="docs/throughput.md",
    message:
        "Measuring how fast the learners train and embed; docs/throughput.md has the table."
    script:
        "../../scripts/benchmark_throughput.py"
