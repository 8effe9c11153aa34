"""Describe the averages of all clusters, and list clusters with matching averages as possible mergers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe.averaging import AveragingOptions
from cryopipe.averaging.triage import find_mergers, triage
from cryopipe.files.cluster_averages import read_averages, read_map
from cryopipe.files.records import remove_results
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.provenance import RECORDS


def read_known(directory: str) -> dict[str, tuple[np.ndarray, float]]:
    paths = sorted(Path(directory).glob("*.mrc")) if directory else []
    return {path.stem: read_map(path) for path in paths}


if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = AveragingOptions(**job.params.averaging)
    clusters = read_averages(job.input.averages, half_maps=True)
    names = [f"{number:02d}" for number in clusters]
    remove_results(Path(RECORDS, "average_cluster"), names)
    write_table(job.output.triage, triage(clusters, read_known(options.known_maps), options))
    write_table(job.output.mergers, find_mergers(clusters, options))


run(main, snakemake)
