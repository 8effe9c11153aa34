"""What `cryopipe view` opens, and the layers that napari shows."""

from __future__ import annotations

import re
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryopipe import columns
from cryopipe.cli import main
from cryopipe.export.model_files import _imod_colour
from cryopipe.export.napari_layers import contrast_limits, napari_layers
from cryopipe.export.point_files import _copick_object
from cryopipe.files.chimerax import Marker, ParticleList, write_artiax_script, write_markers
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles
from cryopipe.palette import PICK_COLOUR, UNASSIGNED_COLOUR, cluster_colour, cluster_rgb
from cryopipe.particles import pose_columns

SHAPE = (10, 30, 40)


def table(*clusters: int, shift: float = 0.0) -> pd.DataFrame:
    count = len(clusters)
    position = np.arange(count, dtype=float)
    coordinates = {name: position + 10 * axis for axis, name in enumerate(columns.COORDINATES)}
    names = [f"a/{n}" for n in range(count)]
    found = pd.DataFrame(
        {columns.PARTICLE: names, columns.TOMOGRAM: "a", **coordinates, columns.VOXEL_SIZE: 10.0,
         columns.DIAMETER: 150.0, columns.PICK_SCORE: 5.0}
    )  # fmt: skip
    if any(clusters):
        found = found.assign(**{columns.CLASS: list(clusters), columns.POSTERIOR: 0.9})
        found = found.assign(**pose_columns(None, np.full((count, 3), shift)))
    return found


def volume() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)


def test_layers_have_places_sizes_and_the_colours_of_the_report() -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[2, 3, 4], labels[5, 6, 7] = 1, 9
    layers = napari_layers("a", volume(), 10.0, table(0, 0, 0), table(1, 9, 0, shift=20.0), labels)
    names = {layer.options["name"]: layer for layer in layers}
    assert list(names) == ["a", "averages", "picks", "cluster 1", "cluster 9", "unassigned"]
    assert {layer.options["scale"] for layer in layers} == {(1.0, 1.0, 1.0)}
    picks = names["picks"]
    # zyx, voxels: the second pick is at x 1, y 11, z 21
    assert picks.data[1].tolist() == [21, 11, 1]
    assert picks.options["size"].tolist() == [15, 15, 15]
    assert not picks.options["visible"]
    # aligned: 20 angstrom are two voxels
    assert names["cluster 9"].data.tolist() == [[23, 13, 3]]
    colours = {name: layer.options.get("border_color") for name, layer in names.items()}
    assert colours == {
        **{"a": None, "averages": None, "picks": PICK_COLOUR, "unassigned": UNASSIGNED_COLOUR},
        **{"cluster 1": cluster_colour(1), "cluster 9": cluster_colour(9)},
    }
    assert names["averages"].options["colormap"] == {
        **{None: "transparent", 0: "transparent", 1: cluster_colour(1), 9: cluster_colour(9)},
    }
    assert names["cluster 9"].options["features"][columns.PARTICLE].tolist() == ["a/1"]


def test_before_clustering_the_picks_are_shown() -> None:
    layers = napari_layers("a", volume(), 13.0, table(0, 0))
    assert [layer.options["name"] for layer in layers] == ["a", "picks"]
    assert layers[1].options["visible"]
    assert layers[0].options["scale"] == pytest.approx((1.3,) * 3)
    empty = napari_layers("a", volume(), 13.0, table(0)[:0], table(1)[:0])
    assert [layer.data.shape for layer in empty] == [SHAPE, (0, 3)]


def test_the_grey_scale_leaves_out_extremes() -> None:
    ramp = np.linspace(0, 100, 20 * 101).reshape(20, 101, 1).astype(np.float32)
    ramp[0, 0, 0] = 1e6
    low, high = contrast_limits(ramp)
    assert 0 < low < 5
    assert 95 < high < 101
    assert contrast_limits(np.full((4, 4, 4), 7, np.int8)) == (7.0, 8.0)


