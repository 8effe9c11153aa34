"""Where tensors are computed."""

from __future__ import annotations

import torch

from cryopipe.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device that the option `device` asks for: "auto" takes a GPU when there is one.

    Raises
    ------
    ConfigError
        If "cuda" is asked for and there is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but no GPU is to be seen", remedy="set device to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
