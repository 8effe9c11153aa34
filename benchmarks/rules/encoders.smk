# Training of encoders on simulated boxes; `pretrain` trains the shipped one (see resources/transfer_encoder.md).
# Compare the result with resources/transfer_encoder.safetensors before replacing it.
RECIPES = {
    path.stem: path for path in sorted((CHECKOUT / "benchmarks/recipes").glob("*.yaml"))
}
FEW_SHOT = "protonet"
ENCODERS = [name for name in RECIPES if name != FEW_SHOT]


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
        recipe="|".join(ENCODERS),
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


# ProtoNet3D and ProtoNet-CE, trained in episodes on simulated particles.
rule train_few_shot:
    input:
        recipe=RECIPES[FEW_SHOT],
    output:
        weights="encoders/protonet/protonet.safetensors",
        history="encoders/protonet/history.tsv",
    log:
        "logs/train_few_shot.log",
    benchmark:
        "costs/train_few_shot.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 12000,
    params:
        device=OPTIONS.device,
        seed=OPTIONS.seed,
        # not an output, so that it is kept if the job is killed
        checkpoint="encoders/protonet/checkpoint.safetensors",
    message:
        "Training the few-shot network on simulated episodes."
    script:
        "../scripts/train_few_shot.py"
