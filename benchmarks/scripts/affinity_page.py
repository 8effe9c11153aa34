"""Write table and figures of affinity-VAE into docs/affinity.md."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.affinity_pages import pictures, table
from benchmarks.affinity_runs import SIZES
from benchmarks.hardware import describe_hardware
from benchmarks.pages import heading_of, update_page
from cryopipe.files.atomic import atomic_path, write_text
from cryopipe.files.features import read_features
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    files = {Path(path).stem: read_features(path) for path in job.input}
    runs = {name: {"latents": latents, **arrays} for name, (_, latents, arrays) in files.items()}
    size = SIZES[str(next(iter(runs.values()))["size"])]
    for name, picture in pictures(runs).items():
        with atomic_path(f"{job.params.images}/affinity_{name}.png") as temporary:
            picture.save(temporary)
    page = Path(job.params.page)
    text = page.read_text(encoding="utf-8")
    hardware = describe_hardware(choose_device(job.params.device))
    write_text(page, update_page(text, {"affinity": table(runs, size, hardware)}, heading_of(text)))


run(main, snakemake)
