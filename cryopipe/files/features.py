"""Features of particles: one compressed numpy archive, read without pickle."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryopipe.errors import FileError
from cryopipe.files.atomic import atomic_path


def write_features(
    path: str | os.PathLike[str], names: Sequence[str], features: ArrayLike, **arrays: ArrayLike
) -> None:
    """Write the particles' names and features.

    Parameters
    ----------
    path
        The .npz file; written whole or not at all.
    names
        (n,) names of the particles.
    features
        (n, d).
    arrays
        Other arrays of numbers by name, (n, ...) each.
    """
    values = np.asarray(features, np.float32)
    if values.ndim != 2 or len(values) != len(names):
        raise ValueError(f"features of shape {values.shape} for {len(names)} names")
    everything = {name: np.asarray(array) for name, array in arrays.items()}
    everything |= {"names": np.array(list(names), dtype=np.str_), "features": values}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **everything)


def read_features(
    path: str | os.PathLike[str],
) -> tuple[list[str], NDArray[np.float32], dict[str, NDArray]]:
    """Read a file of `write_features`: names (n,), features (n, d), and the other arrays by name.

    Raises
    ------
    FileError
        If the file is missing or not an archive of features.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        names, features = arrays.pop("names"), arrays.pop("features")
    except FileNotFoundError:
        raise FileError("no such file", file=path, remedy="run learn_features") from None
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise FileError(
            f"is not an archive of features ({error})",
            file=path,
            remedy="delete it and run learn_features again",
        ) from error
    return [str(name) for name in names], features.astype(np.float32), arrays


def features_of(path: str | os.PathLike[str], particles: Sequence[str]) -> NDArray[np.float64]:
    """Return the features (n, d) of the particles with these n names, in their order.

    Raises
    ------
    FileError
        If the file cannot be read, or has no features of one of the particles.
    """
    names, features, _ = read_features(path)
    rows = {name: row for row, name in enumerate(names)}
    missing = [name for name in particles if name not in rows]
    if missing:
        raise FileError(f"no features of particle {missing[0]}", file=path, remedy="run learn_features")
    return features[[rows[name] for name in particles]].astype(np.float64)
