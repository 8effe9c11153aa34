# Learning curve of DISCA from random weights, on the first condition of its published table
rule benchmark_learning_curve:
    input:
        plan=BENCHMARKS["disca_table1_60"],
    output:
        curve="learning/curve.tsv",
    log:
        "logs/benchmark_learning_curve.log",
    benchmark:
        "costs/benchmark_learning_curve.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 8000,
    params:
        options=vars(OPTIONS),
        picture=str(CHECKOUT / "docs/images/learning_curve.png"),
    message:
        "Measuring the learning curve of DISCA for docs/learning.md."
    script:
        "../scripts/measure_learning_curve.py"
