"""Averages are placed where their particles are: to a fraction of a voxel, rotated the right way, never mirrored."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from asymmetric import CENTRES, WEIGHTS, asymmetric_map
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.config import CHECKOUT
from cryopipe.errors import DataError
from cryopipe.files.chimerax import Cluster, cluster_colour, quoted, write_chimerax_script
from cryopipe.files.mrc import open_volume, read_header, write_volume
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.particles import poses_of_table
from cryopipe.reembedding import (
    ReembeddingOptions,
    Template,
    artiax_table,
    choose_particles,
    make_template,
    reembed,
)
from cryopipe.tomograms import Tomogram
from cryopipe.volume.geometry import relion_angles

SHAPE = (44, 52, 60)
BOX, VOXEL_SIZE = 28, 10.0


def particle_table(
    positions: np.ndarray,
    rotations: Rotation,
    clusters: list[int] | None = None,
    scores: list[float] | None = None,
    voxel_size: float = VOXEL_SIZE,
) -> pd.DataFrame:
    """Particles at true positions x, y, z: whole coordinates, the rest as a shift."""
    count = len(positions)
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: ["ts"] * count,
            columns.PARTICLE: [f"ts/{i + 1}" for i in range(count)],
            columns.CLASS: clusters or [1] * count,
            columns.ALIGNMENT_SCORE: scores or [0.5] * count,
            columns.VOXEL_SIZE: [voxel_size] * count,
        }
    )
    whole = np.rint(positions + 0.7)
    angles = relion_angles(rotations)
    for axis in range(3):
        table[columns.COORDINATES[axis]] = whole[:, axis]
        table[columns.ORIGINS[axis]] = -(positions - whole)[:, axis] * voxel_size
        table[columns.ANGLES[axis]] = angles[:, axis]
    return table


def exact_density(positions: np.ndarray, rotations: Rotation, scale: float = 1.0) -> np.ndarray:
    """The phantom's balls drawn at their true places in the tomogram; nothing is interpolated."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    volume = np.zeros(SHAPE)
    for position, rotation in zip(positions, rotations, strict=True):
        for centre, weight in zip(position + rotation.apply(CENTRES * scale), WEIGHTS, strict=True):
            squared = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
            volume += weight * np.exp(-squared / (2 * (1.6 * scale) ** 2))
    return volume


def raw_template() -> Template:
    """The phantom as it is, so that the placed density can be compared value by value."""
    return Template(asymmetric_map(BOX).float().numpy(), 0.3)


POSITIONS = np.array([[18.3, 17.6, 20.1], [42.7, 33.2, 23.45]])
ROTATIONS = Rotation.from_euler("ZYZ", [[30, 60, -75], [-140, 110, 20]], degrees=True)


def test_density_lies_where_the_particles_are() -> None:
    placed = reembed(SHAPE, {1: raw_template()}, particle_table(POSITIONS, ROTATIONS))
    exact = exact_density(POSITIONS, ROTATIONS)
    assert np.abs(placed.density - exact).max() < 0.03 * exact.max()
    for wrong in (
        exact_density(POSITIONS + np.array([0.5, 0, 0]), ROTATIONS),
        exact_density(POSITIONS - np.array([0, 0, 0.25]), ROTATIONS),
        exact_density(POSITIONS, ROTATIONS.inv()),
        exact_density(POSITIONS, ROTATIONS)[::-1],
    ):
        assert np.abs(placed.density - wrong).max() > 0.06 * exact.max()


def test_a_mirrored_average_would_be_seen() -> None:
    mirrored = Template(torch.roll(asymmetric_map(BOX).float().flip(2), 1, 2).numpy(), 0.3)
    placed = reembed(SHAPE, {1: mirrored}, particle_table(POSITIONS, ROTATIONS))
    exact = exact_density(POSITIONS, ROTATIONS)
    assert np.abs(placed.density - exact).max() > 0.5 * exact.max()


