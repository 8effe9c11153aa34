"""RELION 3.1 itself judges our files: it reconstructs from them what we put in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from asymmetric import asymmetric_map
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_cluster
from cryopipe.averaging.particle_table import particle_table
from cryopipe.config import ImagingOptions
from cryopipe.export import (
    ExportContext,
    ExportOptions,
    TomogramRecord,
    export_particles,
    gather_particles,
)
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.star import read_particles, read_star, write_star
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.volume.fsc import fourier_shell_correlation
from cryopipe.volume.geometry import relion_angles
from cryopipe.volume.masks import sphere_mask
from cryopipe.volume.wedge import wedge_mask

BOX, VOXEL_SIZE, SCALE = 32, 10.0, 1.5
CHECK = Path(__file__).resolve().parents[2] / "shared" / "check_relion.py"
TILT_RANGES = {"tomo_a": (-60.0, 60.0), "tomo_b": (-60.0, 60.0), "tomo_c": (-40.0, 60.0)}
PER_TOMOGRAM = 18
CELL = 40
PICK_COLUMNS = [
    columns.TOMOGRAM,
    columns.MICROGRAPH,
    columns.PARTICLE,
    *columns.COORDINATES,
    columns.VOXEL_SIZE,
    columns.CLASS,
]


@pytest.fixture(scope="session")
def relion() -> None:
    """Skip where RELION is not installed."""
    if shutil.which("relion_reconstruct") is None:
        pytest.skip("RELION is not installed (Debian: apt-get install --no-install-recommends relion)")


@dataclass
class Exported:
    """A synthetic set, exported, with the noise-free map that its particles show."""

    folder: Path
    truth: torch.Tensor
    count: int
    tomograms: dict[str, TomogramRecord]
    picks: pd.DataFrame

    @property
    def project(self) -> Path:
        return self.folder / "relion"


def draw(rotation: Rotation | None = None, shift: np.ndarray | None = None) -> np.ndarray:
    moved = (0.0, 0.0, 0.0) if shift is None else (shift[0], shift[1], shift[2])
    return asymmetric_map(BOX, rotation, moved, width=1.3, scale=SCALE).numpy()


def wedge_filtered(volume: np.ndarray, tilt_range: tuple[float, float]) -> np.ndarray:
    transform = torch.fft.fftn(torch.from_numpy(volume)) * wedge_mask(volume.shape, tilt_range)
    return torch.fft.ifftn(transform).real.numpy()


@pytest.fixture(scope="session")
def exported(relion: None, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Tomograms of dark particles at fractional positions, with noise and a missing wedge, exported."""
    folder = tmp_path_factory.mktemp("relion")
    rng = np.random.default_rng(7)
    truth = draw()
    tables, tomograms = [], {}
    grid = np.array([(x, y) for y in range(3) for x in range(6)]) * CELL + CELL // 2
    for number, (name, tilt_range) in enumerate(TILT_RANGES.items()):
        shape = (CELL + 8, 3 * CELL, 6 * CELL)
        volume = np.zeros(shape)
        rotations = Rotation.random(PER_TOMOGRAM, random_state=number)
        centres = np.column_stack([grid, np.full(PER_TOMOGRAM, shape[0] // 2)])
        centres = centres + rng.integers(-2, 3, centres.shape)
        picks = centres + rng.uniform(-0.5, 0.5, centres.shape)
        shifts = rng.uniform(-1.5, 1.5, centres.shape)
        truths = picks + shifts
        for rotation, place in zip(rotations, truths, strict=True):
            whole = np.rint(place).astype(int)
            low = whole[::-1] - BOX // 2
            target = tuple(slice(o, o + BOX) for o in low)
            volume[target] += draw(rotation, place - whole)
        volume += rng.normal(0, 1.5 * truth.std(), shape)
        volume = wedge_filtered(volume, tilt_range)
        path = folder / f"{name}.mrc"
        write_volume(path, (-volume).astype(np.float32), VOXEL_SIZE)
        tomograms[name] = TomogramRecord(name, str(path), shape, VOXEL_SIZE, tilt_range, "dark")
        table = pd.DataFrame({columns.TOMOGRAM: [name] * PER_TOMOGRAM})
        table[columns.MICROGRAPH] = f"{name}.mrc"
        table[columns.PARTICLE] = [f"{name}/{i + 1}" for i in range(PER_TOMOGRAM)]
        angles = relion_angles(rotations)
        for axis in range(3):
            table[columns.COORDINATES[axis]] = picks[:, axis]
            table[columns.ANGLES[axis]] = angles[:, axis]
            table[columns.ORIGINS[axis]] = -shifts[:, axis] * VOXEL_SIZE
        table[columns.VOXEL_SIZE] = VOXEL_SIZE
        table[columns.CLASS] = 1
        table[columns.HALF_SET] = np.arange(PER_TOMOGRAM) % 2 + 1
        tables.append(table)
    options = ExportOptions(
        formats=["relion", "relion4", "relion5", "warp"], subtomograms=True, tilt_series_pixel_size=2.5
    )
    picks = pd.concat(tables, ignore_index=True)
    particles = gather_particles(picks, [])
    setting = ExportContext(tomograms, ImagingOptions(), options, BOX * VOXEL_SIZE, 1)
    export_particles(particles, setting, folder)
    write_volume(folder / "average.mrc", truth.astype(np.float32), VOXEL_SIZE)
    return Exported(folder, torch.from_numpy(truth), len(particles), tomograms, picks)


def run(project: Path, *command: str) -> str:
    """Run a RELION program in the project's folder; return what it printed."""
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def warnings_of(said: str) -> list[str]:
    """Return all warnings but those of columns that are not RELION 3.1's: newer versions' and our own."""
    lines = [line for line in said.splitlines() if "warning" in line.lower()]
    return [line for line in lines if not re.search(r"unknown label: (rlnTomo|cryopipe)\w+$", line)]


def reconstruct(exported: Exported, star: str, name: str) -> torch.Tensor:
    said = run(exported.project, "relion_reconstruct", "--i", star, "--o", name, "--ctf")
    assert "data dimensions from the first optics group: 3" in said
    assert warnings_of(said) == []
    return torch.from_numpy(open_volume(exported.project / name).astype(np.float64))


def correlation(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    mask = sphere_mask(BOX, BOX / 2 - 4, 3)
    return fourier_shell_correlation(a, b, VOXEL_SIZE, mask).correlation


def test_relion_reconstructs_the_phantom_from_our_export(exported: Exported) -> None:
    found = reconstruct(exported, "particles.star", "rec.mrc")
    curve = correlation(found, exported.truth)
    mirrored = correlation(torch.roll(found.flip(0), 1, 0), exported.truth)
    assert curve[1:11].min() > 0.9
    assert mirrored[3:11].mean() < 0.5
    cluster = reconstruct(exported, "cluster_01.star", "cluster.mrc")
    torch.testing.assert_close(cluster, found)


@pytest.mark.parametrize("change", ["inverse rotation", "opposite shift"])
def test_relion_would_notice_a_wrong_convention(exported: Exported, change: str) -> None:
    blocks = read_star(exported.project / "particles.star")
    table = blocks["particles"]
    if change == "opposite shift":
        for name in columns.ORIGINS:
            table[name] = -table[name]
    else:
        table[["rlnAngleRot", "rlnAnglePsi"]] = -table[["rlnAnglePsi", "rlnAngleRot"]].to_numpy()
        table["rlnAngleTilt"] = -table["rlnAngleTilt"]
    write_star(exported.project / "wrong.star", blocks)
    right = correlation(reconstruct(exported, "particles.star", "right.mrc"), exported.truth)
    wrong = correlation(reconstruct(exported, "wrong.star", "wrong.mrc"), exported.truth)
    assert wrong[5:13].mean() < right[5:13].mean() - 0.03


def test_relion_prints_every_table(exported: Exported) -> None:
    for path in sorted(exported.folder.glob("*/**/*.star")):
        for block, table in read_star(path).items():
            if not len(table) or path.name.endswith("optimisation_set.star"):
                continue  # the program prints loops only
            said = run(
                exported.project, "relion_star_printtable", str(path), f"data_{block}", *table.columns[:3]
            )
            rows = [line.split() for line in said.splitlines() if line.strip()]
            rows = [row for row in rows if len(row) == min(3, len(table.columns))]
            assert len(rows) >= len(table), path


def test_relion_refines_from_our_export_without_a_word_about_columns(exported: Exported) -> None:
    reference = str(exported.folder / "average.mrc")
    (exported.project / "Refine").mkdir()
    options = "--i particles.star --o Refine/run --iter 1 --skip_align --K 1 --ctf --ini_high 40"
    options += " --firstiter_cc --ctf_corrected_ref --norm --scale --j 2 --pad 1 --zero_mask"
    diameter = str(int(0.9 * BOX * VOXEL_SIZE))
    said = run(
        exported.project,
        *("relion_refine", *options.split(), "--particle_diameter", diameter, "--ref", reference),
    )
    assert warnings_of(said) == []
    assert re.findall(r"unknown label: (\w+)", said) in ([], ["rlnTomoName"])
    table = read_particles(exported.project / "Refine" / "run_it001_data.star")
    assert len(table) == exported.count


def test_relion_makes_our_average_from_our_poses(exported: Exported) -> None:
    """The complete chain: boxes extracted at the picks, aligned from the data alone, averaged; exported boxes, cut at whole voxels."""
    tables, boxes, tilt_ranges = [], [], []
    for name, record in exported.tomograms.items():
        table = exported.picks[exported.picks[columns.TOMOGRAM] == name]
        coordinates = table[list(columns.COORDINATES)].to_numpy()
        cut = extract_subtomograms(
            open_volume(record.path),
            coordinates,
            VOXEL_SIZE,
            SubtomogramOptions(BOX, VOXEL_SIZE),
            record.contrast,
            np.random.default_rng(0),
        )
        ordered = np.zeros((len(table), BOX, BOX, BOX), dtype=np.float32)
        for indices, some in cut:
            ordered[indices] = some
        tables.append(table)
        boxes.append(ordered)
        tilt_ranges += [record.tilt_range] * len(table)
    picks = pd.concat(tables, ignore_index=True)
    result = align_cluster(
        np.concatenate(boxes), np.array(tilt_ranges), VOXEL_SIZE, AveragingOptions(), seed=1
    )
    aligned = particle_table(picks.drop(columns=[*columns.ANGLES, *columns.ORIGINS]), result)
    setting = ExportContext(
        exported.tomograms,
        ImagingOptions(),
        ExportOptions(formats=["relion"], subtomograms=True),
        BOX * VOXEL_SIZE,
        1,
        {1: ClusterAverage(result.average, VOXEL_SIZE)},
    )
    folder = exported.folder / "aligned"
    export_particles(gather_particles(picks[PICK_COLUMNS], [aligned]), setting, folder)
    project = Exported(folder, exported.truth, len(picks), exported.tomograms, picks)
    ours = torch.from_numpy(open_volume(folder / "relion" / "references" / "cluster_01.mrc").astype(float))
    theirs = reconstruct(project, "cluster_01.star", "rec.mrc")
    curve = correlation(ours, theirs)
    shell = int(BOX * VOXEL_SIZE / result.resolution_0143)
    assert shell >= 8
    assert curve[1 : shell + 1].min() > 0.9


def test_relion_refines_tomograms_of_two_voxel_sizes_together(relion: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tomograms, tables, count = {}, [], 15
    for name, voxel_size in (("fine", 10.0), ("coarse", 12.5)):
        path = str(tmp_path / f"{name} it's.mrc")  # quoted in the STAR file
        write_volume(path, rng.normal(0, 1, (40, 60, 80)).astype(np.float32), voxel_size)
        tomograms[name] = TomogramRecord(name, path, (40, 60, 80), voxel_size, (-60, 60), "dark")
        table = pd.DataFrame({columns.TOMOGRAM: [name] * count, columns.VOXEL_SIZE: voxel_size})
        table[columns.PARTICLE] = [f"{name}/{i}" for i in range(count)]
        table[columns.MICROGRAPH], table[columns.CLASS] = path, 1
        table[list(columns.COORDINATES)] = rng.uniform(15, 25, (count, 3))
        tables.append(table)
    options = ExportOptions(formats=["relion"], subtomograms=True)
    averages = {1: ClusterAverage(asymmetric_map(24).numpy(), 10.0)}
    setting = ExportContext(tomograms, ImagingOptions(), options, 240.0, 1, averages)
    export_particles(gather_particles(pd.concat(tables, ignore_index=True), []), setting, tmp_path)
    project = tmp_path / "relion"
    (project / "Refine").mkdir()
    options_of_relion = (
        "--i particles.star --o Refine/run --iter 1 --skip_align --K 1 --ctf --ini_high 60 --pad 1"
    )
    options_of_relion += (
        " --firstiter_cc --norm --scale --particle_diameter 200 --ref references/cluster_01.mrc"
    )
    said = run(project, "relion_refine", *options_of_relion.split())
    assert warnings_of(said) == []
    blocks = read_star(project / "Refine" / "run_it001_data.star")
    assert len(blocks["particles"]) == 2 * count
    echoed = blocks["particles"][list(columns.COORDINATES)].sort_values(list(columns.COORDINATES))
    ours = read_particles(project / "particles.star")[list(columns.COORDINATES)]
    np.testing.assert_allclose(echoed, ours.sort_values(list(columns.COORDINATES)))
    assert blocks["optics"]["rlnImagePixelSize"].tolist() == [10.0, 12.5]
    assert blocks["optics"]["rlnImageSize"].tolist() == [24, 20]


@pytest.mark.slow
def test_the_independent_check_accepts_all_our_files(exported: Exported) -> None:
    if not CHECK.is_file():
        pytest.skip("the independent check, ../shared/check_relion.py, is absent")
    done = subprocess.run(
        [
            *(sys.executable, str(CHECK), str(exported.project / "particles.star")),
            *("--average", str(exported.folder / "average.mrc")),
            *("--truth", str(exported.folder / "average.mrc")),
            *("--tomogram", f"tomo_a.mrc={exported.folder / 'tomo_a.mrc'}"),
            *("--relion4", str(exported.folder / "relion4" / "particles.star")),
            *("--relion5", str(exported.folder / "relion5" / "particles.star")),
            *("--tomograms", str(exported.folder / "relion5" / "tomograms.star")),
            *("--warp", str(exported.folder / "warp" / "particles_10A.star")),
            "--blind",
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RESULT ACCEPTED: 0 failed" in done.stdout
