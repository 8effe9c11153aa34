"""Describe the averages of all clusters, and offer as one the clusters whose averages match."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cryopipe.averaging import AveragingOptions
from cryopipe.averaging.triage import ClusterMaps, find_mergers, triage
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.files.star import read_particles, read_star
from cryopipe.files.tables import write_table
from cryopipe.job import run


def read_cluster(address: str) -> ClusterMaps:
    path = Path(address)
    average, half1, half2 = (
        np.array(open_volume(path.with_name(f"{path.stem}{part}.mrc")), np.float32)
        for part in ("", "_half1", "_half2")
    )
    general = read_star(path.with_name(f"{path.stem}_fsc.star"))["general"].iloc[0]
    resolution = float(general.get("cryopipeResolution0143", math.inf))
    voxel_size, particles = float(general["cryopipeVoxelSize"]), read_particles(path.with_suffix(".star"))
    return ClusterMaps(average, half1, half2, voxel_size, particles, resolution)


def read_known(directory: str) -> dict[str, tuple[np.ndarray, float]]:
    paths = sorted(Path(directory).glob("*.mrc")) if directory else []
    return {
        path.stem: (np.array(open_volume(path), np.float32), read_header(path).voxel_size_xyz[0])
        for path in paths
    }


if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = AveragingOptions(**job.params.averaging)
    clusters = {
        int(Path(path).stem.removeprefix("cluster_")): read_cluster(path) for path in job.input.averages
    }
    write_table(job.output.triage, triage(clusters, read_known(options.known_maps), options))
    write_table(job.output.mergers, find_mergers(clusters, options))


run(main, snakemake)
