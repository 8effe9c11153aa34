"""What the writers write is read back here by other arithmetic than the writers' own."""

from __future__ import annotations

import os
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from asymmetric import asymmetric_map
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.config import CHECKOUT, ImagingOptions, defaults
from cryopipe.errors import DataError, FileError
from cryopipe.export import (
    WRITERS,
    ExportContext,
    ExportOptions,
    ParticlePoses,
    ParticleSet,
    TomogramRecord,
    export_context,
    export_particles,
    gather_particles,
    relion5,
)
from cryopipe.export.dynamo_writer import dynamo_angles, rotation_from_dynamo_angles
from cryopipe.export.relion_boxes import cut_boxes, even_box_size
from cryopipe.export.unbinned import Frames
from cryopipe.export.verification import verify
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.dynamo_table import read_dynamo_table, write_dynamo_table
from cryopipe.files.mrc import open_volume, read_header, write_volume
from cryopipe.files.ownership import remove_written_files
from cryopipe.files.star import read_particles, read_star, write_particles, write_star
from cryopipe.files.tables import read_table, write_table
from cryopipe.palette import COLOURS
from cryopipe.particle_formats import FORMATS
from cryopipe.provenance import options_of
from cryopipe.tomograms import Tomogram
from cryopipe.volume.geometry import relion_angles

SHAPES = {"ts_01": (40, 60, 80), "ts_02": (31, 50, 70), "007": (40, 60, 80)}
VOXEL_SIZES = {"ts_01": 10.0, "ts_02": 12.5, "007": 10.0}


def records(folder: Path = Path()) -> dict[str, TomogramRecord]:
    return {
        name: TomogramRecord(
            name,
            str(folder / f"{name}.mrc"),
            SHAPES[name],
            VOXEL_SIZES[name],
            (-60.0, 60.0) if name != "ts_02" else (-40.0, 60.0),
            "dark",
        )
        for name in SHAPES
    }


def setting(folder: Path = Path(), **options: object) -> ExportContext:
    return ExportContext(records(folder), ImagingOptions(), ExportOptions(**options), 160.0, 1)  # type: ignore[arg-type]


