# The papers' tables as targets: snakemake --cores all benchmark_NAME
BENCHMARKS = {
    path.stem: path
    for path in sorted((Path(workflow.basedir) / "config/benchmarks").glob("*.yaml"))
}


rule run_benchmark:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
    output:
        runs="results/benchmarks/{benchmark}.tsv",
        page="results/benchmarks/{benchmark}.md",
    log:
        "logs/run_benchmark/{benchmark}.log",
    benchmark:
        "benchmarks/run_benchmark/{benchmark}.tsv"
    wildcard_constraints:
        benchmark="|".join(BENCHMARKS),
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 16000,
    params:
        options=config["benchmarks"],
        device=config["device"],
    message:
        "Running the benchmark {wildcards.benchmark}: every learner, noise level and seed."
    script:
        "../../scripts/run_benchmark.py"


for name in BENCHMARKS:

    rule:
        name:
            f"benchmark_{name}"
        input:
            f"results/benchmarks/{name}.md",
        log:
            f"logs/benchmark_{name}.log",
        conda:
            "../../envs/torch.yaml"
        params:
            page="docs/benchmarks.md",
        message:
            "Writing the results into docs/benchmarks.md."
        script:
            "../../scripts/benchmark_page.py"
