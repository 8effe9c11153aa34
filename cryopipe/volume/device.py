"""Choice of the torch device."""

from __future__ import annotations

import torch

from cryopipe.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the torch device for the option `device`; "auto" uses a GPU if one is available.

    Raises
    ------
    ConfigError
        If `name` is "cuda" and no GPU is available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but no GPU is available", remedy="set device to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
