# Time and memory by size of the input: synthetic datasets are run through the workflow, each in its own folder.
MEASURED = {
    "bounds": [
        *expand("particles_{count}", count=[1000, 4000, 16000]),
        *expand("voxels_{size}", size=["256x256x128_int8", "500x750x250_int8"]),
        *expand("voxels_1000x1500x500_{type}", type=["int8", "int16", "float32"]),
    ],
    "scale": ["particles_100000"],
    "tomograms": ["tomograms_100", "tomograms_1000"],
}


rule measure_costs:
    output:
        "job_costs/{dataset}.tsv",
    log:
        "logs/measure_costs/{dataset}.log",
    benchmark:
        "costs/measure_costs/{dataset}.tsv"
    wildcard_constraints:
        dataset="(particles|voxels|tomograms)_[0-9a-z_]+",
    conda:
        "../../envs/torch.yaml"
    threads: 1000  # as many as --cores grants
    params:
        # same rate as the default 100/1s, whose timers load the driver after hundreds of jobs
        snakemake=[
            sys.executable,
            "-m",
            "snakemake",
            "--max-jobs-per-timespan",
            "1000/10s",
        ],
        snakefile=str(CHECKOUT / "Snakefile"),
    message:
        "Running the workflow on the dataset {wildcards.dataset}."
    script:
        "../scripts/measure_costs.py"


for name, datasets in MEASURED.items():

    rule:
        name:
            f"benchmark_{name}"
        input:
            expand("job_costs/{dataset}.tsv", dataset=datasets),
        log:
            f"logs/benchmark_{name}.log",
        conda:
            "../../envs/report.yaml"
        params:
            section=name,
            page=str(CHECKOUT / "docs/scale.md"),
            picture=str(CHECKOUT / "docs/images/scale.png"),
        message:
            "Writing time and memory of the jobs into docs/scale.md."
        script:
            "../scripts/scale_page.py"