def test_labels_are_the_thresholded_density() -> None:
    placed = reembed(SHAPE, {3: raw_template()}, particle_table(POSITIONS, ROTATIONS, [3, 3]))
    exact = exact_density(POSITIONS, ROTATIONS) > 0.3
    assert placed.labels.dtype == np.int16
    assert set(np.unique(placed.labels)) == {0, 3}
    assert (exact != (placed.labels == 3)).sum() < 0.03 * exact.sum()
    assert placed.placements["voxels"].sum() == (placed.labels == 3).sum()
    assert (placed.placements[["lost_voxels", "outside_voxels"]] == 0).all(axis=None)


@pytest.mark.parametrize("tomogram_voxel_size", [10.0, 14.0, 7.3])
def test_averages_of_another_voxel_size_keep_their_size_and_centre(tomogram_voxel_size: float) -> None:
    scale = VOXEL_SIZE / tomogram_voxel_size
    template = make_template(
        asymmetric_map(BOX), VOXEL_SIZE, tomogram_voxel_size, ReembeddingOptions(sigma=1)
    )
    positions = np.array([[29.4, 26.3, 21.8]])
    rotations = Rotation.from_euler("ZYZ", [[30, 60, -75]], degrees=True)
    table = particle_table(positions, rotations, voxel_size=tomogram_voxel_size)
    placed = reembed(SHAPE, {1: template}, table).density
    exact = exact_density(positions, rotations, scale)
    inside = placed > template.level
    assert np.corrcoef(placed[inside], exact[inside])[0, 1] > 0.995
    axes = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    for axis in axes:
        ours, true = ((axis * v).sum() / v.sum() for v in (placed * inside, exact * inside))
        assert ours == pytest.approx(true, abs=0.15)


def test_template_is_cleaned_and_its_level_follows_the_rule() -> None:
    rng = np.random.default_rng(0)
    average = asymmetric_map(BOX) * 5 + torch.from_numpy(rng.normal(3, 0.05, (BOX,) * 3))
    template = make_template(average, VOXEL_SIZE, VOXEL_SIZE, ReembeddingOptions(sigma=1.5))
    assert template.level == 1.5
    assert template.volume[0, 0, 0] == 0
    tight = make_template(average, VOXEL_SIZE, VOXEL_SIZE, ReembeddingOptions("mass", mass_fraction=0.2))
    loose = make_template(average, VOXEL_SIZE, VOXEL_SIZE, ReembeddingOptions("mass", mass_fraction=0.6))
    assert 0 < (tight.volume > tight.level).sum() < (loose.volume > loose.level).sum()
    enclosed = np.sort(template.volume[template.volume > 0])[::-1]
    assert tight.level == pytest.approx(float(enclosed[int((tight.volume > tight.level).sum()) - 1]), rel=0.1)


def test_a_small_structure_in_a_large_box_makes_a_small_template() -> None:
    small = make_template(asymmetric_map(28), VOXEL_SIZE, VOXEL_SIZE, ReembeddingOptions())
    large = make_template(asymmetric_map(64), VOXEL_SIZE, VOXEL_SIZE, ReembeddingOptions())
    size = large.volume.shape[0]
    assert size <= 28
    assert large.volume.shape == (size, size, size)
    centre = size // 2
    assert large.volume[centre, centre, centre] > 0
    table = particle_table(POSITIONS, ROTATIONS)
    placed = [reembed(SHAPE, {1: template}, table).density > template.level for template in (small, large)]
    # the emptier a box, the smaller its standard deviation: the level falls and the surface widens
    assert placed[0][~placed[1]].sum() == 0