class Scene:
    """Particles of three tomograms in two clusters and noise, with their true positions and rotations."""

    def __init__(self, count: int = 30, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        names = np.array(list(SHAPES))[rng.integers(0, 3, count)]
        sizes = np.array([VOXEL_SIZES[name] for name in names])
        extent = np.array([SHAPES[name][::-1] for name in names])
        coordinates = rng.uniform(0.1, 0.9, (count, 3)) * extent
        self.shifts = rng.uniform(-20, 20, (count, 3))
        self.rotations = Rotation.random(count, random_state=seed)
        self.particles = pd.DataFrame(
            {
                columns.TOMOGRAM: names,
                columns.MICROGRAPH: [f"data/my tomograms/{name}.mrc" for name in names],
                columns.PARTICLE: [f"{name}/{i}" for i, name in enumerate(names)],
                **{name: coordinates[:, i] for i, name in enumerate(columns.COORDINATES)},
                columns.VOXEL_SIZE: sizes,
                columns.PICK_SCORE: rng.uniform(3, 9, count),
                columns.CLASS: rng.integers(0, 3, count),
                columns.POSTERIOR: rng.uniform(0, 1, count),
                "userRemark": ["it's a 'remark'"] * count,
            }
        )
        noise = self.particles[columns.CLASS].to_numpy() == columns.UNASSIGNED
        self.shifts[noise] = 0
        self.rotations = Rotation.concatenate(
            [
                Rotation.identity() if is_noise else r
                for is_noise, r in zip(noise, self.rotations, strict=True)
            ]
        )
        self.positions = coordinates + self.shifts / sizes[:, None]
        self.clusters = []
        for cluster in (2, 1):
            rows = np.flatnonzero(self.particles[columns.CLASS] == cluster)
            table = self.particles.iloc[rows[::-1]].copy()
            angles = relion_angles(self.rotations)[rows[::-1]]
            for i in range(3):
                table[columns.ANGLES[i]] = angles[:, i]
                table[columns.ORIGINS[i]] = -self.shifts[rows[::-1], i]
            table[columns.HALF_SET] = np.arange(len(rows)) % 2 + 1
            table[columns.ALIGNMENT_SCORE] = rng.uniform(0, 1, len(rows))
            table[columns.ALIGNMENT_KEPT] = 1
            self.clusters.append(table)

    def gather(self) -> ParticleSet:
        return gather_particles(self.particles, self.clusters)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def by_particle(table: pd.DataFrame, scene: Scene) -> np.ndarray:
    """Rows of the scene in the table's order."""
    order = {name: i for i, name in enumerate(scene.particles[columns.PARTICLE])}
    return np.array([order[name] for name in table[columns.PARTICLE]])


def assert_rotated(table: pd.DataFrame, scene: Scene, rows: np.ndarray) -> None:
    """RELION's matrix, written out, is the inverse of the rotation."""
    rot, tilt, psi = (np.radians(table[name].to_numpy()) for name in columns.ANGLES)
    expected = scene.rotations[rows].as_matrix()
    for i in range(len(table)):
        ca, cb, cg = np.cos([rot[i], tilt[i], psi[i]])
        sa, sb, sg = np.sin([rot[i], tilt[i], psi[i]])
        matrix = [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
        np.testing.assert_allclose(matrix, expected[i], atol=1e-5)


def test_gathering_keeps_every_particle_in_order_and_finds_its_pose(scene: Scene) -> None:
    gathered = scene.gather()
    assert gathered.table[columns.PARTICLE].tolist() == scene.particles[columns.PARTICLE].tolist()
    np.testing.assert_allclose(gathered.positions, scene.positions, atol=1e-9)
    np.testing.assert_allclose(gathered.rotations.as_matrix(), scene.rotations.as_matrix(), atol=1e-9)
    assert set(gathered.table[columns.HALF_SET]) == {1, 2}
    assert set(scene.particles.columns) <= set(gathered.table.columns)


def test_gathering_follows_clusters_that_were_merged(scene: Scene) -> None:
    merged = pd.concat(scene.clusters).assign(**{columns.CLASS: 1})
    gathered = gather_particles(scene.particles, [merged])
    was = scene.particles[columns.CLASS].to_numpy()
    assert gathered.clusters.tolist() == np.where(was == 0, 0, 1).tolist()
    assert gathered.table[columns.CLASS].dtype == np.int64


def test_gathering_without_any_aligned_particle(scene: Scene) -> None:
    nothing = pd.DataFrame(columns=[columns.PARTICLE, columns.CLASS])
    gathered = gather_particles(scene.particles, [nothing])
    assert gathered.clusters.tolist() == scene.particles[columns.CLASS].tolist()
    assert gathered.rotations.magnitude().max() == 0


def test_gathering_refuses_particles_twice_and_strangers(scene: Scene) -> None:
    twice = pd.concat([scene.particles, scene.particles.iloc[:1]])
    with pytest.raises(DataError, match=r"^particle '.*/0' occurs twice in the table of all particles; give"):
        gather_particles(twice, scene.clusters)
    with pytest.raises(DataError, match=r"aligned particles, such as '.*', are not among all particles"):
        gather_particles(scene.particles.iloc[:5], scene.clusters)


def test_relion_3_files(scene: Scene, tmp_path: Path) -> None:
    summary = export_particles(scene.gather(), setting(formats=["relion"]), tmp_path)
    assert [Path(path).name for path in summary["file"]] == [
        "particles.star",
        "cluster_01.star",
        "cluster_02.star",
        "unassigned.star",
    ]
    assert summary["particles"].iloc[1:].sum() == len(scene.particles)
    classes = scene.particles[columns.CLASS]
    for path, expected in zip(
        summary["file"], [classes > 0, classes == 1, classes == 2, classes == 0], strict=True
    ):
        blocks = read_star(path)
        table, optics = blocks["particles"], blocks["optics"]
        rows = np.flatnonzero(expected)
        coordinates = table[list(columns.COORDINATES)].to_numpy()
        assert (coordinates == np.rint(coordinates)).all()
        pixels = optics.set_index("rlnOpticsGroup")["rlnImagePixelSize"][table["rlnOpticsGroup"]].to_numpy()
        assert (pixels == scene.particles[columns.VOXEL_SIZE].to_numpy()[rows]).all()
        origins = table[list(columns.ORIGINS)].to_numpy()
        np.testing.assert_allclose(coordinates - origins / pixels[:, None], scene.positions[rows], atol=1e-5)
        assert np.abs(origins / pixels[:, None]).max() <= 0.5 + 1e-6
        assert_rotated(table, scene, rows)
        assert (optics["rlnImageDimensionality"] == 3).all()
        assert optics["rlnImageSize"].tolist() == [16 if p == 10 else 14 for p in optics["rlnImagePixelSize"]]
        if path.endswith("particles.star"):
            assert not [name for name in table if not name.startswith("rln")]
            found = [(tmp_path / "relion" / name).resolve() for name in table[columns.MICROGRAPH]]
            assert found == [Path(f"{name}.mrc").resolve() for name in table[columns.TOMOGRAM]]
            continue
        assert (by_particle(table, scene) == rows).all()
        for name in scene.particles.columns:
            assert name in table
            if name not in columns.COORDINATES:
                known = scene.particles[name].to_numpy()[rows]
                same = np.isclose if pd.api.types.is_numeric_dtype(known) else np.equal
                assert same(table[name].to_numpy(), known).all(), name


def test_relion_3_groups_of_small_tomograms_are_joined(tmp_path: Path) -> None:
    scene = Scene(40)
    export_particles(scene.gather(), setting(formats=["relion"]), tmp_path)
    table = read_particles(tmp_path / "relion" / "particles.star")
    counts = scene.particles[columns.TOMOGRAM].value_counts()
    expected = [name if counts[name] >= 10 else "few_particles" for name in table[columns.TOMOGRAM]]
    assert table["rlnGroupName"].tolist() == expected


@pytest.mark.parametrize("binned_by", ["fourier", "averaging"])
@pytest.mark.parametrize("pixel_size", [None, 2.5])
def test_relion_5_counts_from_the_centre_and_relion_4_from_voxel_0(
    scene: Scene, tmp_path: Path, binned_by: str, pixel_size: float | None
) -> None:
    options = setting(formats=["relion4", "relion5"], tilt_series_pixel_size=pixel_size, binned_by=binned_by)
    export_particles(scene.gather(), options, tmp_path)
    for version in (4, 5):
        folder = tmp_path / f"relion{version}"
        blocks = read_star(folder / "particles.star")
        table = blocks["particles"]
        rows = by_particle(table, scene)
        assert len(rows) == (scene.particles[columns.CLASS] > 0).sum()
        assert_rotated(table, scene, rows)
        tomograms = read_star(folder / "tomograms.star")["global"].set_index(columns.TOMOGRAM)
        mine = tomograms.loc[table[columns.TOMOGRAM]]
        pixels = mine["rlnTomoTiltSeriesPixelSize"].to_numpy()
        binning = scene.particles[columns.VOXEL_SIZE].to_numpy()[rows] / pixels
        moved = (binning - 1) / 2 if binned_by == "averaging" else 0 * binning
        unbinned = scene.positions[rows] * binning[:, None] + moved[:, None]
        size = mine[["rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"]].to_numpy()
        assert (size % 2 == 0).all()
        if version == 5:
            found = table[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy()
            np.testing.assert_allclose(found, (unbinned - size / 2) * pixels[:, None], atol=1e-5)
            assert columns.COORDINATES[0] not in table
        else:
            np.testing.assert_allclose(table[list(columns.COORDINATES)], unbinned, atol=1e-5)
        groups = blocks["optics"].set_index("rlnOpticsGroup")["rlnTomoTiltSeriesPixelSize"]
        assert (groups[table["rlnOpticsGroup"]].to_numpy() == pixels).all()
        assert read_star(folder / "optimisation_set.star")[""].iloc[0].to_dict() == {
            "rlnTomoParticlesFile": "particles.star",
            "rlnTomoTomogramsFile": "tomograms.star",
        }
    listed = read_particles(tmp_path / "relion5" / "import.star")
    counts = [
        len(read_particles(tmp_path / "relion5" / path)) for path in listed["rlnTomoImportParticleFile"]
    ]
    assert sum(counts) == len(rows)


def test_relion_5_positions_in_the_frame_of_a_project(shared_data: Path, tmp_path: Path) -> None:
    # By a link, as clusters mount disks: files keep the name that the user gave.
    (tmp_path / "project").symlink_to(shared_data / "metadata/relion5/project_with_jobs")
    project = tmp_path / "project" / "Tomograms/job_tomo/tomograms.star"
    tomograms = {
        "TS_01": TomogramRecord("TS_01", "a.mrc", (44, 136, 84), 10.52, (-60, 60), "dark"),
        "TS_02": TomogramRecord("TS_02", "b.mrc", (22, 68, 42), 21.04, (-60, 60), "dark"),
    }
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: ["TS_01", "TS_02"],
            columns.PARTICLE: ["TS_01/1", "TS_02/1"],
            **{name: [10.0, 20.0] for name in columns.COORDINATES},
            columns.VOXEL_SIZE: [10.52, 21.04],
            columns.CLASS: [1, 1],
        }
    )
    options = ExportOptions(formats=["relion5"], relion_tomograms=str(project))
    export_particles(
        gather_particles(table, []), ExportContext(tomograms, ImagingOptions(), options, 200, 1), tmp_path
    )
    written = read_particles(tmp_path / "relion5" / "particles.star")
    np.testing.assert_allclose(written["rlnCenteredCoordinateXAngst"], [-32 * 10.52, -2 * 10.52], atol=1e-5)
    np.testing.assert_allclose(written["rlnCenteredCoordinateZAngst"], [-12 * 10.52, 18 * 10.52], atol=1e-5)
    assert not (tmp_path / "relion5" / "tomograms.star").exists()
    pointed = read_star(tmp_path / "relion5" / "optimisation_set.star")[""].iloc[0]
    assert pointed["rlnTomoTomogramsFile"] == str(project)
    table[columns.TOMOGRAM] = ["TS_01", "other"]
    strange = {"TS_01": tomograms["TS_01"], "other": replace(tomograms["TS_02"], name="other")}
    with pytest.raises(
        DataError,
        match=r"contains no tomogram 'other', but TS_01, TS_02; write each tomogram's name in that file to the column exp",
    ):
        export_particles(
            gather_particles(table, []),
            ExportContext(strange, ImagingOptions(), options, 200, 1),
            tmp_path / "again",
        )


def project_of(folder: Path, *rows: tuple[str, float, float, float, float]) -> Path:
    """Write the tomograms.star of a project: name, pixel size, sizes x, y, z."""
    names = [columns.TOMOGRAM, "rlnTomoTiltSeriesPixelSize", *(f"rlnTomoSize{axis}" for axis in "XYZ")]
    write_star(folder / "tomograms.star", {"global": pd.DataFrame(rows, columns=names)})
    return folder / "tomograms.star"


@pytest.mark.parametrize("name", ["relion4", "relion5"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((2.5, 320, 240, 80), "has rlnTomoSizeX, Y, Z 320 x 240 x 80 pixels of 2.5 A, that is 80 x 60 x 20 voxels "
         "of 10 A, but ts_01.mrc has 80 x 60 x 40 voxels (less than one voxel of difference is allowed); correct "
         "the sizes there, or the tomogram or its voxel size in the tomogram table"),
        ((2.5, 320, 240, -999), "has rlnTomoSizeX, Y, Z 320 x 240 x -999 pixels of 2.5 A, that is 80 x 60 x -249.75"),
        ((2.5, 324, 240, 160), "has rlnTomoSizeX, Y, Z 324 x 240 x 160 pixels of 2.5 A, that is 81 x 60 x 40"),
        ((5.0, 320, 240, 160), "has rlnTomoSizeX, Y, Z 320 x 240 x 160 pixels of 5 A, that is 160 x 120 x 80 voxels"),
        ((2.5, 320, 240, "None"), "has rlnTomoSizeX, Y, Z 320 x 240 x nan pixels of 2.5 A"),
        ((0.0, 320, 240, 160), "has rlnTomoTiltSeriesPixelSize 0; write the pixel size of its tilt series, in angstrom"),
    ],
)  # fmt: skip
def test_sizes_of_a_project_are_compared_with_the_tomogram(
    name: str, row: tuple[float, ...], message: str, scene: Scene, tmp_path: Path
) -> None:
    project = project_of(tmp_path, ("ts_01", *row))
    options = setting(formats=[name], relion_tomograms=str(project))
    here = scene.gather()
    with pytest.raises(DataError) as caught:
        export_particles(here.select(np.flatnonzero(np.array(here.tomograms) == "ts_01")), options, tmp_path)
    assert str(caught.value).startswith(f"{project}: tomogram 'ts_01' {message}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / name).exists()


def test_a_remainder_of_binning_is_no_disagreement(scene: Scene, tmp_path: Path) -> None:
    """3838 pixels binned by 4 are 959 voxels and two pixels; RELION rounds, others cut off."""
    project = project_of(
        tmp_path, ("ts_01", 2.5, 323, 237, 161), ("007", 2.5, 320, 240, 160), ("ts_02", 2.5, 350, 250, 155)
    )
    options = setting(formats=["relion5"], relion_tomograms=str(project))
    summary = export_particles(scene.gather(), options, tmp_path)
    assert summary["position_error"].max() < 1e-4


def test_a_tomogram_listed_twice_in_a_project(scene: Scene, tmp_path: Path) -> None:
    rows = [("ts_01", 2.5, 320, 240, 160), ("007", 2.5, 320, 240, 160), ("ts_02", 2.5, 350, 250, 155)]
    project = project_of(tmp_path, *rows, rows[0])
    with pytest.raises(DataError) as caught:
        export_particles(
            scene.gather(), setting(formats=["relion5"], relion_tomograms=str(project)), tmp_path
        )
    assert str(caught.value) == (
        f"{project}: lists tomogram 'ts_01' 2 times; keep one row of each tomogram in data_global"
    )


def test_reading_back_does_not_trust_the_sizes_that_were_written(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions and sizes that are wrong by the same number agree with each other."""
    right = relion5.frames_of

    def wrong(particles: ParticleSet, options: ExportContext) -> Frames:
        frames = right(particles, options)
        return replace(frames, sizes=frames.sizes * [1, 1, 2])

    monkeypatch.setattr(relion5, "frames_of", wrong)
    with pytest.raises(DataError, match=r"relion5/tomograms\.star: tomogram '.*' has rlnTomoSizeX, Y, Z"):
        export_particles(scene.gather(), setting(formats=["relion5"]), tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_particles_outside_their_tomogram_are_in_no_file(
    name: str, scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gathered = scene.gather()
    positions = gathered.positions.copy()
    clustered = np.flatnonzero(gathered.clusters > 0)
    for row, axis, place in zip(clustered[:4], (0, 1, 2, 2), (-0.6, 1e4, -0.01, 39.51), strict=True):
        positions[row, axis] = place
    positions[clustered[4]] = 0  # on the outermost voxel's centre: inside
    last = np.array(SHAPES[gathered.tomograms[clustered[5]]][::-1]) - 1
    positions[clustered[5]] = last
    outside = set(clustered[:4])
    table = gathered.table.copy()
    for axis, column in enumerate(columns.COORDINATES):
        table[column], table[columns.ORIGINS[axis]] = positions[:, axis], 0.0
    moved = replace(gathered, positions=positions, table=table)
    options = setting(formats=[name])
    summary = export_particles(moved, options, tmp_path)
    assert (summary["outside"] == 4).all()
    assert caplog.messages[0] == "4 of 30 particles lie outside their tomogram and are not exported"
    kept = np.array([row for row in clustered if row not in outside])
    found = [WRITERS[name].read(Path(path), options) for path in summary["file"]]
    for poses_found in found:
        shapes = np.array([SHAPES[tomogram][::-1] for tomogram in poses_found.tomograms]).reshape(-1, 3)
        assert ((poses_found.positions >= -1e-4) & (poses_found.positions <= shapes - 1 + 1e-4)).all()
    whole = found[0] if name != "warp" and not FORMATS[name].per_tomogram else None
    if whole is not None:
        np.testing.assert_allclose(whole.positions, positions[kept], atol=1e-4)


def test_columns_are_those_of_real_relion_files(scene: Scene, shared_data: Path, tmp_path: Path) -> None:
    export_particles(scene.gather(), setting(formats=["relion", "relion4", "relion5", "warp"]), tmp_path)
    metadata = shared_data / "metadata"
    real = {
        "relion": read_star(metadata / "relion31" / "relion_3.1_optics2.star"),
        "relion4": read_star(metadata / "relion4" / "particles_head.star"),
        "relion5": read_star(metadata / "relion5/project_with_jobs/Refine3D/job_refine/run_it050_data.star"),
    }
    for name, blocks in real.items():
        ours = read_star(tmp_path / name / "particles.star")
        new_in_ours = {"rlnTomoName", "rlnTomoParticleName", "rlnAmplitudeContrast", "rlnOpticsGroupName"}
        for block in ("optics", "particles"):
            own = {column for column in ours[block] if column.startswith("rln")} - new_in_ours
            assert own - {"rlnGroupName"} <= set(blocks[block].columns), (name, block)
    version_3_0 = read_particles(metadata / "relion30" / "relion_3.0.star")
    warp = read_particles(tmp_path / "warp" / "particles_10A.star")
    assert set(warp.columns) - {"rlnRandomSubset", "rlnClassNumber"} <= set(version_3_0.columns)
    tomograms = read_star(metadata / "relion5" / "tomograms.star")["global"]
    ours = read_star(tmp_path / "relion5" / "tomograms.star")["global"]
    assert set(ours.columns) - {"rlnTomoReconstructedTomogram"} <= set(tomograms.columns)
    pointers = read_star(metadata / "relion5" / "warp2_matching_optimisation_set.star")
    assert set(pointers[""]) == set(read_star(tmp_path / "relion5" / "optimisation_set.star")[""])


def test_warp_gets_one_file_per_voxel_size_without_origins(scene: Scene, tmp_path: Path) -> None:
    summary = export_particles(scene.gather(), setting(formats=["warp"]), tmp_path)
    lists = [
        f"{name}_{size}A.star"
        for name in ("particles", "cluster_01", "cluster_02")
        for size in ("10", "12.5")
    ]
    assert [Path(path).name for path in summary["file"]] == lists
    chosen = np.flatnonzero(scene.particles[columns.CLASS] > 0)
    for path, size in zip(summary["file"][:2], (10.0, 12.5), strict=True):
        table = read_particles(path)
        rows = chosen[scene.particles[columns.VOXEL_SIZE].to_numpy()[chosen] == size]
        np.testing.assert_allclose(table[list(columns.COORDINATES)], scene.positions[rows], atol=1e-5)
        assert table[columns.MICROGRAPH].tolist() == [
            f"{name}.tomostar" for name in scene.particles[columns.TOMOGRAM].iloc[rows]
        ]
        assert (table["rlnPixelSize"] == size).all()
        assert not [name for name in table if "Origin" in name]
        assert_rotated(table, scene, rows)


def test_dynamo_table(scene: Scene, tmp_path: Path) -> None:
    export_particles(scene.gather(), setting(formats=["dynamo"]), tmp_path)
    values = read_dynamo_table(tmp_path / "dynamo" / "particles.tbl")
    rows = np.flatnonzero(scene.particles[columns.CLASS] > 0)
    np.testing.assert_allclose(values[:, 23:26] + values[:, 3:6], scene.positions[rows] + 0.5, atol=1e-5)
    numbers = [list(SHAPES).index(name) + 1 for name in scene.particles[columns.TOMOGRAM].iloc[rows]]
    assert values[:, 19].tolist() == numbers
    assert values[:, 21].tolist() == scene.particles[columns.CLASS].iloc[rows].tolist()
    rotated = Rotation.from_euler("zxz", values[:, 6:9], degrees=True).inv()
    assert np.degrees((rotated.inv() * scene.rotations[rows]).magnitude()).max() < 1e-3
    lines = (tmp_path / "dynamo" / "tomograms.doc").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert values[np.array(numbers) == 2][:, 13:15].tolist() == [[-40, 60]] * numbers.count(2)


def test_dynamo_angles_turn_clockwise_about_z_then_the_new_x() -> None:
    # tdrot 90: clockwise about z, so that x goes to -y
    turned = rotation_from_dynamo_angles(np.array([[90.0, 0.0, 0.0]]))
    np.testing.assert_allclose(turned.apply([1, 0, 0]), [[0, -1, 0]], atol=1e-12)
    # then tilt 90 about the new x, which is -y: the particle's z goes to +x
    turned = rotation_from_dynamo_angles(np.array([[90.0, 90.0, 0.0]]))
    np.testing.assert_allclose(turned.apply([0, 0, 1]), [[1, 0, 0]], atol=1e-12)
    rotations = Rotation.random(50, random_state=3)
    back = rotation_from_dynamo_angles(dynamo_angles(rotations))
    assert (back.inv() * rotations).magnitude().max() < 1e-6


def test_a_real_dynamo_table_is_read(shared_data: Path, tmp_path: Path) -> None:
    real = read_dynamo_table(shared_data / "metadata" / "dynamo" / "particles_head.tbl")
    assert real.shape[1] >= 26
    assert real[0, [0, 19, 23, 24, 25]].tolist() == [1, 2, 507, 548, 167]
    write_dynamo_table(tmp_path / "copy.tbl", real)
    np.testing.assert_allclose(read_dynamo_table(tmp_path / "copy.tbl"), real, atol=1e-6)


def test_artiax_lists_have_names_with_numbers_and_scripts_with_the_clusters_colours(
    scene: Scene, tmp_path: Path
) -> None:
    scene.particles[columns.DIAMETER] = 90.0 * scene.particles[columns.CLASS]
    export_particles(scene.gather(), setting(tmp_path, formats=["artiax"]), tmp_path / "results")
    folder = tmp_path / "results" / "artiax"
    table = read_particles(folder / "particles.star")
    rows = np.flatnonzero(scene.particles[columns.CLASS] > 0)
    assert set(table[columns.TOMOGRAM]) == {"tomo_1", "tomo_2", "tomo_3"}
    np.testing.assert_allclose(table[list(columns.COORDINATES)], scene.positions[rows], atol=1e-5)
    assert (table[list(columns.ORIGINS)] == 0).all(axis=None)
    assert_rotated(table, scene, rows)
    one = read_particles(folder / "tomograms" / "ts_02.star")
    assert set(one[columns.TOMOGRAM]) == {"tomo_2"}
    parts = [read_particles(folder / "tomograms" / "ts_02" / f"cluster_0{n}.star") for n in (1, 2)]
    assert [set(part[columns.CLASS]) for part in parts] == [{1}, {2}]
    assert len(one) == len(parts[0]) + len(parts[1])
    size = f"{VOXEL_SIZES['ts_02']:.6g}"
    tomogram = os.path.relpath(records(tmp_path)["ts_02"].path, folder / "tomograms")
    assert (folder / "tomograms" / "ts_02.cxc").read_text().splitlines()[1:] == [
        *("close session", "artiax start", f'artiax open tomo "{tomogram}"'),
        f"artiax tomo #1.1.1 pixelSize {size}",
        'open "ts_02/cluster_01.star" format relion',
        f"artiax particles #1.2.1 originScaleFactor {size} radius 45 axesSize 45 color {COLOURS[0]}",
        'open "ts_02/cluster_02.star" format relion',
        f"artiax particles #1.2.2 originScaleFactor {size} radius 90 axesSize 90 color {COLOURS[1]}",
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_but_noise_is_a_state_and_not_a_crash(name: str, scene: Scene, tmp_path: Path) -> None:
    noise = scene.particles.assign(**{columns.CLASS: columns.UNASSIGNED})
    summary = export_particles(gather_particles(noise, []), setting(formats=[name]), tmp_path)
    assert summary["particles"].sum() == (len(noise) if name == "relion" else 0)


@pytest.mark.parametrize("name", WRITERS)
def test_no_particles_at_all(name: str, scene: Scene, tmp_path: Path) -> None:
    summary = export_particles(
        gather_particles(scene.particles.iloc[:0], []), setting(formats=[name]), tmp_path
    )
    assert summary["particles"].sum() == 0


@settings(max_examples=10)
@given(
    st.lists(st.floats(-180, 180), min_size=3, max_size=3),
    st.lists(st.floats(5, 3000), min_size=3, max_size=3),
    st.lists(st.floats(-60, 60), min_size=3, max_size=3),
)
def test_every_format_keeps_every_pose(
    tmp_path_factory: pytest.TempPathFactory, angles: list[float], place: list[float], shift: list[float]
) -> None:
    table = pd.DataFrame({columns.TOMOGRAM: ["ts_02"], columns.PARTICLE: ["ts_02/1"], columns.CLASS: [1]})
    for i in range(3):
        table[columns.COORDINATES[i]] = place[i]
        table[columns.ANGLES[i]] = angles[i]
        table[columns.ORIGINS[i]] = shift[i]
    table[columns.VOXEL_SIZE] = 12.5
    folder = tmp_path_factory.mktemp("export")
    whole = setting(formats=list(WRITERS), tilt_series_pixel_size=3.1)
    large = replace(whole.tomograms["ts_02"], shape_zyx=(3010, 3010, 3010))
    whole = replace(whole, tomograms={**whole.tomograms, "ts_02": large})
    summary = export_particles(gather_particles(table, []), whole, folder)
    assert (summary["outside"] == 0).all()
    assert summary["position_error"].max() < 1e-3  # 32-bit numbers of IMOD, at 3000 voxels
    assert summary["angle_error"].max() < 1e-3


def poses(count: int = 3) -> ParticlePoses:
    return ParticlePoses(["a"] * count, np.ones((count, 3)), Rotation.identity(count))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (poses(2), r"^x\.star: contains 2 particles, not 3; this is a fault of cryopipe"),
        (replace(poses(), tomograms=["a", "b", "a"]), r"particle 2 is in tomogram 'b', not 'a'"),
        (
            replace(poses(), positions=np.ones((3, 3)) + np.array([0, 0, 0.2])),
            r"positions are off by up to 0\.2 voxels",
        ),
        (replace(poses(), positions=np.full((3, 3), np.nan)), r"positions are off by up to nan voxels"),
        (
            replace(poses(), rotations=Rotation.from_euler("z", [[0], [0], [0.3]], degrees=True)),
            r"rotations are off by up to 0\.3 degrees",
        ),
    ],
)
def test_verification_refuses_what_is_off(found: ParticlePoses, message: str) -> None:
    with pytest.raises(DataError, match=message):
        verify("x.star", poses(), found)


def test_a_writer_that_errs_is_caught(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryopipe.export.relion5.relion_angles", lambda r: relion_angles(r.inv()))
    with pytest.raises(DataError, match="rotations are off by up to"):
        export_particles(scene.gather(), setting(formats=["relion5"]), tmp_path)


def test_unknown_tomogram(scene: Scene, tmp_path: Path) -> None:
    few = replace(setting(), tomograms={"ts_01": records()["ts_01"]})
    with pytest.raises(DataError, match="particles of tomogram '007', which is not in the tomogram table"):
        export_particles(scene.gather(), few, tmp_path)


def test_boxes_lie_at_whole_voxels_bright_and_on_one_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    volume = rng.normal(7, 3, (40, 44, 48)).astype(np.float32)
    centres = np.array([[20, 21, 19], [24, 20, 22]])
    boxes = list(cut_boxes(volume, centres, 16, "dark", 1))
    for (x, y, z), box in zip(centres, boxes, strict=True):
        expected = volume[z - 8 : z + 8, y - 8 : y + 8, x - 8 : x + 8]
        slope = np.polyfit(expected.ravel(), box.ravel(), 1)[0]
        assert slope == pytest.approx(-1 / 3, rel=0.05)
        assert np.corrcoef(expected.ravel(), box.ravel())[0, 1] == pytest.approx(-1, abs=1e-6)
        assert box.dtype == np.float32
        assert abs(box.mean()) < 0.1


def test_boxes_beyond_the_border_are_filled_with_noise_and_repeat(tmp_path: Path) -> None:
    volume = np.random.default_rng(5).normal(0, 1, (20, 20, 20)).astype(np.float32)
    centres = np.array([[0, 10, 10], [10, 10, 25], [500, 0, 0]])
    boxes = list(cut_boxes(volume, centres, 16, "bright", 1))
    assert 0.7 < boxes[0][:, :, :8].std() < 1.3
    assert all(np.isfinite(box).all() and box.std() > 0.5 for box in boxes)
    again = list(cut_boxes(volume, centres, 16, "bright", 1))
    assert all((a == b).all() for a, b in zip(boxes, again, strict=True))


def test_boxes_in_padding_are_filled_as_beyond_the_border() -> None:
    volume = np.random.default_rng(5).normal(50, 4, (30, 30, 30)).astype(np.float32)
    padded = np.pad(volume, 10)
    (expected,) = cut_boxes(volume, np.array([[2, 15, 15]]), 16, "dark", 1)
    (box,) = cut_boxes(padded, np.array([[12, 25, 25]]), 16, "dark", 1)
    np.testing.assert_allclose(box[:, :, 7:].std(), expected[:, :, 7:].std(), rtol=0.1)
    assert np.corrcoef(box[:, :, 7:].ravel(), expected[:, :, 7:].ravel())[0, 1] > 0.9999
    assert 0.8 < box[:, :, :6].std() < 1.2
    assert abs(box[:, :, :6].mean()) < 0.1


def test_constant_volume_gives_finite_boxes() -> None:
    box = next(cut_boxes(np.ones((20, 20, 20)), np.array([[10, 10, 10]]), 8, "dark", 1))
    assert np.isfinite(box).all()


@pytest.mark.parametrize(("width", "voxel_size", "size"), [(160, 10, 16), (161, 10, 18), (426.56, 13.33, 32)])
def test_box_sizes_are_even_and_large_enough(width: float, voxel_size: float, size: int) -> None:
    assert even_box_size(width, voxel_size) == size


def test_subtomograms_and_wedges(scene: Scene, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, record in records(tmp_path).items():
        write_volume(record.path, rng.normal(0, 1, SHAPES[name]).astype(np.float32), VOXEL_SIZES[name])
    export_particles(scene.gather(), setting(tmp_path, formats=["relion"], subtomograms=True), tmp_path)
    folder = tmp_path / "relion"
    table = read_particles(folder / "particles.star")
    assert table["rlnImageName"].is_unique
    for _, row in table.iterrows():
        header = read_header(folder / row["rlnImageName"])
        size = 16 if VOXEL_SIZES[row[columns.TOMOGRAM]] == 10 else 14
        assert header.shape_zyx == (size,) * 3
        assert header.mode == 2
        assert header.voxel_size == VOXEL_SIZES[row[columns.TOMOGRAM]]
        wedge = open_volume(folder / row["rlnCtfImage"])
        assert wedge.shape == (size,) * 3
        assert wedge[size // 2, size // 2, size // 2] == 1
        assert wedge[-2, size // 2, size // 2] == 0
    assert len(set(table["rlnCtfImage"])) == 2
    noise = read_particles(folder / "unassigned.star")
    assert "rlnImageName" not in noise
    assert set(read_particles(folder / "cluster_01.star")["rlnImageName"]) <= set(table["rlnImageName"])


def test_real_apoferritin_comes_out_centred_and_bright(shared_data: Path, tmp_path: Path) -> None:
    """Its shells need no alignment: the mean of the boxes shows them if position and contrast are right."""
    path = shared_data / "real" / "apoferritin.mrc"
    centres = read_particles(shared_data / "real" / "apoferritin_centres.star")
    centres = centres[list(columns.COORDINATES)].astype(float).iloc[::2].reset_index(drop=True)
    table = centres.assign(**{columns.TOMOGRAM: "apo", columns.MICROGRAPH: str(path), columns.CLASS: 1})
    table[columns.PARTICLE] = [f"apo/{i}" for i in range(len(table))]
    table[columns.VOXEL_SIZE] = 10.0
    record = TomogramRecord("apo", str(path), read_header(path).shape_zyx, 10.0, (-60, 60), "dark")
    options = ExportOptions(formats=["relion"], subtomograms=True)
    export_particles(
        gather_particles(table, []),
        ExportContext({"apo": record}, ImagingOptions(), options, 240.0, 1),
        tmp_path,
    )
    images = read_particles(tmp_path / "relion" / "particles.star")["rlnImageName"]
    mean = np.mean([open_volume(tmp_path / "relion" / name) for name in images], axis=0)
    z, y, x = np.indices(mean.shape) - 12
    radius = np.sqrt(x**2 + y**2 + z**2)
    profile = [mean[np.rint(radius) == shell].mean() for shell in range(11)]
    assert 4 <= np.argmax(profile) <= 7  # nanometres at 10 A a voxel: the wall of the shell
    assert profile[0] < 0.5 * max(profile)
    shell = np.clip(mean, 0.3 * mean.max(), None) - 0.3 * mean.max()
    shell[radius > 9] = 0
    for axis in (z, y, x):
        assert abs((axis * shell).sum() / shell.sum()) < 0.5


def test_references_have_the_box_of_the_particles(scene: Scene, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, record in records(tmp_path).items():
        write_volume(record.path, rng.normal(0, 1, SHAPES[name]).astype(np.float32), VOXEL_SIZES[name])
    average = asymmetric_map(24, width=2.5).numpy()
    chosen = replace(
        setting(tmp_path, formats=["relion"], subtomograms=True, box_width=300.0),
        averages={1: ClusterAverage(average, 13.0), 7: ClusterAverage(average, 13.0)},
    )
    export_particles(scene.gather(), chosen, tmp_path)
    written = list((tmp_path / "relion" / "references").iterdir())
    assert [path.name for path in written] == ["cluster_01.mrc"]
    reference = open_volume(written[0])
    pixel_size = read_header(written[0]).voxel_size
    assert pixel_size == 10  # two of the three tomograms
    assert reference.shape == (30,) * 3
    exact = asymmetric_map(30, width=2.5 * 1.3, scale=1.3).numpy()
    assert np.corrcoef(reference.ravel(), exact.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", ["relion", "relion5"])
def test_the_script_exports_what_the_workflow_hands_it(
    name: str, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, checks = [], []
    for tomogram, record in records().items():
        write_volume(record.path, np.zeros(SHAPES[tomogram], dtype=np.int8), VOXEL_SIZES[tomogram])
        rows.append(vars(Tomogram(tomogram, record.path, None, record.tilt_range, "dark", None)))
        checks.append(f"results/check/{tomogram}.tsv")
        write_table(checks[-1], pd.DataFrame({"status": ["ok"]}))
    rows.append(vars(Tomogram("gone", "gone.mrc", None, (-60, 60), "dark", None)))
    checks.append("results/check/gone.tsv")
    write_table(checks[-1], pd.DataFrame({"status": ["bad"]}))
    write_particles("results/clusters/particles.star", scene.particles)
    verdicts = pd.DataFrame({"cluster": [1, 2], "verdict": ["particle", "membrane or filament"]})
    write_table("results/averages/clusters.tsv", verdicts)
    clusters = ["results/averages/cluster_02.star", "results/averages/cluster_01.star"]
    for path, table in zip(clusters, scene.clusters, strict=True):
        write_particles(path, table)
    job = SimpleNamespace(
        input=SimpleNamespace(
            particles="results/clusters/particles.star",
            clusters=clusters,
            averages=[],
            checks=checks,
            verdicts="results/averages/clusters.tsv",
        ),
        output=[f"results/export/{name}.tsv"],
        wildcards=SimpleNamespace(format=name),
        params=SimpleNamespace(
            tomograms=rows,
            options=options_of(f"export_{name}", {**defaults(), "seed": 7}),
        ),
    )
    monkeypatch.setattr("cryopipe.job.run", lambda main, handed: main(handed))
    runpy.run_path(str(CHECKOUT / "scripts" / "export.py"), {"snakemake": job})
    summary = read_table(job.output[0])
    classes = scene.particles[columns.CLASS]
    counts = [(classes > 0).sum(), *((classes == number).sum() for number in (1, 2, 0))]
    if name == "relion":
        assert summary["particles"].tolist() == counts
    else:
        assert summary["particles"].iloc[0] == counts[0]
    assert summary["position_error"].max() < 1e-4
    assert set(summary["format"]) == {name}
    if name == "relion5":
        assert len(read_star("results/relion5/tomograms.star")["global"]) == 3


@pytest.mark.parametrize("project", [False, True])
def test_tomograms_have_the_names_of_other_programs_in_every_export(
    project: bool, scene: Scene, tmp_path: Path
) -> None:
    names = {"ts_01": "L1_G1.2_ts_01", "ts_02": "ts_02", "007": "008.5"}
    options: dict[str, object] = {"formats": list(WRITERS)}
    if project:
        sizes = [(names[name], VOXEL_SIZES[name], *SHAPES[name][::-1]) for name in names]
        options["relion_tomograms"] = str(project_of(tmp_path, *sizes))
    plain = setting(tmp_path, **options)
    own = {name: replace(one, exported_name=names[name]) for name, one in plain.tomograms.items()}
    own["ts_02"] = plain.tomograms["ts_02"]
    summary = export_particles(scene.gather(), replace(plain, tomograms=own), tmp_path)
    assert summary["position_error"].max() < 1e-4
    meant = {name: names[tomogram] for name, tomogram in zip(
        scene.particles[columns.PARTICLE], scene.particles[columns.TOMOGRAM], strict=True
    )}  # fmt: skip
    clustered = {*names.values()}
    for file in ("relion/particles.star", "relion4/particles.star", "relion5/particles.star"):
        table = read_particles(tmp_path / file)
        assert set(table[columns.TOMOGRAM]) == clustered, file
        if columns.PARTICLE in table:
            assert table[columns.TOMOGRAM].tolist() == [meant[name] for name in table[columns.PARTICLE]]
    for file in ("relion/unassigned.star", "relion/cluster_01.star"):
        table = read_particles(tmp_path / file)
        assert table[columns.TOMOGRAM].tolist() == [meant[name] for name in table[columns.PARTICLE]]
    for version in () if project else ("relion4", "relion5"):
        listed = read_star(tmp_path / version / "tomograms.star")["global"]
        assert set(listed[columns.TOMOGRAM].astype(str)) == clustered
    listed = read_star(tmp_path / "relion5" / "import.star")["particles"]
    assert set(listed[columns.TOMOGRAM].astype(str)) == clustered
    warp = [read_particles(path) for path in (tmp_path / "warp").glob("*.star")]
    assert {name for table in warp for name in table[columns.MICROGRAPH]} == {
        f"{name}.tomostar" for name in clustered
    }


def test_files_of_the_user_outlive_every_export(scene: Scene, tmp_path: Path) -> None:
    """RELION was run in the folder; then the export is repeated, fails, and is repeated with other options."""
    names = list(WRITERS)
    export_particles(scene.gather(), setting(formats=names), tmp_path)
    users = {
        tmp_path / name / "Refine3D" / "job001" / "run_data.star": f"of the user {name}" for name in names
    }
    users |= {tmp_path / name / "notes.txt": "mine" for name in names}
    for path, text in users.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "warp" / "particles_10A.star").rename(tmp_path / "warp" / "kept.star")
    export_particles(scene.gather(), setting(formats=names, tilt_hand=1), tmp_path)
    assert read_star(tmp_path / "relion5" / "tomograms.star")["global"]["rlnTomoHand"].eq(1).all()
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(FileError, match=r"absent\.star: no such file"):
        export_particles(
            scene.gather(), setting(formats=["relion5"], relion_tomograms="absent.star"), tmp_path
        )
    few = replace(scene.gather(), table=scene.gather().table.assign(**{columns.CLASS: 1}))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == whole
    export_particles(few, setting(formats=["relion"]), tmp_path)
    assert not (tmp_path / "relion" / "cluster_02.star").exists()  # that cluster is no more
    for name in names:
        remove_written_files(tmp_path / name)
    left = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert left.pop(tmp_path / "warp" / "kept.star").startswith("# written by cryopipe")
    assert left == users


def test_star_refuses_what_relion_would_misread(tmp_path: Path) -> None:
    table = pd.DataFrame({columns.TOMOGRAM: ["a\nb"]})
    with pytest.raises(DataError, match="line breaks"):
        write_particles(tmp_path / "x.star", table)
    assert not (tmp_path / "x.star").exists()


def test_the_context_is_made_from_tomograms_and_sections(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", np.zeros((4, 5, 6), np.float32), 10.0)
    tomogram = Tomogram("a", str(tmp_path / "a.mrc"), 12.5, (-50.0, 60.0), "bright", None, "Position_1")
    sections = {
        "seed": 7,
        "imaging": {"voltage": 200.0},
        "subtomograms": {"box_size": 32, "voxel_size": 15.0},
        "export": {"tilt_hand": 1},
    }
    context = export_context([tomogram], {}, sections, ["relion5"])
    record = TomogramRecord("a", tomogram.path, (4, 5, 6), 12.5, (-50.0, 60.0), "bright", "Position_1")
    assert context.tomograms == {"a": record}
    assert (context.box_width, context.seed, context.microscope.voltage) == (480.0, 7, 200.0)
    assert (context.options.formats, context.options.tilt_hand) == (("relion5",), 1)
    assert export_context([], {}, {}).options == ExportOptions()
