"""Align and average the particles of one cluster."""

from typing import TYPE_CHECKING, Any

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_particles, ctf_limit, fsc_blocks
from cryopipe.averaging.doubles import gather_tables
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles, write_particles, write_star
from cryopipe.job import run
from cryopipe.live.progress_page import PICTURES
from cryopipe.report.first_pictures import write_average_picture
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    boxes, options = BoxStack(job.input.boxes), AveragingOptions(**job.params.averaging)
    particles = gather_tables([read_particles(path) for path in job.input.particles])
    mine = particles[particles[columns.CLASS] == int(job.wildcards.cluster)]
    device = choose_device(job.config["device"])
    result, aligned = align_particles(boxes, mine, options, job.params.seed, device, centred=True)
    write_volume(job.output.average, result.average, boxes.voxel_size)
    for path, half_map in zip((job.output.half1, job.output.half2), result.half_maps, strict=True):
        write_volume(path, half_map, boxes.voxel_size)
    write_star(job.output.fsc, fsc_blocks(result, options.symmetry, ctf_limit(aligned)))
    write_particles(job.output.particles, aligned)
    write_average_picture(PICTURES / f"cluster_{job.wildcards.cluster}.jpg", result.average)


run(main, snakemake)
