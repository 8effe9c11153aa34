"""Train the transfer encoder on simulated boxes of procedural phantoms."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cryopipe.features.pretraining import STAGES, pretrain
from cryopipe.features.transfer import save_encoder
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    encoder, history = pretrain(STAGES, choose_device(job.params.device), job.params.seed)
    save_encoder(job.output.weights, encoder, {"recipe": repr(STAGES), "seed": str(job.params.seed)})
    write_table(job.output.history, pd.DataFrame(history))


run(main, snakemake)
