# Not part of a run: trains the transfer encoder anew, as resources/transfer_encoder.md describes.
# Compare the result with resources/transfer_encoder.safetensors before it takes its place.
rule pretrain:
    output:
        weights="results/pretraining/transfer_encoder.safetensors",
        history="results/pretraining/history.tsv",
    log:
        "logs/pretrain.log",
    benchmark:
        "benchmarks/pretrain.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 8000,
    params:
        device=config["device"],
        seed=config["seed"],
    message:
        "Training the transfer encoder on simulated particles."
    script:
        "../../scripts/pretrain_encoder.py"
