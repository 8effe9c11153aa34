# Recall, precision and speed of picking on simulated tomograms; --force measures again
rule benchmark_picking:
    log:
        "logs/benchmark_picking.log",
    benchmark:
        "costs/benchmark_picking.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
    params:
        page=str(CHECKOUT / "docs/picking.md"),
    message:
        "Measuring picking on simulated tomograms for docs/picking.md."
    script:
        "../scripts/measure_picking.py"
