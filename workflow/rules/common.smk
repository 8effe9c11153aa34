# What all the rules need: the completed configuration, the tomogram table, and the inputs that
# are known only once the particles are clustered.
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
from cryopipe.files.records import age_orphans
from cryopipe.provenance import (
    OPTIONS,
    RECORDS,
    FORMATS,
    canonical,
    digest,
    file_state,
    options_of,
    time_ahead,
)

cryopipe.installation.find_library_first()
CONFIG_FILES = workflow.configfiles or ["config/config.yaml"]

try:
    completed = cryopipe.config.complete(dict(config), *CONFIG_FILES)
    config.clear()  # else options would stand in the user's order
    config.update(completed)
    TOMOGRAMS = cryopipe.tomograms.read_tomogram_table(
        config["tomograms"],
        tuple(config["imaging"]["tilt_range"]),
        config["imaging"]["contrast"],
    )
    if workflow.is_main_process:
        cryopipe.config.check_named_files(config, TOMOGRAMS, *CONFIG_FILES)
        logger.info(cryopipe.estimate.describe_run(config, list(TOMOGRAMS.values())))
        # jobs that outlived their driver left results of which Snakemake does not know what they were made with
        digests = {rule: digest(options_of(rule, config)) for rule in OPTIONS}
        age_orphans(RECORDS, digests, ".snakemake/metadata")
except CryopipeError as error:
    raise WorkflowError(str(error)) from None

TWINS = cryopipe.tomograms.find_twins(TOMOGRAMS)
SIBLINGS = cryopipe.tomograms.find_siblings(TOMOGRAMS)


# The boxes to average are those of learning, or finer ones that are cut anew about the same particles.
AVERAGED_BOXES = (
    "results/averaging_boxes/{tomogram}.h5"
    if config["averaging"]["voxel_size"]
    else "results/subtomograms/{tomogram}.h5"
)


wildcard_constraints:
    tomogram="[A-Za-z0-9][A-Za-z0-9_-]*",
    cluster=r"\d\d+",


def files_to_check(wildcards):
    """A tomogram and its mask, as far as they are there or will be made: a missing one is the check's to tell.

    Paths with braces or angle brackets are left to the jobs, too: here they would be taken for wildcards or
    path variables.
    """
    tomogram = TOMOGRAMS[wildcards.tomogram]
    return [
        path
        for path in (tomogram.path, tomogram.mask)
        if path and not set(path) & set("{}<>")
        # Path.is_file fails in a directory that may not be entered
        and (is_made(path) or os.path.isfile(path))
        # of a time ahead of the clock Snakemake would say no more than that some clock is wrong; the check names the file
        and not time_ahead(path)
    ]


def row_of_table(*columns):
    """What a rule uses of a tomogram's row; its name and path always."""
    return lambda wildcards: canonical(
        {
            name: getattr(TOMOGRAMS[wildcards.tomogram], name)
            for name in ("name", "path", *columns)
        }
    )


def state_of_files(wildcards):
    """Size and time of a tomogram and its mask: a file with an older time in its place is another one, too."""
    tomogram = TOMOGRAMS[wildcards.tomogram]
    paths = [path for path in (tomogram.path, tomogram.mask) if path]
    return [file_state(path) for path in paths if not is_made(path)]


def is_made(path):
    """Whether the workflow itself makes a file."""
    return path.startswith("results/")


def not_ahead(paths):
    """Refuse files of the user's whose time of change lies in the future: jobs that read them would fail."""
    for path in paths:
        if time_ahead(path):
            raise WorkflowError(
                f"{path}: its time of change, {time_ahead(path):%Y-%m-%d %H:%M:%S}, lies in the future; "
                f"touch the file, or correct this computer's clock"
            )
    return paths


def input_size_mb(wildcards, input):
    """The size of a job's input in megabytes; memory is asked for in proportion."""
    return max(1, int(input.size_mb))


def cluster_names(wildcards):
    """The clusters' two-digit names, known once the particles are clustered."""
    table = checkpoints.cluster_features.get().output.clusters
    with open(table, newline="") as stream:
        numbers = [
            int(row["cluster"]) for row in csv.DictReader(stream, delimiter="\t")
        ]
    return [f"{number:02d}" for number in numbers if number > 0]


def of_clusters(pattern):
    """An input function that gives one file per cluster."""
    return lambda wildcards: expand(pattern, cluster=cluster_names(wildcards))


def of_tomograms(pattern):
    """One file per tomogram."""
    return expand(pattern, tomogram=TOMOGRAMS)


def given_weights(wildcards):
    """The file of weights that learning starts from, where the configuration names one."""
    weights = config["features"]["weights"]
    return [] if weights in (None, "random") else not_ahead([weights])


def files_of_export(format):
    """The state of the user's files that one format of the export reads."""
    options = options_of(f"export_{format}", config).get("export", {})
    volumes = [one.path for one in TOMOGRAMS.values() if not is_made(one.path)]
    return [
        file_state(options.get("relion_tomograms")),
        [file_state(path) for path in volumes if options.get("subtomograms")],
    ]


def final_results(wildcards):
    """What a whole run makes."""
    return [
        "results/report/report.html",
        *of_tomograms("results/reembedded/{tomogram}.mrc"),
        "results/export/summary.tsv",
    ]


def print_summary():
    """Close a run with its summary and the report's place."""
    summary = Path("results/report/summary.txt")
    if summary.is_file():
        print(summary.read_text(encoding="utf-8"), file=sys.stderr)


def print_failure(log_file):
    """Close a failed run with where to look and how to go on."""
    print(
        "Some jobs failed. Each names its log above (logs/RULE/NAME.log holds the traceback). "
        "Fix the problem and run the same command again; completed jobs are kept.",
        file=sys.stderr,
    )


def averaging_box_options(wildcards):
    """How the boxes to average are cut: at their own voxel size, as wide as those for learning."""
    options = options_of("extract_for_averaging", config)
    learned, voxel_size = options["subtomograms"], options["averaging"]["voxel_size"]
    edge = learned["box_size"] * learned["voxel_size"] / voxel_size
    return {"box_size": 2 * round(edge / 2), "voxel_size": voxel_size, "border": "fill"}
