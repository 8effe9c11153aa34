"""Transfer learner: the shipped encoder, without training on the user's data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import Learner, no_history
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.restoring import restore_network
from cryopipe.features.training.box_source import BoxSource
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.installation import ROOT

SHIPPED_WEIGHTS = ROOT / "resources" / "transfer_encoder.safetensors"
KIND = "transfer encoder"


class Transfer(Learner):
    """Features of length 1 from the encoder that was trained on simulated boxes; see `resources/transfer_encoder.md`."""

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Load the weights and return an empty history; nothing is trained."""
        self._encoder()
        return no_history()

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return features (n, 32) of length 1 of `boxes` (n, z, y, x)."""
        source = BoxSource(boxes, self.device, self.memory_gb)
        features = embed_all(self._encoder(), source, "embedding boxes")
        return F.normalize(features).cpu().numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder's weights."""
        save_encoder(path, self._encoder(), {})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read an encoder's weights."""
        self._loaded = load_encoder(path).to(self.device)

    def _encoder(self) -> TransferEncoder:
        if not hasattr(self, "_loaded"):
            self.load(self.options.weights or SHIPPED_WEIGHTS)
        return self._loaded


def save_encoder(path: str | os.PathLike[str], encoder: TransferEncoder, notes: dict[str, str]) -> None:
    """Write an encoder's weights in half precision, with its shape and `notes` in the metadata."""
    shape = {"widths": encoder.widths, "feature_width": encoder.feature_width}
    tensors: dict[str, Tensor] = {name: value.half() for name, value in encoder.state_dict().items()}
    save_weights(path, tensors, {"kind": KIND, "network": json.dumps(shape), **notes})


def load_encoder(path: str | os.PathLike[str]) -> TransferEncoder:
    """Read an encoder that `save_encoder` wrote, in single precision on the CPU.

    Raises
    ------
    FileError
        If the file contains anything else.
    """
    tensors, metadata = load_weights(path)
    if metadata.get("kind") != KIND:
        raise FileError(
            f"contains {metadata.get('kind', 'unknown weights')!r}, not {KIND!r}",
            file=path,
            remedy="set features.weights to null for the shipped encoder, or features.learner to disca for weights of disca",
        )
    types = {"encoder": TransferEncoder}
    encoder: TransferEncoder = restore_network(path, metadata.get("network", ""), tensors, types)
    return encoder
