# Published tables: benchmark_NAME runs one of them, full_benchmarks all of them at full size.
from benchmarks.plan_files import boxes_of, find_benchmarks, learners_of, weights_of

BENCHMARKS = find_benchmarks(CHECKOUT / "benchmarks/plans")
SHIPPED_ENCODER = str(CHECKOUT / "resources/transfer_encoder.safetensors")
PRETRAINED_ENCODER = "encoders/transfer_encoder/encoder.safetensors"
ALL_SECTIONS = [*BENCHMARKS, "unassigned_and_posteriors"]


wildcard_constraints:
    benchmark="|".join(BENCHMARKS),
    learner=r"\w+",
    folder="tables|full",


# Kept, so that runs with other weights and learners use the same boxes.
rule cut_benchmark_boxes:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
    output:
        boxes="boxes/{benchmark}.h5",
        truth="boxes/{benchmark}.tsv",
    log:
        "logs/cut_benchmark_boxes/{benchmark}.log",
    benchmark:
        "costs/cut_benchmark_boxes/{benchmark}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 8000,
    params:
        templates=OPTIONS.templates,
        device=OPTIONS.device,
    message:
        "Cutting the boxes of the benchmark {wildcards.benchmark} from simulated tomograms."
    script:
        "../scripts/cut_benchmark_boxes.py"


# One job per learner, so that an interrupted benchmark resumes with the next learner.
rule run_benchmark:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
        encoder=OPTIONS.encoder or SHIPPED_ENCODER,
        weights=lambda wildcards: weights_of(
            BENCHMARKS[wildcards.benchmark], wildcards.learner
        ),
        boxes=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "h5"),
        truth=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "tsv"),
    output:
        runs="tables/{benchmark}/{learner}.tsv",
    log:
        "logs/run_benchmark/{benchmark}/{learner}.log",
    benchmark:
        "costs/run_benchmark/{benchmark}/{learner}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 16000,
    params:
        options=vars(OPTIONS),
    message:
        "Running the benchmark {wildcards.benchmark} for {wildcards.learner}: every noise level and seed."
    script:
        "../scripts/run_benchmark.py"


# The same at full size, with the encoder trained by `pretrain`.
use rule run_benchmark as run_full_benchmark with:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
        encoder=PRETRAINED_ENCODER,
        weights=lambda wildcards: weights_of(
            BENCHMARKS[wildcards.benchmark], wildcards.learner
        ),
        boxes=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "h5"),
        truth=lambda wildcards: boxes_of(BENCHMARKS[wildcards.benchmark], "tsv"),
    output:
        runs="full/{benchmark}/{learner}.tsv",
    log:
        "logs/run_full_benchmark/{benchmark}/{learner}.log",
    benchmark:
        "costs/run_full_benchmark/{benchmark}/{learner}.tsv"
    params:
        options=vars(OPTIONS) | {"size": "full"},


rule write_section:
    input:
        plan=lambda wildcards: BENCHMARKS[wildcards.benchmark],
        runs=lambda wildcards: expand(
            "{folder}/{benchmark}/{learner}.tsv",
            folder=wildcards.folder,
            benchmark=wildcards.benchmark,
            learner=learners_of(BENCHMARKS[wildcards.benchmark], OPTIONS.learners),
        ),
    output:
        page="{folder}/{benchmark}.md",
    log:
        "logs/write_section/{folder}/{benchmark}.log",
    benchmark:
        "costs/write_section/{folder}/{benchmark}.tsv"
    conda:
        "../../envs/torch.yaml"
    message:
        "Writing the section of the benchmark {wildcards.benchmark}."
    script:
        "../scripts/write_section.py"


rule measure_posteriors:
    input:
        encoder=OPTIONS.encoder or SHIPPED_ENCODER,
    output:
        runs="tables/unassigned_and_posteriors.tsv",
        page="tables/unassigned_and_posteriors.md",
    log:
        "logs/measure_posteriors.log",
    benchmark:
        "costs/measure_posteriors.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 8000,
    params:
        size=OPTIONS.size,
        device=OPTIONS.device,
    message:
        "Measuring unassigned particles and the accuracy of posteriors on simulated boxes."
    script:
        "../scripts/measure_posteriors.py"


use rule measure_posteriors as measure_full_posteriors with:
    input:
        encoder=PRETRAINED_ENCODER,
    output:
        runs="full/unassigned_and_posteriors.tsv",
        page="full/unassigned_and_posteriors.md",
    log:
        "logs/measure_full_posteriors.log",
    benchmark:
        "costs/measure_full_posteriors.tsv"
    params:
        size=lambda wildcards: "full",
        device=OPTIONS.device,


for name in ALL_SECTIONS:

    rule:
        name:
            f"benchmark_{name}"
        input:
            f"tables/{name}.md",
        log:
            f"logs/benchmark_{name}.log",
        conda:
            "../../envs/torch.yaml"
        params:
            page=str(CHECKOUT / "docs/benchmarks.md"),
        message:
            "Writing the results into docs/benchmarks.md."
        script:
            "../scripts/benchmark_page.py"


rule full_benchmarks:
    input:
        expand("full/{name}.md", name=ALL_SECTIONS),
    log:
        "logs/full_benchmarks.log",
    benchmark:
        "costs/full_benchmarks.tsv"
    conda:
        "../../envs/torch.yaml"
    params:
        page=str(CHECKOUT / "docs/benchmarks.md"),
    message:
        "Writing the results of all benchmarks, at full size, into docs/benchmarks.md."
    script:
        "../scripts/benchmark_page.py"
