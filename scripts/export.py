"""Write the particles for other software, and verify every file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.config import ImagingOptions
from cryopipe.export import (
    ExportContext,
    ExportOptions,
    TomogramRecord,
    export_particles,
    gather_particles,
)
from cryopipe.files.cluster_averages import read_averages
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
        one = Tomogram(**row)
        if not (read_table(check)["status"] == "bad").any():
            opened = open_tomogram(one)
            known = (opened.volume.shape, opened.voxel_size, one.tilt_range, one.contrast, one.exported_name)
            records[one.name] = TomogramRecord(one.name, one.path, *known)
    options = job.params.options
    boxes = options.get("subtomograms", {"box_size": 0, "voxel_size": 0})
    context = ExportContext(
        records,
        ImagingOptions(**options.get("imaging", {})),
        ExportOptions(**{"formats": [job.wildcards.format], **options.get("export", {})}),
        boxes["box_size"] * boxes["voxel_size"],
        options.get("seed", 0),
        read_averages(job.input.averages, tables=False),
    )
    particles = gather_particles(
        read_particles(job.input.particles), [read_particles(path) for path in job.input.clusters]
    )
    results = Path(job.output[0]).parent.parent
    write_table(job.output[0], export_particles(particles, context, results))


run(main, snakemake)