@pytest.mark.parametrize("cluster", [0, 1, 7, 8, 300])
def test_all_programs_show_a_cluster_in_one_colour(cluster: int, tmp_path: Path) -> None:
    wanted = [int(cluster_colour(cluster)[i : i + 2], 16) for i in (1, 3, 5)]
    assert list(cluster_rgb(cluster)) == wanted
    write_markers(tmp_path / "a.cmm", "a", [Marker((1.0, 2.0, 3.0), 4.0, cluster)])
    marker = re.search('r="(.*?)" g="(.*?)" b="(.*?)"', (tmp_path / "a.cmm").read_text())
    assert marker is not None
    assert [round(255 * float(value)) for value in marker.groups()] == wanted
    assert _copick_object("a", cluster, 1.0)["color"] == [*wanted, 255]
    assert _imod_colour(cluster) == pytest.approx([value / 255 for value in wanted])
    write_artiax_script(tmp_path / "a.cxc", tmp_path, "a.mrc", 10.0, [ParticleList("a.star", cluster, 50.0)])
    assert (tmp_path / "a.cxc").read_text().endswith(f" color {cluster_colour(cluster)}\n")
    layer = napari_layers(
        "a", volume(), 10.0, table(0), table(cluster or 1).assign(**{columns.CLASS: cluster})
    )[-1]
    assert layer.options["border_color"] == cluster_colour(cluster)


class StandIn:
    """The calls of napari that cryopipe makes."""

    def __init__(self) -> None:
        self.layers: list[tuple[str, Any, dict[str, Any]]] = []
        self.titles: list[str] = []
        self.points: list[tuple[int, float]] = []
        self.ran = False
        self.__spec__ = SimpleNamespace(name="napari")

    def Viewer(self, title: str) -> Any:
        self.titles.append(title)
        add = {
            f"add_{kind}": lambda data, kind=kind, **options: self.layers.append((kind, data, options))
            for kind in ("image", "labels", "points")
        }
        return SimpleNamespace(
            **add, dims=SimpleNamespace(set_point=lambda axis, at: self.points.append((axis, at)))
        )

    def run(self) -> None:
        self.ran = True


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data set"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text("seed: 1\n")
    (folder / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\nb\tb.mrc\n")
    write_volume(folder / "a.mrc", volume(), 10.0)
    write_particles(folder / "results" / "picks" / "a.star", table(0, 0))
    return folder


def shown(monkeypatch: pytest.MonkeyPatch, napari: Any, display: str | None) -> list[str]:
    """The addresses that the browser opens from now on."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setitem(sys.modules, "napari", napari)
    return opened


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["view", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_tomogram_is_opened_in_napari(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    napari = StandIn()
    opened = shown(monkeypatch, napari, ":0")
    assert command(dataset) == 0
    assert capsys.readouterr().out == "a: picks\n"
    assert [kind for kind, _, _ in napari.layers] == ["image", "points"]
    assert napari.titles == ["a (cryopipe)"]
    assert napari.points == [(0, 20.5)]
    assert napari.ran
    np.testing.assert_array_equal(napari.layers[0][1], volume())
    write_particles(dataset / "results" / "clusters" / "particles.star", table(1, 2))
    write_volume(dataset / "results" / "reembedded" / "a_labels.mrc", np.ones(SHAPE, np.int16), 10.0)
    assert command(dataset / "results", "--tomogram", "a") == 0
    assert capsys.readouterr().out == "a: averages, picks, cluster 1, cluster 2\n"
    assert command(dataset, "--tomogram", "b") == 1
    assert capsys.readouterr().err == (
        f"Error: {dataset}/config/tomograms.tsv: tomogram 'b' has no picks; give one of a\n"
    )
    assert not opened


def test_without_napari_or_a_display_the_page_is_opened(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    opened = shown(monkeypatch, None, ":0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command(dataset) == 1
    assert "contains no report; run `snakemake --cores all report` there first" in capsys.readouterr().err
    progress = dataset / "results" / "report" / "progress.html"
    progress.parent.mkdir()
    progress.write_text("")
    assert command(dataset) == 0
    assert capsys.readouterr().out == f"{progress}\n"
    report = progress.with_name("report.html")
    report.write_text("")
    assert command(dataset, "--tomogram", "a") == 0
    output = capsys.readouterr()
    assert output.out == f"{report}\n"
    assert output.err == "napari is not installed: the report shows the sections of a\n"
    assert opened == [progress.as_uri(), report.as_uri()]
    napari = StandIn()
    opened = shown(monkeypatch, napari, None)
    assert command(report) == 0
    assert capsys.readouterr().out == f"{report}\n"
    opened = shown(monkeypatch, napari, ":0")
    assert command(dataset, "--page") == 0
    assert opened == [report.as_uri()]
    assert not napari.layers
    (dataset / "results" / "arrivals").mkdir()
    (dataset / "results" / "arrivals" / "b.tsv").write_text("cluster\tparticles\n1\t9\n")
    capsys.readouterr()
    assert command(dataset, "--page") == 0
    assert capsys.readouterr().err == (
        f"without 1 tomogram that arrived later: see {progress}, or run `cryopipe watch --anew`\n"
    )
