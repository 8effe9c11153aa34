"""OME-Zarr volumes and Copick projects: the same voxels, picks and boxes as from MRC files."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryopipe.check import check_tomogram
from cryopipe.cli import main
from cryopipe.columns import COORDINATES
from cryopipe.errors import FileError
from cryopipe.files.chimerax import Cluster, write_chimerax_script
from cryopipe.files.mrc import open_volume, read_header, write_volume
from cryopipe.files.opening import open_tomogram
from cryopipe.files.zarr_volumes import ZarrVolume, resolutions
from cryopipe.picking import PickOptions
from cryopipe.picking.tomogram_picks import pick_tomogram
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.tomograms import Tomogram, read_tomogram_table

zarr = pytest.importorskip("zarr")
VOLUME = np.random.default_rng(1).normal(size=(30, 50, 70)).astype(np.float32)


def write_zarr(
    path: Path, volume: NDArray[Any], voxel_size: float, version: int = 2, levels: int = 2
) -> Path:
    """Write an OME-Zarr volume of version 0.4 (Zarr 2) or 0.5 (Zarr 3), each resolution half the one before."""
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    datasets = []
    for level in range(levels):
        part = volume[:: 2**level, :: 2**level, :: 2**level]
        array = group.create_array(str(level), shape=part.shape, chunks=(16, 24, 32), dtype=part.dtype)
        array[:] = part
        scale = [voxel_size * 2**level] * 3
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    described = [{"axes": axes, "datasets": datasets, "version": "0.4"}]
    group.attrs.update({"multiscales": described} if version == 2 else {"ome": {"multiscales": described}})
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zarr(tmp_path_factory.mktemp("zarr") / "a.zarr", VOLUME, 10.0)


@pytest.mark.parametrize("version", [2, 3])
def test_shape_voxel_size_and_resolutions(tmp_path: Path, version: int) -> None:
    path = write_zarr(tmp_path / "a.zarr", VOLUME, 7.5, version)
    header = read_header(path)
    assert (header.shape_zyx, header.voxel_size, header.dtype) == ((30, 50, 70), 7.5, np.float32)
    assert resolutions(path) == [(path / "0", 7.5), (path / "1", 15.0)]
    assert read_header(path / "1").voxel_size == 15.0
    np.testing.assert_array_equal(open_volume(path / "1"), VOLUME[::2, ::2, ::2])


INDEX = st.one_of(
    st.integers(-30, 29), st.slices(30).filter(lambda one: (one.step or 1) > 0), st.just(slice(None))
)


@given(st.lists(INDEX, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_it_is_indexed_like_an_array(stored: Path, keys: list[Any]) -> None:
    volume = open_volume(stored)
    np.testing.assert_array_equal(volume[tuple(keys)], VOLUME[tuple(keys)])
    np.testing.assert_array_equal(volume[..., keys[-1]], VOLUME[..., keys[-1]])


def test_few_chunks_are_kept(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryopipe.files.zarr_volumes.CACHE_BYTES", 3 * 16 * 24 * 32 * 4)
    volume = ZarrVolume(zarr.open(str(stored / "0"), mode="r"))
    np.testing.assert_array_equal(volume[:], VOLUME)
    assert len(volume._cache) == 3


def test_picks_boxes_and_checks_are_those_of_an_mrc_file(stored: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", VOLUME, 10.0)
    both = [Tomogram("a", str(stored)), Tomogram("a", str(tmp_path / "a.mrc"))]
    opened = [open_tomogram(tomogram) for tomogram in both]
    checks = [check_tomogram(tomogram) for tomogram in both]
    assert [finding.problem for finding in checks[0].findings] == [
        finding.problem for finding in checks[1].findings
    ]
    options = PickOptions(diameters=[80], threshold=2)
    picks = [pick_tomogram(one, two, options) for one, two in zip(both, opened, strict=True)]
    assert len(picks[0]) > 5
    coordinates = [table[list(COORDINATES)].to_numpy() for table in picks]
    np.testing.assert_array_equal(coordinates[0], coordinates[1])
    sizes = SubtomogramOptions(box_size=12, voxel_size=12)
    boxes = [
        np.concatenate([some for _, some in extract_subtomograms(one.volume, coordinates[0], 10.0, sizes, "dark", np.random.default_rng(1))])
        for one in opened
    ]  # fmt: skip
    np.testing.assert_array_equal(boxes[0], boxes[1])


def test_the_script_for_chimerax_does_not_open_it(stored: Path, tmp_path: Path) -> None:
    script = tmp_path / "a.cxc"
    write_chimerax_script(script, stored, tmp_path / "d.mrc", tmp_path / "l.mrc", 10, 1, [Cluster(1, 5)])
    lines = script.read_text().splitlines()
    assert [line for line in lines if line.startswith("open")] == ['open "d.mrc" id 2', 'open "l.mrc" id 3']
    assert not any("#1 " in line for line in lines)
    assert any(line.startswith("# the tomogram, OME-Zarr, is not opened: ") for line in lines)


def init(*arguments: object) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["init", *(str(argument) for argument in arguments)])
    assert not caught.value.code


def test_init_takes_one_volume_of_each_run_of_a_copick_project(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for run in ("16191", "TS_5.4"):
        folder = tmp_path / "data" / "ExperimentRuns" / run
        write_zarr(folder / "VoxelSpacing7.000" / "wbp.zarr", VOLUME, 7.0)
        write_zarr(folder / "VoxelSpacing7.000" / "denoised.zarr", VOLUME, 7.0)
    config = {
        "config_type": "filesystem",
        "static_root": f"local://{tmp_path}/data",
        "overlay_root": "local:///none",
    }
    (tmp_path / "copick.json").write_text(json.dumps(config))
    for source, option, name in (
        (tmp_path / "copick.json", [], "wbp"),
        (tmp_path / "data", ["--denoised"], "denoised"),
    ):
        dataset = tmp_path / f"dataset_{name}"
        init(dataset, source, *option)
        rows = read_tomogram_table(dataset / "config" / "tomograms.tsv")
        assert list(rows) == ["16191", "TS_5_4"]
        folder = tmp_path / "data" / "ExperimentRuns" / "TS_5.4" / "VoxelSpacing7.000"
        assert rows["TS_5_4"].path == str(folder / f"{name}.zarr" / "1")  # 14 A is nearer to 13 A than 7 A
        assert rows["TS_5_4"].exported_name == "TS_5.4"
        assert "Export: formats copick\n" in capsys.readouterr().out


def test_what_is_no_volume_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    with pytest.raises(
        FileError, match=r"a\.zarr: is not an OME-Zarr volume: it has no multiscales; give the folder"
    ):
        read_header(tmp_path / "a.zarr")
    group.create_array("image", shape=(5, 5), dtype="f4")
    with pytest.raises(FileError, match=r"is an array of shape \(5, 5\) and type float32, not a volume"):
        read_header(tmp_path / "a.zarr" / "image")
    (tmp_path / "copick.json").write_text(json.dumps({"static_root": "s3://bucket/data"}))
    with pytest.raises(
        FileError, match="names no folder on this machine with ExperimentRuns, but s3://bucket/data"
    ):
        importlib.import_module("cryopipe.files.projects").read_project(tmp_path / "copick.json")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(
        FileError, match=r"the package zarr is not installed; install it: pip install 'cryopipe\[zarr\]'"
    ):
        read_header(tmp_path / "a.zarr")
