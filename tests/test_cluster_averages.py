"""The files of a cluster's average: names, what is read, what is refused; and the cluster's colour."""

from __future__ import annotations

import math
import re
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.files.chimerax import Cluster, write_chimerax_script
from cryopipe.files.cluster_averages import (
    RESOLUTION,
    average_files,
    cluster_name,
    cluster_number,
    read_average,
    read_averages,
    read_maps,
)
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles, write_star
from cryopipe.palette import COLOURS, cluster_colour


def volume(value: float) -> np.ndarray:
    return np.full((4, 4, 4), value, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 12, 103):
        for part, value in (("", 0), ("_half1", 100), ("_half2", 200)):
            write_volume(tmp_path / f"{cluster_name(number)}{part}.mrc", volume(value + number), 13.5)
    write_star(
        tmp_path / "cluster_12_fsc.star",
        {"general": {RESOLUTION: 24.5}, "fsc": pd.DataFrame({"rlnResolution": [0.0, 0.01]})},
    )
    write_particles(tmp_path / "cluster_12.star", pd.DataFrame({columns.PARTICLE: ["a/1", "a/2"]}))
    return tmp_path


def test_averages_are_read_with_what_stands_beside_them(folder: Path) -> None:
    averages = read_averages(average_files(folder), half_maps=True)
    assert sorted(averages) == [1, 12, 103]
    full = averages[12]
    assert full.volume.tolist() == volume(12).tolist()
    assert [half[0, 0, 0] for half in full.half_maps or ()] == [112, 212]
    assert (full.voxel_size, full.resolution) == (13.5, 24.5)
    assert full.particles[columns.PARTICLE].tolist() == ["a/1", "a/2"]
    assert len(full.fsc) == 2
    assert averages[1].resolution == math.inf
    assert averages[1].particles.empty
    assert averages[1].fsc.empty
    plain = read_average(folder / "cluster_12.mrc", tables=False)
    assert plain.particles.empty
    assert plain.half_maps is None


def test_names_of_other_files_are_refused(tmp_path: Path) -> None:
    assert [cluster_number(f"x/{cluster_name(n)}.mrc") for n in (0, 7, 99, 100)] == [0, 7, 99, 100]
    for name in ("cluster_01_half1.mrc", "cluster_.mrc", "ribosome.mrc"):
        with pytest.raises(
            DataError, match=f"{name}: is not the average of a cluster; name the file cluster_NN"
        ):
            cluster_number(tmp_path / name)


def test_an_average_without_a_voxel_size_is_refused(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "cluster_01.mrc") as file:
        file.set_data(volume(1))
    with pytest.raises(
        DataError, match=r"cluster_01.mrc: has no voxel size; write the voxel size to the file"
    ):
        read_average(tmp_path / "cluster_01.mrc")


def test_the_maps_of_a_directory_have_the_names_of_their_files(tmp_path: Path) -> None:
    write_volume(tmp_path / "b.mrc", volume(2), 10)
    write_volume(tmp_path / "a.1.mrc", volume(1), 13.5)
    (tmp_path / "notes.txt").write_text("")
    found = read_maps(tmp_path)
    assert [(name, values.max(), size) for name, (values, size) in found.items()] == [
        ("a.1", 1, 13.5),
        ("b", 2, 10),
    ]


def test_chimerax_shows_clusters_in_the_colours_of_the_report(tmp_path: Path) -> None:
    numbers = range(1, len(COLOURS) + 3)
    write_chimerax_script(
        tmp_path / "t.cxc", "t.mrc", "d.mrc", "l.mrc", 10, 1, [Cluster(n, 1) for n in numbers]
    )
    text = (tmp_path / "t.cxc").read_text()
    shown = dict(re.findall(r"volume #(\d+) style surface region all step 1 .* color (#\w{6})", text))
    assert shown == {str(10 + n): cluster_colour(n) for n in numbers}
