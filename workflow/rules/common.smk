# Used by all rules: the completed configuration, the tomogram table, and functions for inputs that depend on the
# clusters.
import csv
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

import cryopipe.config
import cryopipe.estimate
import cryopipe.installation
import cryopipe.tomograms
from cryopipe.errors import CryopipeError
from cryopipe.files.records import expire_unrecorded_results
from cryopipe.files.run_record import write_run_record
from cryopipe.particle_formats import FORMATS
from cryopipe.provenance import (
    OPTIONS,
    RECORDS,
    RUN_RECORD,
    canonical,
    digest,
    file_state,
    options_of,
    future_time,
)

cryopipe.installation.put_checkout_first()
CONFIG_FILES = workflow.configfiles or ["config/config.yaml"]
OPTIONS_WITHOUT_JOBS = {
    *("--list-rules", "--list", "-l", "--list-target-rules", "--lt", "--unlock"),
    *("--dag", "--rulegraph", "--filegraph", "--d3dag", "--lint", "--report"),
    *("--summary", "-S", "--detailed-summary", "-D"),
}


def runs_jobs():
    """Return whether the command line starts or simulates a run, instead of printing a list or a graph."""
    return not OPTIONS_WITHOUT_JOBS & {word.partition("=")[0] for word in sys.argv}


try:
    completed = cryopipe.config.complete(dict(config), *CONFIG_FILES)
    config.clear()  # so that the order of options is that of the schema
    config.update(completed)
    TOMOGRAMS = cryopipe.tomograms.read_tomogram_table(
        config["tomograms"],
        tuple(config["imaging"]["tilt_range"]),
        config["imaging"]["contrast"],
    )
    if workflow.is_main_process:
        cryopipe.config.check_named_files(config, TOMOGRAMS, *CONFIG_FILES)
        if runs_jobs():
            logger.info(
                cryopipe.estimate.describe_run(config, list(TOMOGRAMS.values()))
            )
        # Snakemake does not know the options of results from jobs that ended after Snakemake itself had ended
        digests = {rule: digest(options_of(rule, config)) for rule in OPTIONS}
        expire_unrecorded_results(RECORDS, digests, ".snakemake/metadata")
except CryopipeError as error:
    raise WorkflowError(str(error)) from None

TWINS = cryopipe.tomograms.find_same_files(TOMOGRAMS)
SIBLINGS = cryopipe.tomograms.find_same_series(TOMOGRAMS)


wildcard_constraints:
    tomogram="[A-Za-z0-9][A-Za-z0-9_-]*",
    cluster=r"\d\d+",


def files_to_check(wildcards):
    """Return a tomogram and its mask if they exist or will be made; check_tomogram reports missing files.

    Paths with braces or angle brackets are left out, because Snakemake would read them as wildcards or path variables.
    """
    tomogram = TOMOGRAMS[wildcards.tomogram]
    return [
        path
        for path in (tomogram.path, tomogram.mask)
        if path and not set(path) & set("{}<>")
        # unlike os.path.isfile, Path.is_file raises an error in a directory without permission
        and (is_made(path) or os.path.isfile(path))
        # Snakemake's error for modification times in the future does not name the file; check_tomogram does
        and not future_time(path)
    ]


def row_of_table(*columns):
    """Return a function for a tomogram's name, path and the given columns, as a parameter of a rule."""
    return lambda wildcards: canonical(
        {
            name: getattr(TOMOGRAMS[wildcards.tomogram], name)
            for name in ("name", "path", *columns)
        }
    )


def state_of_files(wildcards):
    """Return size and modification time of a tomogram and its mask: an older time is also a change."""
    tomogram = TOMOGRAMS[wildcards.tomogram]
    paths = [path for path in (tomogram.path, tomogram.mask) if path]
    return [file_state(path) for path in paths if not is_made(path)]


def is_made(path):
    """Return whether the workflow itself makes a file."""
    return path.startswith("results/")


def refuse_future_times(paths):
    """Raise an error for user's files with a modification time in the future: jobs that read them would fail."""
    for path in paths:
        if future_time(path):
            raise WorkflowError(
                f"{path}: its modification time, {future_time(path):%Y-%m-%d %H:%M:%S}, is in the future; "
                f"run touch on the file, or correct this computer's clock"
            )
    return paths


def input_size_mb(wildcards, input):
    """Return the size of a job's input in megabytes, for its memory request."""
    return max(1, int(input.size_mb))


def cluster_rows():
    """Return the rows of the table of clusters by number, which are known after apply_curation."""
    table = checkpoints.apply_curation.get().output.clusters
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {int(row["cluster"]): row for row in rows}


def cluster_names(wildcards):
    """Return the clusters' two-digit names; rejected clusters are among them, so that their averages are kept."""
    return [f"{number:02d}" for number in cluster_rows() if number > 0]


def members_of_cluster(wildcards):
    """Return the digest of a cluster's particles, which changes if its average has to be made again."""
    row = cluster_rows().get(int(wildcards.cluster), {})
    return row.get("members", "")


def of_clusters(pattern):
    """Return an input function for one file per cluster."""
    return lambda wildcards: expand(pattern, cluster=cluster_names(wildcards))


