"""Molecules of known mass in copies of tomograms, and the detection limit."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.spatial import cKDTree

from benchmarks.believe_pictures import examples
from cryopipe import columns
from cryopipe.cli import main
from cryopipe.evidence.added_molecules import Imaging, add_particles, imaged, protein_contrast, spike_phantoms
from cryopipe.evidence.detection_limit import detection_table
from cryopipe.evidence.spike_dataset import contrast_to_noise, noise_of
from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.star import read_particles, write_particles
from cryopipe.files.tables import write_table
from cryopipe.particles import pick_table
from cryopipe.report.detection_chart import detection_chart
from cryopipe.simulation.assemblies import PROTEIN_DENSITY
from cryopipe.simulation.optics import Optics
from cryopipe.simulation.tomogram import SPECIES
from cryopipe.tomograms import Tomogram, read_tomogram_table

VOXEL = 14.0
WHOLE = Imaging((-90.0, 90.0), None, 1.0)


@pytest.mark.parametrize("mass", [50e3, 150e3, 4e6])
def test_a_phantom_has_the_mass_of_its_density(mass: float) -> None:
    (one,) = spike_phantoms([mass], VOXEL, 1)
    assert float(one.density.sum()) * VOXEL**3 * PROTEIN_DENSITY == pytest.approx(mass, rel=0.02)
    assert one.name == f"spike_{mass / 1e3:g}kDa"
    # the bounding sphere contains the volume
    assert 4 / 3 * math.pi * one.radius**3 > mass / PROTEIN_DENSITY


def test_particles_are_imaged_with_the_wedge_and_the_transfer_function_of_the_tomogram() -> None:
    noise = torch.randn(1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    shown = imaged(noise, VOXEL, Imaging((-60.0, 40.0), None, 1.0))[0]
    power = torch.fft.fftn(shown).abs().square().numpy()
    # along the beam nothing is measured, along the tilt axis and across everything
    assert power[5, 0, 0] < 1e-6 < power[0, 5, 0]
    assert power[0, 0, 5] > 1e-6
    # the tilt axis x: the missing wedge contains frequencies about z, and y is across
    about_x = imaged(noise, VOXEL, Imaging((-60.0, 40.0, 1.0), None, 1.0))[0]
    power_x = torch.fft.fftn(about_x).abs().square().numpy()
    assert not np.allclose(power > 1e-6, power_x > 1e-6)
    optics = Optics(300, 2.7, 0.07, 4.0)
    transferred = torch.fft.fftn(imaged(noise, VOXEL, Imaging((-90.0, 90.0), optics, 1.0))[0])
    ratio = (transferred / torch.fft.fftn(noise[0])).real[0, 0]
    assert ratio[0] == pytest.approx(0.07, abs=1e-4)
    frequency = torch.fft.fftfreq(32)[6] / VOXEL
    expected = math.sin(math.pi * 0.01969 * 4e4 * float(frequency) ** 2 + math.asin(0.07))
    assert float(ratio[6]) == pytest.approx(expected, abs=0.01)


def occupied_table(places: np.ndarray, diameter: float = 200.0) -> pd.DataFrame:
    count = len(places)
    return pick_table("a", "a.mrc", places, VOXEL, np.ones(count), np.full(count, diameter))


def test_molecules_lie_where_nothing_else_does() -> None:
    rng = np.random.default_rng(1)
    volume = rng.normal(0, 1, (60, 100, 120)).astype(np.float32)
    volume[:, :, :20] = 0  # padding
    mask = np.ones(volume.shape, np.int8)
    mask[:, 80:] = 0
    picks = occupied_table(rng.uniform([20, 0, 0], [119, 79, 59], (25, 3)))
    phantoms = spike_phantoms([150e3, 500e3], VOXEL, 1)
    before = volume.copy()
    made, truth = add_particles(
        "a", volume, VOXEL, mask, picks, phantoms, [20, 20], Imaging((-60.0, 60.0), None, -3.0), 1
    )
    assert (volume == before).all()
    assert truth[SPECIES].value_counts().to_dict()["spike_150kDa"] == 20
    places = truth[list(columns.COORDINATES)].to_numpy()
    radii = truth[columns.DIAMETER].to_numpy() / 2 / VOXEL
    assert (places >= radii[:, None]).all()
    assert (places[:, 0] - radii >= 19).all()
    assert (places[:, 1] + radii <= 80.5).all()
    distance, nearest = cKDTree(places).query(places, k=2)
    assert (distance[:, 1] >= radii + radii[nearest[:, 1]]).all()
    centres = picks[list(columns.COORDINATES)].to_numpy()
    for place, radius in zip(places, radii, strict=True):
        assert (np.linalg.norm(centres - place, axis=1) >= radius + 100 / VOXEL).all()
    # dark molecules, and the volume elsewhere unchanged but for tails
    added = made - before
    z, y, x = np.rint(places[:, ::-1]).astype(int).T
    assert (added[z, y, x] < -0.5).mean() > 0.9
    again, _ = add_particles(
        "a", volume, VOXEL, mask, picks, phantoms, [20, 20], Imaging((-60.0, 60.0), None, -3.0), 1
    )
    assert (again == made).all()


@pytest.mark.parametrize("defocus", [None, 3.0])
def test_the_contrast_of_particles_in_the_tomogram_is_measured(defocus: float | None) -> None:
    rng = np.random.default_rng(2)
    optics = None if defocus is None else Optics(300, 2.7, 0.07, defocus)
    imaging = Imaging((-60.0, 60.0), optics, -4.0)
    noise = rng.normal(100, 2, (80, 160, 160)).astype(np.float32)
    (solid,) = spike_phantoms([2.5e6], VOXEL, 1)
    # a molecule without gaps: a ball of the same mass
    radius = (3 * 2.5e6 / PROTEIN_DENSITY / 4 / math.pi) ** (1 / 3)
    axes = (np.indices(solid.density.shape) - solid.density.shape[0] // 2) * VOXEL
    ball = (np.sqrt((axes**2).sum(axis=0)) <= radius).astype(np.float32)
    one = type(solid)(ball, VOXEL, solid.resolution, radius, "C1", 2.5e6, "ball")
    made, truth = add_particles(
        "a", noise, VOXEL, None, occupied_table(np.zeros((0, 3))), [one], [25], imaging, 1
    )
    places = truth[list(columns.COORDINATES)].to_numpy()
    diameters = np.full(len(places), 2 * radius)
    assert len(places) >= 15
    measured = protein_contrast(made, VOXEL, places, diameters, imaging)
    assert measured == pytest.approx(-4.0, rel=0.15)
    assert math.isnan(protein_contrast(made, VOXEL, places[:5], diameters[:5], imaging))
    assert noise_of(noise) == pytest.approx(2, rel=0.02)


def test_more_dose_and_coarser_voxels_show_protein_better() -> None:
    usual = contrast_to_noise(13.33, Tomogram("a", "a.mrc"))
    # the noise of white images is that of the integral over all frequencies
    assert usual == pytest.approx(
        2 * 6.53e-4 * 2 / math.sqrt(math.pi * math.radians(120) / 120 * 0.0375**4), rel=0.01
    )
    assert contrast_to_noise(13.33, Tomogram("a", "a.mrc", dose=480.0)) == pytest.approx(2 * usual)
    assert contrast_to_noise(26.66, Tomogram("a", "a.mrc")) == pytest.approx(4 * usual)


def dataset(folder: Path) -> Path:
    """A dataset of two tomograms with picks, as after a run."""
    rng = np.random.default_rng(3)
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text(
        yaml.safe_dump({"seed": 4, "features": {"weights": "own/w.safetensors"}})
    )
    (folder / "own").mkdir()
    (folder / "own" / "w.safetensors").touch()
    rows = ["tomogram\tpath\tdefocus\ttilt_axis"]
    for name in ("a", "b"):
        write_volume(folder / f"{name}.mrc", rng.normal(0, 1, (48, 96, 96)).astype(np.float32), VOXEL)
        rows.append(f"{name}\t{name}.mrc\t4\t-x")
        picks = occupied_table(rng.uniform(10, 38, (6, 3))).assign(**{columns.TOMOGRAM: name})
        write_particles(folder / "results" / "picks" / f"{name}.star", picks)
    (folder / "config" / "tomograms.tsv").write_text("\n".join(rows) + "\n")
    return folder


def state(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_command_writes_a_dataset_of_its_own_and_leaves_the_first_one_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = dataset(tmp_path / "mine")
    before = state(mine)
    with pytest.raises(SystemExit) as ended:
        main(["spike", str(mine), str(tmp_path / "new"), "--mass", "150", "--mass", "1000", "--copies", "11"])
    assert not ended.value.code
    assert state(mine) == before
    new = tmp_path / "new"
    truth = read_particles(new / "truth.star")
    assert truth[SPECIES].value_counts().to_dict() == {"spike_150kDa": 11, "spike_1000kDa": 11}
    assert truth[columns.TOMOGRAM].value_counts().to_dict() == {"a": 12, "b": 10}
    table = read_tomogram_table(new / "config" / "tomograms.tsv")
    assert (table["a"].defocus, table["a"].tilt_axis) == (4.0, "-x")
    assert open_volume(table["a"].path).shape == (48, 96, 96)
    config = yaml.safe_load((new / "config" / "config.yaml").read_text())
    assert config["evaluation"] == {"truth": "truth.star", "maps": "maps"}
    assert config["features"]["weights"] == str(mine / "own" / "w.safetensors")
    assert sorted(path.name for path in (new / "maps").iterdir()) == ["spike_1000kDa.mrc", "spike_150kDa.mrc"]
    assert pd.read_csv(new / "spike.tsv", sep="\t")["measured_on"].tolist() == ["dose", "dose"]
    capsys.readouterr()
    for arguments, message in (
        ([str(mine), str(new)], f"{new}: exists; name a new directory"),
        (
            [str(mine), str(tmp_path / "x"), "--mass", "20"],
            "masses [20.0] kDa; give masses from 50 to 5,000 kDa",
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["spike", *arguments])
        assert ended.value.code == 1
        assert capsys.readouterr().err == f"Error: {message}\n"
    (mine / "results" / "picks" / "b.star").unlink()
    with pytest.raises(SystemExit):
        main(["spike", str(mine), str(tmp_path / "x")])
    assert capsys.readouterr().err == (
        f"Error: {mine}: has no picks of tomogram b, so that free places are unknown; run the workflow in it first\n"
    )
    assert not (tmp_path / "x").exists()


def test_the_detection_limit_is_that_of_the_best_cluster_of_each_molecule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["spike_50kDa"] * 30 + ["spike_500kDa"] * 30 + ["own_map"] * 5
    truth = pd.DataFrame(
        {columns.TOMOGRAM: "a", columns.PARTICLE: [f"a/{n}" for n in range(65)], SPECIES: names}
    )
    picking = pd.DataFrame(
        {
            "tomogram": "all",
            "class": ["all", "spike_50kDa", "spike_500kDa", "own_map"],
            "recall": [0.5, 0.1, 0.9, 0.2],
        }
    )
    averages = pd.DataFrame(
        {
            "cluster": [1, 2],
            "class": ["spike_500kDa", "spike_500kDa"],
            "matched": [20, 4],
            "recall": [20 / 30, 4 / 30],
            "precision": [0.8, 0.5],
            "map_resolution": [31.0, np.nan],
        }
    )
    found = detection_table(truth, picking, averages).set_index("species")
    assert found.loc["spike_500kDa", ["mass", "copies", "picked", "cluster"]].tolist() == [5e5, 30, 0.9, 1]
    assert found.loc["spike_500kDa", ["recall", "purity", "resolution"]].tolist() == pytest.approx(
        [2 / 3, 0.8, 31.0]
    )
    assert found.loc["spike_50kDa", ["mass", "recall", "cluster"]].tolist() == [5e4, 0, 0]
    assert math.isnan(found.loc["own_map", "mass"])
    folder = tmp_path / "spiked"
    write_particles(folder / "truth.star", truth)
    write_table(folder / "results" / "evaluation" / "picking.tsv", picking)
    write_table(folder / "results" / "evaluation" / "averages.tsv", averages)
    with pytest.raises(SystemExit) as ended:
        main(["detection-limit", str(folder), "--output", str(tmp_path / "limit.tsv")])
    assert not ended.value.code
    assert "spike_500kDa" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "limit.tsv", sep="\t")
    assert written["dataset"].unique().tolist() == [str(folder)]
    assert (tmp_path / "limit.png").is_file()
    assert detection_chart(written).width > 900


def test_the_pictures_of_right_and_wrong_classes_show_what_their_captions_say() -> None:
    maps = examples(count=30)
    # noise of one orientation is missing in the wedge, that of all orientations is not
    powers = {name: np.abs(np.fft.fftn(one)) ** 2 for name, one in maps.items()}
    wedge = (slice(8, 16), 0, slice(0, 3))
    assert powers["one orientation"][wedge].mean() < 0.2 * powers["a particle"][wedge].mean()
    middle = (slice(16, 24),) * 3
    noise = maps["picked noise"]
    assert noise[middle].mean() > noise.mean() + 3 * noise[:8].std()
    assert maps["a membrane"][20, 2, 16:24].max() > 0.3
    assert np.corrcoef(maps["a particle"].ravel(), maps["two species"].ravel())[0, 1] < 0.97
