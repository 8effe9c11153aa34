"""Reading and writing of network weights and training states as safetensors files, which cannot contain code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from cryopipe.errors import FileError
from cryopipe.files.atomic import atomic_path


def save_weights(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write named tensors and text.

    Parameters
    ----------
    path
        The safetensors file; written atomically.
    tensors
        Tensors of any type and device by name.
    metadata
        Texts by name, such as JSON.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        # safetensors' own writer reports a full disk only as text and makes the file unreadable for other users
        temporary.write_bytes(_with_sorted_texts(save(plain, dict(metadata))))


def _with_sorted_texts(file: bytes) -> bytes:
    """Return a safetensors file with sorted texts: their order is random, which makes files of equal models differ."""
    begin = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:begin])
    texts = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items()))}
    text = json.dumps(texts | header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[begin:]


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a file of `save_weights`: tensors on the CPU, and the texts.

    Raises
    ------
    FileError
        If the file is missing or is not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise FileError(
            "no such file", file=path, remedy="correct the path, or train the network first"
        ) from None
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(
            f"is not a safetensors file ({error})", file=path, remedy="replace it by a complete one"
        ) from error
