"""Tilt series of Warp, AreTomo and IMOD in RELION 5's conventions: points are projected to the same pixels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import starfile
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.config import ImagingOptions
from cryopipe.errors import DataError, FileError
from cryopipe.export import ExportContext, ExportOptions, TomogramRecord, export_particles, gather_particles
from cryopipe.files.aligned_series import read_tilt_series
from cryopipe.files.mrc import write_volume
from cryopipe.files.projects import read_project
from cryopipe.files.star import read_particles

Points = NDArray[np.float64]
IMAGE = np.array([1000.0, 1200.0])
"""Size of the images, x, y."""
SHAPE_ZYX, BINNING = (51, 100, 81), 4
SIZE = np.array(SHAPE_ZYX[::-1]) * BINNING


def as_warp_projects(folder: Path, pixel_size: float, points: Points) -> Points:
    """TiltSeries.GetPositionInAllTilts, with the elements of Matrix3.Euler(0, tilt, -axis); (images, points, 2) in pixels."""
    root = ElementTree.fromstring((folder / "TS.xml").read_bytes())
    words = {name: [float(word) for word in (root.findtext(name) or "").split()] for name in ("Angles", "AxisAngle", "AxisOffsetX", "AxisOffsetY")}  # fmt: skip
    projected = []
    for tilt, axis, *offset in zip(*words.values(), strict=True):
        cb, sb = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        cg, sg = np.cos(np.radians(-axis)), np.sin(np.radians(-axis))
        x, y, z = ((points - SIZE / 2) * pixel_size).T
        rotated = np.stack([cg * cb * x + sg * y - cg * sb * z, -sg * cb * x + cg * y + sg * sb * z], axis=1)
        projected.append((rotated + offset) / pixel_size + IMAGE / 2)
    return np.array(projected)


def as_imod_projects(folder: Path, pixel_size: float, points: Points) -> Points:
    """tilt after trimvol -rx, and newstack with the .xf; centres lie at (size - 1) / 2."""
    transforms = np.loadtxt(folder / "TS.xf")
    tilts = np.loadtxt(folder / "TS.tlt")
    projected = []
    for tilt, (a, b, c, d, *shift) in zip(np.radians(tilts), transforms, strict=True):
        x, y, z = (points - (SIZE - 1) / 2).T
        aligned = np.stack([x * np.cos(tilt) + z * np.sin(tilt), y], axis=1)
        projected.append((aligned - shift) @ np.linalg.inv([[a, b], [c, d]]).T + (IMAGE - 1) / 2)
    return np.array(projected)


def as_aretomo_projects(folder: Path, pixel_size: float, points: Points) -> Points:
    """GBackProj, and the .xf of CSaveXF: A = R(-axis), shift = A (-TX, -TY)."""
    lines = (folder / "TS.aln").read_text().split("# Local")[0].splitlines()
    projected = []
    for _, axis, _, *shift, _, _, _, _, tilt in (
        map(float, line.split()) for line in lines if line[0] != "#"
    ):
        x, y, z = (points - SIZE / 2).T
        t, r = np.radians(tilt), np.radians(-axis)
        aligned = np.stack([x * np.cos(t) + z * np.sin(t), y], axis=1)
        matrix = np.array([[np.cos(r), -np.sin(r)], [np.sin(r), np.cos(r)]])
        projected.append((aligned - matrix @ -np.array(shift)) @ np.linalg.inv(matrix).T + IMAGE / 2)
    return np.array(projected)


PROGRAMS: dict[str, tuple[dict[str, str], Callable[[Path, float, Points], Points]]] = {
    "TS.xml": ({"TS.xml": "warp/gs04_ts_003.xml"}, as_warp_projects),
    "TS.tlt": ({"TS.tlt": "imod/tilt_1.tlt", "TS.xf": "imod/tilt_1.xf", "TS.mdoc": "mdoc/017.mdoc"}, as_imod_projects),
    "TS.aln": ({"TS.aln": "aretomo/test.aln"}, as_aretomo_projects),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_exported_tilt_series_project_points_as_the_program_does(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    samples, project = PROGRAMS[name]
    for file, sample in samples.items():
        (tmp_path / file).write_bytes((shared_data / "metadata" / sample).read_bytes())
    pixel_size = 2.5
    record = TomogramRecord(
        *("TS", "TS_rec.mrc", SHAPE_ZYX, pixel_size * BINNING, (-60, 60), "dark", "a.b"),
        tilt_series=str(tmp_path / name),
        tilt_series_pixel_size=pixel_size,
    )
    binned_by = "averaging" if name == "TS.tlt" else "fourier"
    context = ExportContext(
        {"TS": record}, ImagingOptions(), ExportOptions(formats=["relion5"], binned_by=binned_by), 200, 1
    )
    voxels = np.random.default_rng(3).uniform(5, 45, (20, 3))
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: "TS",
            columns.PARTICLE: [f"TS/{number}" for number in range(20)],
            **dict(zip(columns.COORDINATES, voxels.T, strict=True)),
            columns.VOXEL_SIZE: record.voxel_size,
            columns.CLASS: 1,
        }
    )
    export_particles(gather_particles(table, []), context, tmp_path)
    folder = tmp_path / "relion5"
    [tomogram] = starfile.read(folder / "tomograms.star", always_dict=True)["global"].to_dict("records")
    assert tomogram["rlnTomoName"] == "a.b"
    assert tomogram["rlnTomoTiltSeriesStarFile"] == "tilt_series/a.b.star"
    [(block, images)] = starfile.read(folder / "tilt_series" / "a.b.star", always_dict=True).items()
    assert block == "a.b"
    particles = starfile.read(folder / "particles.star")["particles"]
    centred = particles[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy() / pixel_size
    found = []
    for image in images.to_dict("records"):
        # RELION 5 (tomogram_set.cpp): Rz(ZRot) Ry(YTilt) Rx(XTilt) from the centres at size / 2, then the shift
        angles = [image["rlnTomoZRot"], image["rlnTomoYTilt"], image["rlnTomoXTilt"]]
        shift = np.array([image["rlnTomoXShiftAngst"], image["rlnTomoYShiftAngst"]]) / pixel_size
        rotation = Rotation.from_euler("ZYX", angles, degrees=True)
        found.append(rotation.apply(centred)[:, :2] + shift + IMAGE / 2)
    # centres of voxels in pixels: IMOD's voxels are means of blocks
    points = voxels * BINNING + ((BINNING - 1) / 2 if name == "TS.tlt" else 0)
    np.testing.assert_allclose(np.array(found), project(tmp_path, pixel_size, points), atol=2e-3)


def test_warp_states_dose_defocus_and_hand(shared_data: Path) -> None:
    series = read_tilt_series(shared_data / "metadata" / "warp" / "gs04_ts_003.xml", 0.7303)
    assert len(series) == 47
    assert series.hand == -1
    assert series.exposures is not None
    assert series.defocus is not None
    assert series.exposures[[0, 23]].tolist() == [140.97852, 15.4122]
    np.testing.assert_allclose(series.defocus[0], [51669.7656, 51581.6538, 129], atol=1e-3)
    assert series.images[0] == "../frameseries/gs04_ts_003_00000_-46.0_17.14.00.eer"


def test_images_of_stacks_and_their_doses(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "metadata"
    (tmp_path / "a.tlt").write_bytes((folder / "mdoc" / "017.tlt").read_bytes())
    (tmp_path / "a.st.mdoc").write_bytes((folder / "mdoc" / "017.mdoc").read_bytes())
    (tmp_path / "a.st").write_bytes(b"a stack")
    (tmp_path / "a.xf").write_text("1 0 0 1 0 0\n" * 60)
    (tmp_path / "tilt.com").write_text("$tilt\nTILTFILE a.tlt\nOFFSET 1.5\nEXCLUDELIST 1,3-4\n")
    series = read_tilt_series(tmp_path / "a.tlt", 2)
    assert series.images[:2] == [f"000002@{tmp_path}/a.st", f"000005@{tmp_path}/a.st"]
    assert len(series) == 57
    assert series.tilts[0] == pytest.approx(-48.51)
    assert series.exposures is not None
    assert series.exposures[0] == 132.14


def test_aretomo_doses_are_those_before_each_image(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.aln").write_bytes((shared_data / "metadata" / "aretomo" / "test.aln").read_bytes())
    # two dark images come first; the last was acquired first
    (tmp_path / "a_TLT.txt").write_text("-64.5 6 3\n-63 5 3\n-61.5 4 3\n-60 3 3\n-58.5 2 3\n-57 1 3\n")
    (tmp_path / "a_CTF.txt").write_text(
        "# Columns\n" + "".join(f"{n} {n}0000 9000 30 0 0.1 8 1\n" for n in range(1, 7))
    )
    series = read_tilt_series(tmp_path / "a.aln", 1.5)
    assert series.exposures is not None
    assert series.defocus is not None
    assert series.exposures.tolist() == [9, 6, 3, 0]
    assert series.defocus[:, 0].tolist() == [30000, 40000, 50000, 60000]
    assert series.images == [f"00000{number}@{tmp_path}/a.mrc" for number in (3, 4, 5, 6)]
    (tmp_path / "a_TLT.txt").write_text("10 1 3\n20 2 3\n")
    with pytest.raises(FileError, match=r"cannot be read \(its tilts are not those of the file _TLT.txt\)"):
        read_tilt_series(tmp_path / "a.aln", 1.5)
    (tmp_path / "a_TLT.txt").unlink()
    series = read_tilt_series(tmp_path / "a.aln", 1.5)
    assert (series.images[0], series.exposures) == (f"000001@{tmp_path}/a.mrc", None)


def test_columns_of_relion_are_read(shared_data: Path) -> None:
    path = shared_data / "metadata/relion5/Tomograms/job009/tilt_series/tomo200528_107.star"
    series = read_tilt_series(path, 1.724)
    assert (series.z_rotations[0], series.tilts[0]) == (-90.5451, -50.99)
    assert series.shifts[0].tolist() == [9.537168, -19.87772]
    assert series.images[0] == "MotionCorr/job002/__/raw/tomo200528_107_-51_0_May31_00_24_27.mrc"


def test_what_is_no_alignment_is_told(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("-10\n0\n10\n")
    with pytest.raises(
        DataError, match=re.escape("a.xf: is missing: without it, the images cannot be aligned; put it")
    ):
        read_tilt_series(tmp_path / "a.tlt", 1)
    with pytest.raises(FileError, match="the alignment of the tilt series cannot be read"):
        read_tilt_series(
            shared_data / "metadata/relion5/project_with_jobs/Tomograms/job_tomo/tilt_series/13pf_MT.star", 1
        )
    with pytest.raises(
        FileError, match=r"does not contain the alignment.*one of the suffixes .xml, .aln, .tlt, .star"
    ):
        read_tilt_series(tmp_path / "a.mdoc", 1)


def test_relion_4_has_matrices_for_positions_from_1(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file, sample in PROGRAMS["TS.tlt"][0].items():
        (tmp_path / file).write_bytes((shared_data / "metadata" / sample).read_bytes())
    count = len(np.loadtxt(tmp_path / "TS.tlt"))
    stack = np.zeros((count, *IMAGE[::-1].astype(int) // 10), np.int8)
    write_volume(tmp_path / "TS.mrc", stack, 2.5)
    record = TomogramRecord(
        *("TS", "TS_rec.mrc", SHAPE_ZYX, 10.0, (-60, 60), "dark"),
        tilt_series=str(tmp_path / "TS.tlt"),
        tilt_series_pixel_size=2.5,
    )
    options = ExportOptions(formats=["relion4"], binned_by="averaging")
    context = ExportContext({"TS": record}, ImagingOptions(), options, 200, 1)
    table = pd.DataFrame(
        {
            **{
                columns.TOMOGRAM: ["TS"],
                columns.PARTICLE: ["TS/1"],
                columns.VOXEL_SIZE: [10.0],
                columns.CLASS: [1],
            },
            **dict(zip(columns.COORDINATES, [[30.25], [41.5], [12.75]], strict=True)),
        }
    )
    export_particles(gather_particles(table, []), context, tmp_path)
    blocks = starfile.read(tmp_path / "relion4" / "tomograms.star", always_dict=True)
    assert blocks["global"]["rlnTomoTiltSeriesName"].tolist() == [str(tmp_path / "TS.mrc")]
    assert blocks["global"]["rlnTomoFrameCount"].tolist() == [count]
    point = read_particles(tmp_path / "relion4" / "particles.star")[list(columns.COORDINATES)].to_numpy()
    matrices = np.array(
        [
            [
                [float(word) for word in text.strip("[]").split(",")]
                for text in blocks["TS"][f"rlnTomoProj{row}"]
            ]
            for row in "XYZW"
        ]
    ).swapaxes(0, 1)
    # RELION 4 adds 1 to the positions of particles (particle_set.cpp)
    found = (matrices @ np.append(point[0] + 1, 1.0))[:, :2]
    centred = (
        found - IMAGE // 10 / 2 + IMAGE / 2
    )  # the images of the stack are smaller than those of the program
    np.testing.assert_allclose(centred, as_imod_projects(tmp_path, 2.5, point)[:, 0], atol=2e-3)
    project = read_project(tmp_path / "relion4" / "tomograms.star")
    assert project is not None
    assert (project.program, project.series[0].tilt_range) == ("RELION 4", (-52.24, 63.76))
    (tmp_path / "tilt.com").write_text("$tilt\nEXCLUDELIST 3\n")
    export_particles(gather_particles(table, []), context, tmp_path)
    assert list(starfile.read(tmp_path / "relion4" / "tomograms.star", always_dict=True)) == ["global"]
    assert (
        f"TS.mrc: {count - 1} images are used, not all {count} of the stack; export to relion5" in caplog.text
    )


def test_relion_4_takes_the_stack_of_warp_in_its_own_order(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "TS.xml").write_bytes((shared_data / "metadata" / "warp" / "gs04_ts_003.xml").read_bytes())
    record = TomogramRecord(
        *("TS", "TS_rec.mrc", SHAPE_ZYX, 10.0, (-60, 60), "dark"),
        tilt_series=str(tmp_path / "TS.xml"),
        tilt_series_pixel_size=2.5,
    )
    context = ExportContext({"TS": record}, ImagingOptions(), ExportOptions(formats=["relion4"]), 200, 1)
    table = pd.DataFrame(
        {
            **{columns.TOMOGRAM: ["TS"], columns.PARTICLE: ["TS/1"], columns.VOXEL_SIZE: [10.0]},
            **{columns.CLASS: [1], **dict(zip(columns.COORDINATES, [[30.25], [41.5], [12.75]], strict=True))},
        }
    )

    def exported() -> dict[str, pd.DataFrame]:
        export_particles(gather_particles(table, []), context, tmp_path)
        return starfile.read(tmp_path / "relion4" / "tomograms.star", always_dict=True)

    assert list(exported()) == ["global"]
    assert "is a single image, and RELION 4 needs a stack; make one with WarpTools ts_stack" in caplog.text
    series = read_tilt_series(tmp_path / "TS.xml", 2.5)
    root = ElementTree.fromstring((tmp_path / "TS.xml").read_bytes())
    angles = np.array([float(word) for word in (root.findtext("Angles") or "").split()])
    used = angles[[word == "True" for word in (root.findtext("UseTilt") or "").split()]]
    folder = tmp_path / "tiltstack" / "TS"
    write_volume(folder / "TS.st", np.zeros((len(used), 120, 100), np.int8), 2.5)
    order = np.random.default_rng(1).permutation(len(used))
    (folder / "TS.rawtlt").write_text("".join(f"{angle + 1.25:.2f}\n" for angle in used[order]))
    blocks = exported()
    assert blocks["global"]["rlnTomoTiltSeriesName"].tolist() == [str(folder / "TS.st")]
    assert series.exposures is not None
    np.testing.assert_allclose(blocks["TS"]["rlnMicrographPreExposure"], series.exposures[order], atol=1e-4)
    third = [float(text.strip("[]").split(",")[2]) for text in blocks["TS"]["rlnTomoProjZ"]]
    np.testing.assert_allclose(np.degrees(np.arccos(third)), np.abs(used[order]), atol=0.02)
    assert read_project(tmp_path / "relion4" / "tomograms.star") is not None
    write_volume(folder / "TS.st", np.zeros((len(used), 12, 10), np.int8), 10.0)
    assert list(exported()) == ["global"]
    assert "TS.st: has pixels of 10 A, not 2.5 A as the tilt series" in caplog.text
