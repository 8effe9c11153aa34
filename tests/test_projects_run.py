"""A dataset made from the projects of four programs runs to its export."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import starfile
import yaml
from imitated_projects import IMITATIONS, Imitation
from installed import answer
from numpy.typing import NDArray
from small_runs import TINY_TRANSFER, TWO_JOBS

from cryopipe import columns
from cryopipe.files.metadata import read_tilt_range
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_projects_of_four_programs_run_from_init_to_export(tmp_path: Path, shared_data: Path) -> None:
    """No option is edited but the diameter, and those that shorten the run."""
    python = Path(sys.executable)
    simulation = {**TINY_TRANSFER["simulation"], "copies": 8, "tilt_range": [-52, 52]}
    (tmp_path / "sim.yaml").write_text(yaml.safe_dump({"simulation": simulation}))
    cryopipe = python.with_name("cryopipe")
    answer(cryopipe, "simulate", "sim", "--config", "sim.yaml", folder=tmp_path)
    simulated = tmp_path / "sim" / "simulated_01.mrc"
    volume, voxel_size = np.array(open_volume(simulated)), float(read_header(simulated).voxel_size or 0)
    metadata = shared_data / "metadata"
    projects = [imitate(tmp_path, metadata, volume, voxel_size) for imitate in IMITATIONS.values()]
    answer(cryopipe, "init", "my dataset", *(one.source for one in projects), folder=tmp_path)
    dataset = tmp_path / "my dataset"
    config = yaml.safe_load((dataset / "config" / "config.yaml").read_text())
    config["pick"]["diameters"] = [260]
    for section in ("subtomograms", "features", "clustering", "averaging", "report"):
        config[section] |= TINY_TRANSFER[section]
    (dataset / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    assert "4 tomograms: 4 ok" in answer(cryopipe, "check", folder=dataset)
    answer(python, "-m", "snakemake", *TWO_JOBS, folder=dataset)
    assert (dataset / "results" / "report" / "report.html").stat().st_size > 10_000
    assert (read_table(dataset / "results" / "export" / "summary.tsv")["particles"] > 0).any()
    truth = read_particles(simulated.with_name("simulated_01_truth.star"))[list(columns.COORDINATES)]
    assert_exported(dataset / "results" / "relion5", projects, volume.shape, voxel_size, truth.to_numpy())


def assert_exported(
    folder: Path,
    projects: list[Imitation],
    shape_zyx: tuple[int, ...],
    voxel_size: float,
    truth: NDArray[np.float64],
) -> None:
    """Names, tilts and frames are those of the projects, and particles of each tomogram are where the truth has them."""
    tomograms = starfile.read(folder / "tomograms.star", always_dict=True)["global"].set_index("rlnTomoName")
    particles = starfile.read(folder / "particles.star")["particles"]
    assert set(tomograms.index) == set(particles["rlnTomoName"]) == {one.name for one in projects}
    for project in projects:
        row = tomograms.loc[project.name]
        assert read_tilt_range(folder / row["rlnTomoTiltSeriesStarFile"]) == project.tilts
        assert row["rlnTomoTiltSeriesPixelSize"] == pytest.approx(project.pixel_size)
        size = row[[f"rlnTomoSize{axis}" for axis in "XYZ"]].to_numpy(float)
        assert np.abs(size * project.pixel_size / voxel_size - shape_zyx[::-1]).max() < 1
        mine = particles[particles["rlnTomoName"] == project.name]
        centred = mine[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy()
        found = (centred / project.pixel_size + size / 2) * project.pixel_size / voxel_size
        nearest = np.linalg.norm(found[:, None] - truth, axis=-1).min(axis=1) * voxel_size
        # The few tilts of AreTomo's sample cannot align a particle: it stays within half its diameter.
        aligned = np.ptp(project.tilts) > 60
        assert np.median(nearest) < (60 if aligned else 120), project.name
