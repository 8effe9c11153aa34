"""Write the particles for other software, and verify every file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.export import (
    Average,
    ExportOptions,
    Microscope,
    Setting,
    TomogramRecord,
    export_particles,
    gather_particles,
)
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.files.opening import open_tomogram
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    records = {}
    for row, check in zip(job.params.tomograms, job.input.checks, strict=True):
        tomogram = Tomogram(**row)
        if not (read_table(check)["status"] == "bad").any():
            opened = open_tomogram(tomogram)
            records[tomogram.name] = TomogramRecord(
                tomogram.name,
                tomogram.path,
                opened.volume.shape,
                opened.voxel_size,
                tomogram.tilt_range,
                tomogram.contrast,
            )
    setting = Setting(
        records,
        Microscope(**job.params.microscope),
        ExportOptions(**job.params.options),
        job.params.box_width,
        job.params.seed,
        {
            int(Path(path).stem.removeprefix("cluster_")): Average(
                open_volume(path), read_header(path).voxel_size_xyz[0]
            )
            for path in job.input.averages
        },
    )
    particles = gather_particles(
        read_particles(job.input.particles), [read_particles(path) for path in job.input.clusters]
    )
    folder = Path(job.output.summary).parent.parent
    write_table(job.output.summary, export_particles(particles, setting, folder))


run(main, snakemake)