def test_small_specks_are_not_part_of_the_structure() -> None:
    average = asymmetric_map(BOX, width=2.5)
    average[BOX // 2, BOX // 2, 2] += 2 * average.max()
    template = make_template(average, VOXEL_SIZE, VOXEL_SIZE, ReembeddingOptions())
    size = template.volume.shape[0]
    speck = size // 2 - BOX // 2 + 2
    assert speck < 0 or template.volume[size // 2, size // 2, speck] == 0
    assert size < BOX


@pytest.mark.parametrize(
    ("average", "sigma", "message"),
    [
        (
            torch.full((16, 16, 16), 5.0),
            2.0,
            "an average is flat (standard deviation near 0): its particles are not placed",
        ),
        (
            asymmetric_map(16),
            50.0,
            "no voxel of an average exceeds 50 standard deviations: its particles are not placed",
        ),
    ],
)
def test_an_average_without_structure_gives_an_empty_template_and_a_warning(
    average: torch.Tensor, sigma: float, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    template = make_template(average, 10, 10, ReembeddingOptions(sigma=sigma))
    assert message in caplog.text
    placed = reembed(SHAPE, {1: template}, particle_table(POSITIONS, ROTATIONS))
    assert not placed.labels.any()
    assert placed.placements["voxels"].tolist() == [0, 0]


def test_the_better_score_keeps_shared_voxels_and_the_loss_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    positions = np.array([[25.0, 25.0, 22.0], [27.0, 25.0, 22.0]])
    rotations = Rotation.identity(2)
    alone = reembed(SHAPE, {1: raw_template()}, particle_table(positions[1:], rotations[1:]))
    table = particle_table(positions, rotations, [1, 2], [0.2, 0.9])
    both = reembed(SHAPE, {1: raw_template(), 2: raw_template()}, table)
    assert ((both.labels == 2) == (alone.labels == 1)).all()
    first, second = both.placements.to_dict("records")
    assert second["lost_voxels"] == 0
    assert first["lost_voxels"] > 0
    assert (
        f"1 of 2 particles overlap particles with better scores, which keep {first['lost_voxels']} of {both.placements['voxels'].sum()} voxels"
        in caplog.text
    )
    assert first["voxels"] - first["lost_voxels"] == (both.labels == 1).sum()
    swapped = reembed(SHAPE, {1: raw_template(), 2: raw_template()}, table.iloc[::-1])
    assert (swapped.labels == both.labels).all()
    np.testing.assert_array_equal(swapped.density, both.density)


def test_structures_across_the_border_are_cut_and_counted() -> None:
    positions = np.array([[0.0, 25.0, 22.0], [25.0, 51.0, 22.0], [500.0, 25.0, 22.0]])
    placed = reembed(SHAPE, {1: raw_template()}, particle_table(positions, Rotation.identity(3)))
    whole = int((raw_template().volume > 0.3).sum())
    totals = placed.placements["voxels"] + placed.placements["outside_voxels"]
    assert totals.tolist() == [whole] * 3
    assert placed.placements["voxels"].tolist()[2] == 0
    assert 0 < placed.placements["voxels"][0] < whole


def test_no_particles_leave_an_empty_tomogram() -> None:
    nothing = pd.DataFrame(columns=[columns.PARTICLE, columns.CLASS])
    chosen = choose_particles([nothing], "ts", ReembeddingOptions())
    placed = reembed(SHAPE, {}, chosen)
    assert not placed.density.any()
    assert not placed.labels.any()
    assert len(placed.placements) == 0
    assert len(artiax_table(chosen, {})) == 0


def test_particles_are_chosen_by_tomogram_and_by_whether_they_were_kept() -> None:
    table = particle_table(POSITIONS, ROTATIONS).assign(**{columns.ALIGNMENT_KEPT: [1, 0]})
    other = table.assign(**{columns.TOMOGRAM: "other"})
    kept = choose_particles([other, table], "ts", ReembeddingOptions())
    assert kept[columns.PARTICLE].tolist() == ["ts/1"]
    every = choose_particles([other, table], "ts", ReembeddingOptions(particles="all"))
    assert every[columns.PARTICLE].tolist() == ["ts/1", "ts/2"]


def test_positions_and_rotations_of_a_table() -> None:
    positions, rotations = poses_of_table(particle_table(POSITIONS, ROTATIONS, voxel_size=7.5))
    np.testing.assert_allclose(positions, POSITIONS, atol=1e-9)
    np.testing.assert_allclose(rotations.as_matrix(), ROTATIONS.as_matrix(), atol=1e-9)


def test_artiax_list_has_true_positions_and_numbers() -> None:
    listed = artiax_table(particle_table(POSITIONS, ROTATIONS), {"ts": 7})
    assert listed[columns.TOMOGRAM].tolist() == ["tomo_7", "tomo_7"]
    np.testing.assert_allclose(listed[list(columns.COORDINATES)], POSITIONS, atol=1e-9)
    assert (listed[list(columns.ORIGINS)] == 0).all(axis=None)


@pytest.mark.parametrize("status", ["ok", "bad"])
def test_the_script_places_what_the_workflow_hands_it(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table("check.tsv", pd.DataFrame({"status": [status]}))
    table = particle_table(POSITIONS, ROTATIONS).assign(**{columns.ALIGNMENT_KEPT: 1})
    if status == "ok":
        write_volume("ts.mrc", np.zeros(SHAPE, dtype=np.int8), VOXEL_SIZE)
    else:
        table[columns.TOMOGRAM] = "other"
    write_particles("cluster_01.star", table)
    write_volume("cluster_01.mrc", asymmetric_map(BOX).numpy(), VOXEL_SIZE)
    names = ("density.mrc", "labels.mrc", "ts.cxc", "artiax.star", "placements.tsv")
    output = dict(zip(("density", "labels", "script", "artiax", "placements"), names, strict=True))
    job = SimpleNamespace(
        input=SimpleNamespace(check="check.tsv", particles=["cluster_01.star"], averages=["cluster_01.mrc"]),
        output=SimpleNamespace(**output),
        params=SimpleNamespace(
            tomogram=vars(Tomogram("ts", "ts.mrc", None, (-60, 60), "dark", None)), reembedding={"sigma": 1.0}
        ),
    )
    monkeypatch.setattr("cryopipe.job.run", lambda main, handed: main(handed))
    runpy.run_path(str(CHECKOUT / "scripts" / "reembed_averages.py"), {"snakemake": job})
    labels = open_volume("labels.mrc")
    if status == "ok":
        inside = exact_density(POSITIONS, ROTATIONS) > 0.5
        assert (labels[inside] == 1).mean() > 0.99
        assert read_header("density.mrc").voxel_size == VOXEL_SIZE
        assert len(read_table("placements.tsv")) == 2
        assert "cluster 01, 2 particles" in Path("ts.cxc").read_text()
    else:
        assert labels.shape == (1, 1, 1)
        assert len(read_table("placements.tsv")) == 0
    assert len(read_particles("artiax.star")) == (2 if status == "ok" else 0)


def test_chimerax_script_opens_everything_by_relative_and_quoted_names(tmp_path: Path) -> None:
    results = tmp_path / "results" / "reembedded"
    write_chimerax_script(
        results / "ts.cxc",
        tmp_path / "my data" / "it's; exit.mrc",
        results / "ts.mrc",
        results / "ts_labels.mrc",
        13.33,
        2.0,
        [Cluster(1, 20), Cluster(14, 3)],
    )
    lines = (results / "ts.cxc").read_text().splitlines()
    assert [line for line in lines if line.startswith("open ")] == [
        'open "../../my data/it\'s; exit.mrc" id 1',
        'open "ts.mrc" id 2',
        'open "ts_labels.mrc" id 3',
    ]
    assert "volume #1 voxelSize 13.33 originIndex 0,0,0 step 1" in lines
    coloured = [line for line in lines if "color #" in line and line.startswith(("volume #11", "volume #24"))]
    assert len(coloured) == 2
    assert cluster_colour(1) in coloured[0]
    assert "level 7.0" in coloured[1]
    assert str(tmp_path) not in "\n".join(lines)


@pytest.mark.parametrize("name", ["a\nb", "back\\slash", 'it\'s "both"', "tab\tin"])
def test_names_that_chimerax_cannot_be_told_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be used in a ChimeraX script; rename it without"):
        quoted(name)
    with pytest.raises(DataError, match="cannot be used in a ChimeraX script"):
        write_chimerax_script(tmp_path / "x.cxc", tmp_path / name, "a.mrc", "b.mrc", 10, 1, [])
    assert not (tmp_path / "x.cxc").exists()


def test_quotes_of_one_kind_are_put_into_the_other() -> None:
    assert quoted('say "x"; quit') == "'say \"x\"; quit'"
    assert quoted("it's") == '"it\'s"'
