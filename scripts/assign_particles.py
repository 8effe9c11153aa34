"""Assign the particles of a tomogram that arrived after the last clustering to its clusters."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.assignment import assign_boxes, cluster_counts
from cryopipe.check import open_if_usable
from cryopipe.clustering import ClusteringOptions
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.features import features_of
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.live.progress_page import PICTURES
from cryopipe.report.first_pictures import write_pick_picture
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    params, tomogram = job.params, Tomogram(**job.params.tomogram)
    clustered, options = read_particles(params.clusters), FeatureOptions(**params.features)
    known = features_of(params.known, clustered[columns.PARTICLE].astype(str).tolist())
    device, seed = choose_device(job.config["device"]), params.seed
    learner = create_learner(options.learner, options, device, seed, job.config["memory_gb"])
    learner.load(params.model)
    boxes, particles = BoxStack([job.input.boxes]), read_particles(job.input.particles)
    clusters, clustering = clustered[columns.CLASS].to_numpy(int), ClusteringOptions(**params.clustering)
    found = assign_boxes(learner, boxes, particles, known, clusters, options.centre, clustering)
    opened = open_if_usable(tomogram, read_table(job.input.check))
    if opened is not None:
        write_pick_picture(PICTURES / f"picks_{tomogram.name}.jpg", opened, found)
    write_particles(job.output.particles, found)
    write_table(job.output.counts, cluster_counts(found))


run(main, snakemake)
