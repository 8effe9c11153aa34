"""Train affinity-VAE once and write its scores and the arrays of its figures."""

from typing import TYPE_CHECKING, Any

from benchmarks.affinity_runs import SIZES, affinity_run
from cryopipe.files.features import read_features, write_features
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    given, (_, affinity, facts) = job.wildcards, read_features(job.input[0])
    size, weights = SIZES[str(facts["size"])], (float(given.beta), float(given.gamma))
    device = choose_device(job.params.device)
    found = affinity_run(size, affinity, *weights, int(given.seed), device)
    boxes = found["classes"][found["truth"]].tolist()
    write_features(job.output[0], boxes, found.pop("latents"), **found, size=facts["size"])


run(main, snakemake)
