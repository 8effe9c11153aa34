# Training of encoders on simulated boxes; `pretrain` trains the shipped one (see resources/transfer_encoder.md).
# Compare the result with resources/transfer_encoder.safetensors before replacing it.
RECIPES = {
    path.stem: path for path in sorted((CHECKOUT / "benchmarks/recipes").glob("*.yaml"))
}


rule train_encoder:
    input:
        recipe=lambda wildcards: RECIPES[wildcards.recipe],
    output:
        weights="encoders/{recipe}/encoder.safetensors",
        history="encoders/{recipe}/history.tsv",
    log:
        "logs/train_encoder/{recipe}.log",
    benchmark:
        "costs/train_encoder/{recipe}.tsv"
    wildcard_constraints:
        recipe="|".join(RECIPES),
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 12000,
    params:
        device=OPTIONS.device,
        seed=OPTIONS.seed,
        templates=OPTIONS.templates,
        # not an output, so that it is kept if the job is killed
        checkpoint="encoders/{recipe}/checkpoint.safetensors",
    message:
        "Training the encoder {wildcards.recipe} on simulated particles."
    script:
        "../scripts/train_encoder.py"


rule pretrain:
    input:
        "encoders/transfer_encoder/encoder.safetensors",


rule pretrain_source_classes:
    input:
        "encoders/source_classes/encoder.safetensors",
