# Not part of a run: trains encoders on simulated boxes, `snakemake --cores all pretrain` the one that ships, as
# resources/transfer_encoder.md describes. Compare the result with resources/transfer_encoder.safetensors before it
# takes its place.
RECIPES = {
    path.stem: path
    for path in sorted((Path(workflow.basedir) / "config/pretraining").glob("*.yaml"))
}


rule train_encoder:
    input:
        recipe=lambda wildcards: RECIPES[wildcards.recipe],
    output:
        weights="results/pretraining/{recipe}/encoder.safetensors",
        history="results/pretraining/{recipe}/history.tsv",
    log:
        "logs/train_encoder/{recipe}.log",
    benchmark:
        "benchmarks/train_encoder/{recipe}.tsv"
    wildcard_constraints:
        recipe="|".join(RECIPES),
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 12000,
    params:
        device=config["device"],
        seed=config["seed"],
        templates=config["benchmarks"]["templates"],
        # not an output: it must outlive a job that was killed
        checkpoint="results/pretraining/{recipe}/checkpoint.safetensors",
    message:
        "Training the encoder {wildcards.recipe} on simulated particles."
    script:
        "../../scripts/pretrain_encoder.py"


rule pretrain:
    input:
        "results/pretraining/transfer_encoder/encoder.safetensors",


rule pretrain_source_classes:
    input:
        "results/pretraining/source_classes/encoder.safetensors",
