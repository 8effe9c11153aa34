"""A row of the tomogram table, opened: whose voxel size counts, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryopipe.errors import ConfigError, DataError
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.tomograms import Tomogram
from cryopipe.volume.device import choose_device


@pytest.fixture
def tomogram(tmp_path: Path) -> Tomogram:
    write_volume(tmp_path / "a.mrc", np.arange(24, dtype=np.int16).reshape(2, 3, 4), 10.0)
    return Tomogram("a", str(tmp_path / "a.mrc"), None, (-60.0, 60.0), "dark", None)


def test_the_table_goes_before_the_header(tomogram: Tomogram) -> None:
    opened = open_tomogram(tomogram)
    np.testing.assert_array_equal(opened.volume, np.arange(24).reshape(2, 3, 4))
    assert (opened.voxel_size, opened.mask) == (10.0, None)
    assert open_tomogram(replace(tomogram, voxel_size=12.5)).voxel_size == 12.5


def test_an_unknown_voxel_size_is_asked_for(tomogram: Tomogram, tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    content = bytearray(path.read_bytes())
    content[40:52] = bytes(12)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mrc: .*; write it, in angstrom, to the column voxel_size"):
        open_tomogram(tomogram)
    assert open_tomogram(replace(tomogram, voxel_size=12.0)).voxel_size == 12.0


def test_the_mask_has_the_tomograms_shape(tomogram: Tomogram, tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.mrc", np.ones((2, 3, 4), dtype=np.int8), 10.0)
    opened = open_tomogram(replace(tomogram, mask=str(tmp_path / "mask.mrc")))
    assert opened.mask is not None
    assert opened.mask.all()
    write_volume(tmp_path / "mask.mrc", np.ones((2, 4, 3), dtype=np.int8), 10.0)
    with pytest.raises(DataError) as caught:
        open_tomogram(replace(tomogram, mask=str(tmp_path / "mask.mrc")))
    assert str(caught.value) == (
        f"{tmp_path}/mask.mrc: mask of shape (2, 4, 3) (z, y, x) for a tomogram of shape (2, 3, 4); "
        "give a mask of the tomogram's shape"
    )


def test_the_device_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(
        ConfigError, match="device is cuda, but no GPU is available; set device to auto or cpu"
    ):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