def decoded_maps(wildcards):
    """Return one decoded map per cluster if the learner reconstructs boxes."""
    if config["features"]["learner"] not in cryopipe.config.DECODING_LEARNERS:
        return []
    return expand(
        "results/features/decoded/cluster_{cluster}.mrc",
        cluster=cluster_names(wildcards),
    )


def decoded_paths(wildcards):
    """Return the picture of decoded paths between clusters if the learner reconstructs boxes."""
    decodes = config["features"]["learner"] in cryopipe.config.DECODING_LEARNERS
    return ["results/features/paths.png"] if decodes else []


def of_tomograms(pattern):
    """Return one file per tomogram."""
    return expand(pattern, tomogram=TOMOGRAMS)


def of_tomograms_when_clustered(pattern):
    """Return an input function for one file per tomogram; they are planned once the clusters are known."""
    return lambda wildcards: of_tomograms(pattern) if cluster_rows() else []


def given_weights(wildcards):
    """Return the file of initial weights, if the configuration names one."""
    weights = config["features"]["weights"]
    return [] if weights in (None, "random") else refuse_future_times([weights])


def given_maps(wildcards):
    """Return the density maps that the learner reads, if there are any."""
    features = config["features"]
    folder = features.get(features["learner"], {}).get("maps")
    if folder is None:
        return []
    maps = [
        path for suffix in ("mrc", "map") for path in Path(folder).glob(f"*.{suffix}")
    ]
    return refuse_future_times(sorted(str(path) for path in maps))


def given_curation(wildcards):
    """Return the file of the user's decisions, if the configuration names one."""
    curation = config["curation"]
    return [] if curation is None else refuse_future_times([curation])


def given_labels(wildcards):
    """Return the file of labelled particles, if the configuration names one."""
    labels = config["features"]["labels"]
    return [] if labels is None else refuse_future_times([labels])


def given_particles(wildcards):
    """Return the file or folder of particles made elsewhere, if the configuration names one."""
    particles = config["pick"]["particles"]
    return [] if particles is None else refuse_future_times([particles])


def particles_as_picks(wildcards):
    """Return the particles made elsewhere as cryopipe read them, if the configuration names a file."""
    return ["results/given_particles.star"] if config["pick"]["particles"] else []


def particles_to_label(wildcards):
    """Return the particles with boxes, among which the labelled ones are found."""
    return (
        of_tomograms("results/subtomograms/{tomogram}.star")
        if given_labels(wildcards)
        else []
    )


def check_of_labels(wildcards):
    """Return the check of the labels, if there are labels."""
    return ["results/check/labels.tsv"] if given_labels(wildcards) else []


def evidence_table(name):
    """Return a table of the evidence for classes, if decoys are picked."""
    return [f"results/evidence/{name}.tsv"] if config["evidence"]["decoys"] else []


def files_of_export(format):
    """Return the state of the user's files that the export to one format reads."""
    options = options_of(f"export_{format}", config).get("export", {})
    volumes = [one.path for one in TOMOGRAMS.values() if not is_made(one.path)]
    return [
        file_state(options.get("relion_tomograms")),
        [file_state(path) for path in volumes if options.get("subtomograms")],
        [
            file_state(one.tilt_series)
            for one in TOMOGRAMS.values()
            if format in ("relion4", "relion5")
        ],
    ]


def final_results(wildcards):
    """Return the final results of a run."""
    return [
        "results/report/report.html",
        *of_tomograms("results/reembedded/{tomogram}.mrc"),
        # each by name: one that is missing is made, though the summary is there
        *expand("results/export/{format}.tsv", format=config["export"]["formats"]),
        "results/export/summary.tsv",
    ]


def observe_run():
    """Follow the run's messages in the main process: record its start, write results/report/progress.html, name failed jobs.

    Snakemake ignores `onstart` and `onerror` of a module, such as this workflow is in a dataset's directory.
    """
    from cryopipe.live.monitor import Monitor

    if any(isinstance(handler, Monitor) for handler in logger.handlers):
        return
    rules_of_clusters = {"locate_particles", "average_cluster"} | (
        {"decode_cluster"}
        if config["features"]["learner"] in cryopipe.config.DECODING_LEARNERS
        else set()
    )
    logger.addHandler(
        Monitor(
            config,
            TOMOGRAMS,
            sorted(rules_of_clusters),
            runs=lambda: not (workflow.dryrun or workflow.touch),
            begins=record_start,
        )
    )


def record_start():
    """Record how the run was started, for the report."""
    write_run_record(RUN_RECORD, sys.argv, cryopipe.installation.ROOT)


def print_summary():
    """Print the summary of a successful run, with the path of the report."""
    summary = Path("results/report/summary.txt")
    if summary.is_file():
        print(summary.read_text(encoding="utf-8"), file=sys.stderr)


def averaging_box_options(wildcards):
    """Return the options of the boxes to average: as wide as those for learning, with their own voxel size."""
    options = options_of("extract_for_averaging", config)
    learned = options["subtomograms"]
    voxel_size = options["averaging"]["voxel_size"] or learned["voxel_size"]
    edge = learned["box_size"] * learned["voxel_size"] / voxel_size
    return {"box_size": 2 * round(edge / 2), "voxel_size": voxel_size, "border": "fill"}


if workflow.is_main_process and runs_jobs():
    observe_run()
