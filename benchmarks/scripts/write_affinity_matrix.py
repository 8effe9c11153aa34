"""Write the affinities of the structures that affinity-VAE is trained on."""

from typing import TYPE_CHECKING, Any

from benchmarks.affinity_runs import SIZES, trained_affinities
from cryopipe.files.features import write_features
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    automatic = "full" if choose_device(job.params.device).type == "cuda" else "reduced"
    size = automatic if job.params.size == "auto" else job.params.size
    write_features(job.output[0], *trained_affinities(SIZES[size]), size=size)


run(main, snakemake)
