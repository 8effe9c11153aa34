# The papers' tables as targets: snakemake --cores all benchmark_NAME; full_benchmarks is all of them on a GPU.
from cryopipe.benchmarks import boxes_of, find_benchmarks, weights_of

BENCHMARKS = find_benchmarks(Path(workflow.basedir) / "config/benchmarks")
SHIPPED_ENCODER = str(Path(workflow.basedir) / "resources/transfer_encoder.safetensors")
PRETRAINED_ENCODER = "results/pretraining/transfer_encoder/encoder.safetensors"
ALL_SECTIONS = [*BENCHMARKS, "noise_and_posteriors"]


wildcard_constraints:
    benchmark="|".join(BENCHMARKS),


# Kept, so that other weights and learners meet the same boxes at once.
rule cut_benchmark_boxes:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
    output:
        boxes="results/benchmarks/boxes/{benchmark}.h5",
        truth="results/benchmarks/boxes/{benchmark}.tsv",
    log:
        "logs/cut_benchmark_boxes/{benchmark}.log",
    benchmark:
        "benchmarks/cut_benchmark_boxes/{benchmark}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 8000,
    params:
        templates=config["benchmarks"]["templates"],
        device=config["device"],
    message:
        "Cutting the boxes of the benchmark {wildcards.benchmark} from simulated tomograms."
    script:
        "../../scripts/cut_benchmark_boxes.py"


rule run_benchmark:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
        encoder=config["benchmarks"]["encoder"] or SHIPPED_ENCODER,
        weights=lambda wildcards: weights_of(
            BENCHMARKS[wildcards.benchmark], config["benchmarks"]["learners"]
        ),
        boxes=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "h5"),
        truth=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "tsv"),
    output:
        runs="results/benchmarks/{benchmark}.tsv",
        page="results/benchmarks/{benchmark}.md",
    log:
        "logs/run_benchmark/{benchmark}.log",
    benchmark:
        "benchmarks/run_benchmark/{benchmark}.tsv"
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


# The same at full size, with the encoder that `pretrain` makes here and now.
use rule run_benchmark as run_full_benchmark with:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
        encoder=PRETRAINED_ENCODER,
        weights=lambda wildcards: weights_of(
            BENCHMARKS[wildcards.benchmark], config["benchmarks"]["learners"]
        ),
        boxes=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "h5"),
        truth=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "tsv"),
    output:
        runs="results/benchmarks/full/{benchmark}.tsv",
        page="results/benchmarks/full/{benchmark}.md",
    log:
        "logs/run_full_benchmark/{benchmark}.log",
    benchmark:
        "benchmarks/run_full_benchmark/{benchmark}.tsv"
    params:
        options={**config["benchmarks"], "size": "full"},
        device=config["device"],


rule measure_posteriors:
    input:
        encoder=config["benchmarks"]["encoder"] or SHIPPED_ENCODER,
    output:
        runs="results/benchmarks/noise_and_posteriors.tsv",
        page="results/benchmarks/noise_and_posteriors.md",
    log:
        "logs/measure_posteriors.log",
    benchmark:
        "benchmarks/measure_posteriors.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 8000,
    params:
        size=config["benchmarks"]["size"],
        device=config["device"],
    message:
        "Measuring the noise class and what posteriors are worth, on simulated truth."
    script:
        "../../scripts/measure_posteriors.py"


use rule measure_posteriors as measure_full_posteriors with:
    input:
        encoder=PRETRAINED_ENCODER,
    output:
        runs="results/benchmarks/full/noise_and_posteriors.tsv",
        page="results/benchmarks/full/noise_and_posteriors.md",
    log:
        "logs/measure_full_posteriors.log",
    benchmark:
        "benchmarks/measure_full_posteriors.tsv"
    params:
        size="full",
        device=config["device"],


for name in ALL_SECTIONS:

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


rule full_benchmarks:
    input:
        expand("results/benchmarks/full/{name}.md", name=ALL_SECTIONS),
    log:
        "logs/full_benchmarks.log",
    benchmark:
        "benchmarks/full_benchmarks.tsv"
    conda:
        "../../envs/torch.yaml"
    params:
        page="docs/benchmarks.md",
    message:
        "Writing the results of all benchmarks, at full size, into docs/benchmarks.md."
    script:
        "../../scripts/benchmark_page.py"
