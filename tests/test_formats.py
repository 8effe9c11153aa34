"""Lists of particles as other programs' own readers see them, and conversion between formats."""

from __future__ import annotations

import json
import re
import runpy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from reader_matrix import READERS, installed, measure
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.cli import main
from cryopipe.config import CHECKOUT, ImagingOptions, complete, defaults
from cryopipe.errors import DataError, FileError
from cryopipe.export import WRITERS, ExportContext, ExportOptions, TomogramRecord, export_particles
from cryopipe.export.conversion import convert_particles
from cryopipe.export.format_register import detect_format, read_particle_list
from cryopipe.export.given_particles import read_given_particles
from cryopipe.export.list_reading import particle_set
from cryopipe.export.plausibility import doubts
from cryopipe.export.writer import Conventions
from cryopipe.files.em_file import read_em
from cryopipe.files.imod_model import read_imod_model
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import read_particles, read_star, write_particles
from cryopipe.files.tables import write_table
from cryopipe.format_page import PAGE, asymmetric_set, measure_conversions, render_page
from cryopipe.particle_formats import FORMATS
from cryopipe.particles import pick_table
from cryopipe.picking import given_picks
from cryopipe.provenance import options_of
from cryopipe.tomograms import Tomogram

ORIGINAL, CONTEXT = asymmetric_set()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The asymmetric set in every format, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("formats")
    for name, writer in WRITERS.items():
        (folder / name).mkdir()
        writer.write(ORIGINAL, CONTEXT, folder / name)
    return folder


def numbers_of_tomograms() -> np.ndarray:
    return np.array([CONTEXT.number_of(name) for name in ORIGINAL.tomograms])


def assert_rotated(found: Rotation) -> None:
    assert np.degrees((found.inv() * ORIGINAL.rotations).magnitude()).max() < 1e-3


def test_the_register_holds_every_format() -> None:
    assert list(WRITERS) == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_written_file_is_recognised_and_read(name: str, written: Path) -> None:
    found = read_particle_list(written / name, name, CONTEXT)
    order, meant = (np.lexsort((one.positions[:, 0], one.tomograms)) for one in (found, ORIGINAL))
    assert [found.tomograms[row] for row in order] == [ORIGINAL.tomograms[row] for row in meant]
    assert found.clusters[order].tolist() == ORIGINAL.clusters[meant].tolist()
    np.testing.assert_allclose(found.positions[order], ORIGINAL.positions[meant], atol=1e-4)
    if FORMATS[name].angles:
        assert_rotated(Rotation.from_quat(found.rotations.as_quat()[order][np.argsort(meant)]))
    files = (written / name).rglob(f"*{FORMATS[name].suffix}")
    lists = [path for path in files if re.search(r"cluster[-_]0\d(_[\d.]+A)?(\.|/)", str(path))]
    assert {detect_format(path) for path in lists} == {"relion" if name == "artiax" else name}


def test_stopgap_reads_labels_without_numbers_and_half_sets_of_one_letter(written: Path) -> None:
    """By the rules of its reader of motive lists, sg_motl_read2."""
    lines = (written / "stopgap" / "particles.star").read_text().splitlines()
    labels = [line[1:] for line in lines if line.startswith("_")]
    assert labels == [*("motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "orig_x", "orig_y", "orig_z"),
                      *("score", "x_shift", "y_shift", "z_shift", "phi", "psi", "the", "class")]  # fmt: skip
    assert any(line.startswith("data_stopgap_motivelist") for line in lines)
    rows = [line.split() for line in lines if re.match(r"\d", line)]
    assert {row[4] for row in rows} == {"A", "B"}
    values = np.array([[float(value) for value in row[:4] + row[5:]] for row in rows])
    assert (values[:, 4:7] == np.rint(values[:, 4:7])).all()  # cut at whole voxels
    np.testing.assert_allclose(values[:, 4:7] + values[:, 8:11] - 1, ORIGINAL.positions, atol=1e-5)
    assert values[:, 1].tolist() == numbers_of_tomograms().tolist()
    matrices = []
    for phi, psi, the in np.radians(values[:, 11:14]):  # sg_euler2matrix
        z, x, new_z = (
            np.array([[np.cos(psi), -np.sin(psi), 0], [np.sin(psi), np.cos(psi), 0], [0, 0, 1]]),
            np.array([[1, 0, 0], [0, np.cos(the), -np.sin(the)], [0, np.sin(the), np.cos(the)]]),
            np.array([[np.cos(phi), -np.sin(phi), 0], [np.sin(phi), np.cos(phi), 0], [0, 0, 1]]),
        )
        matrices.append(z @ x @ new_z)
    assert_rotated(Rotation.from_matrix(matrices))


def test_starfile_reads_every_star_file(written: Path) -> None:
    starfile = pytest.importorskip("starfile")
    for name in ("relion", "relion4", "relion5", "warp", "artiax", "stopgap"):
        for path in sorted((written / name).rglob("*.star")):
            theirs = starfile.read(path, always_dict=True)
            ours = read_star(path)
            assert [len(block) if isinstance(block, pd.DataFrame) else 1 for block in theirs.values()] == [
                len(block) for block in ours.values()
            ], path
    motives = next(iter(starfile.read(written / "stopgap" / "particles.star", always_dict=True).values()))
    places = (
        motives[["orig_x", "orig_y", "orig_z"]].to_numpy()
        + motives[["x_shift", "y_shift", "z_shift"]].to_numpy()
    )
    np.testing.assert_allclose(places - 1, ORIGINAL.positions, atol=1e-5)


def test_dynamotable_and_eulerangles_read_the_dynamo_table(written: Path) -> None:
    dynamotable, eulerangles = pytest.importorskip("dynamotable"), pytest.importorskip("eulerangles")
    table = dynamotable.read(written / "dynamo" / "particles.tbl")
    np.testing.assert_allclose(table[["x", "y", "z"]].to_numpy() - 0.5, ORIGINAL.positions, atol=1e-5)
    assert table["tomo"].tolist() == numbers_of_tomograms().tolist()
    assert table["class"].tolist() == ORIGINAL.clusters.tolist()
    angles = eulerangles.convert_eulers(table[["tdrot", "tilt", "narot"]].to_numpy(), "dynamo", "relion")
    assert_rotated(Rotation.from_euler("ZYZ", angles, degrees=True).inv())


def test_imodmodel_reads_the_models(written: Path) -> None:
    imodmodel = pytest.importorskip("imodmodel")
    for path in sorted((written / "imod" / "particles").iterdir()):
        model = imodmodel.ImodModel.from_file(path)
        here = np.array(ORIGINAL.tomograms) == path.stem
        record = CONTEXT.tomograms[path.stem]
        assert (model.header.xmax, model.header.ymax, model.header.zmax) == record.shape_zyx[::-1]
        assert model.header.pixelsize == pytest.approx(record.voxel_size / 10)
        assert [one.header.name for one in model.objects] == [
            f"cluster {n}" for n in np.unique(ORIGINAL.clusters[here])
        ]
        for one, cluster in zip(model.objects, np.unique(ORIGINAL.clusters[here]), strict=True):
            points = ORIGINAL.positions[here & (ORIGINAL.clusters == cluster)] + [0.5, 0.5, 0]
            np.testing.assert_allclose(one.contours[0].points, points, atol=1e-4)
            radius = 120.0 / 2 / record.voxel_size  # half the boxes' width, as there is no diameter
            np.testing.assert_allclose(one.contours[0].point_sizes, radius, rtol=1e-6)
            assert one.header.flags.scattered


def test_emfile_reads_the_em_lists(written: Path) -> None:
    emfile = pytest.importorskip("emfile")
    _, values = emfile.read(written / "em" / "particles.em")
    assert values.shape == (1, len(ORIGINAL), 20)
    np.testing.assert_array_equal(values, read_em(written / "em" / "particles.em").astype(np.float32))
    # cryoCAT: x, y, z and their shifts count from 1; phi, psi, theta in columns 17 to 19, tomogram 5, class 20
    np.testing.assert_allclose(values[0, :, 7:10] + values[0, :, 10:13] - 1, ORIGINAL.positions, atol=1e-4)
    assert values[0, :, 4].tolist() == numbers_of_tomograms().tolist()
    assert values[0, :, 19].tolist() == ORIGINAL.clusters.tolist()
    phi, psi, theta = values[0, :, 16:19].T
    assert_rotated(Rotation.from_euler("zxz", np.stack([phi, theta, psi], axis=1), degrees=True))


@pytest.mark.parametrize(("name", "reader"), READERS)
def test_readers_of_other_programs_find_every_pose(name: str, reader: str, written: Path) -> None:
    rows = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}` | {reader} |")
    ]
    assert len(rows) == 1
    count, position, angle = rows[0].strip("| ").split(" | ")[2:]
    assert int(count) == len(ORIGINAL)
    if not installed(reader):
        pytest.skip(f"{reader} is not installed")
    found = measure(name, reader, written)
    assert found[0] == len(ORIGINAL)
    assert found[1] < 1e-4
    assert float(position) < 1e-4
    assert (angle == "-") == np.isnan(found[2]) == (not FORMATS[name].angles)
    assert angle == "-" or (found[2] < 1e-3 and float(angle) < 1e-3)


def test_eman2_counts_unbinned_pixels_from_the_centre(written: Path) -> None:
    """By the arithmetic of its box viewer: x = box / voxel size * apix_unbin + nx // 2."""
    for name, record in CONTEXT.tomograms.items():
        content = json.loads((written / "eman2" / "info" / f"{name}_info.json").read_text())
        boxes = np.array([box[:3] for box in content["boxes_3d"]])
        centre = np.array([size // 2 for size in record.shape_zyx[::-1]])
        found = boxes / record.voxel_size * content["apix_unbin"] + centre
        here = np.array(ORIGINAL.tomograms) == name
        np.testing.assert_allclose(found, ORIGINAL.positions[here], atol=1e-6)
        assert [str(box[5]) in content["class_list"] for box in content["boxes_3d"]] == [True] * here.sum()


def test_chimerax_markers_are_in_angstrom_with_the_radius_of_the_particles(written: Path) -> None:
    from xml.etree import ElementTree

    markers = list(ElementTree.parse(written / "chimerax" / "particles" / "TS_01.cmm").getroot())
    here = np.array(ORIGINAL.tomograms) == "TS_01"
    places = np.array([[float(one.attrib[axis]) for axis in "xyz"] for one in markers])
    np.testing.assert_allclose(places, ORIGINAL.positions[here] * 10.0, atol=1e-4)
    assert {one.attrib["radius"] for one in markers} == {"60.0000"}


@pytest.mark.slow
def test_the_page_of_the_formats_states_what_is_measured(tmp_path: Path) -> None:
    errors = measure_conversions(tmp_path)
    assert len(errors) == len(FORMATS) ** 2
    assert (errors["particles"] == len(ORIGINAL)).all()
    assert errors["position_error"].max() < 1e-4
    assert errors["angle_error"].max() < 1e-4
    page, made = PAGE.read_text(), render_page(errors)
    assert re.sub(r"\d+e[+-]\d+", "", page) == re.sub(r"\d+e[+-]\d+", "", made)
    stated = [float(value) for value in re.findall(r"\d+e[+-]\d+", page)]
    assert max(stated) < 1e-4


@pytest.mark.parametrize("page", sorted(PAGE.parent.glob("*.md")), ids=lambda page: page.stem)
def test_options_and_formats_on_the_pages_of_programs_are_right(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```yaml\n(.*?)```", text, re.S):
        (tmp_path / "config.yaml").write_text(block)
        assert complete(yaml.safe_load(block), tmp_path / "config.yaml")["export"]["formats"]
    for command in re.findall(r"^cryopipe convert .*$", text, re.M):
        words = command.split()
        assert words[words.index("--to") + 1] in FORMATS
    mentioned = set(re.findall(r"\*?results/(\w+)/", text)) & set(FORMATS)
    stated = {name for names in re.findall(r"formats: \[(.*?)\]", text) for name in names.split(", ")}
    assert mentioned <= stated | {"relion", "relion4"}


def test_every_format_has_a_page_with_its_export() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGE.parent.glob("*.md"))
    stated = {name for names in re.findall(r"formats: \[(.*?)\]", pages) for name in names.split(", ")}
    assert set(FORMATS) <= stated | {"relion", "relion4"}


# --- files of other programs


def record(
    name: str, shape: tuple[int, int, int] = (300, 1000, 1000), voxel_size: float = 10.0
) -> TomogramRecord:
    return TomogramRecord(name, f"{name}.mrc", shape, voxel_size, (-60.0, 60.0), "dark")


def context_of(*records_: TomogramRecord, **options: object) -> ExportContext:
    by_name = {one.name: one for one in records_}
    return ExportContext(by_name, ImagingOptions(), ExportOptions(**options), 240.0, 1)  # type: ignore[arg-type]


def test_real_dynamo_table_by_numbers_in_the_tomograms_names(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = shared_data / "metadata" / "dynamo" / "particles_head.tbl"
    found = read_particle_list(
        path, "", context_of(record("TS_2"), record("TS_25"), record("TS_27"), record("TS_99"))
    )
    assert found.tomograms[:6] == ["TS_2"] * 5 + ["TS_25"]
    np.testing.assert_allclose(found.positions[0], np.array([507 + 1.0651, 548 + 1.1602, 167 + 0.6847]) - 0.5)
    assert found.clusters[:6].tolist() == [1] * 6
    few = read_particle_list(path, "", context_of(record("TS_2"), record("TS_25")))
    assert set(few.tomograms) <= {"TS_2", "TS_25"}
    caplog.clear()
    with pytest.raises(
        DataError, match=r"no particle is in a tomogram of the table; the file names 'number 2', "
    ):
        read_particle_list(path, "", context_of(record("grid")))


def test_real_relion_5_particles_in_boxes_that_are_rotated(shared_data: Path) -> None:
    """rlnTomoSubtomogram angles rotate the boxes; RELION's position is the coordinate less the rotated origin."""
    project = shared_data / "metadata" / "relion5" / "project_with_jobs"
    path = project / "Refine3D" / "job_refine" / "run_it050_data.star"
    sizes = read_star(project / "Tomograms" / "job_tomo" / "tomograms.star")["global"].set_index(
        "rlnTomoName"
    )
    names = sizes.index.astype(str)
    context = context_of(
        *(
            record(name, tuple(int(sizes.loc[name, f"rlnTomoSize{axis}"]) for axis in "ZYX"),
                   float(sizes.loc[name, "rlnTomoTiltSeriesPixelSize"]))
            for name in names
        ),
        relion_tomograms=str(project / "Tomograms" / "job_tomo" / "tomograms.star"),
    )  # fmt: skip
    assert detect_format(path) == "relion5"
    found = read_particle_list(path, "", context)
    table = read_particles(path).iloc[0]

    def rotation(*names: str) -> np.ndarray:
        """The inverse of RELION's Euler_angles2matrix, from elementary rotations."""
        rot, tilt, psi = np.radians([float(table.get(name, 0)) for name in names])
        y, z = np.eye(3)[1:]
        steps = ((z, rot), (y, tilt), (z, psi))
        first, second, third = (Rotation.from_rotvec(axis * angle).as_matrix() for axis, angle in steps)
        return (first @ second @ third).T

    box = rotation("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
    frame = sizes.loc[found.tomograms[0]]
    centre = np.array([float(frame[f"rlnTomoSize{axis}"]) / 2 for axis in "XYZ"])
    origin = np.array([float(table.get(name, 0)) for name in columns.ORIGINS])
    place = np.array([float(table[f"rlnCenteredCoordinate{axis}Angst"]) for axis in "XYZ"])
    expected = (place - box @ origin) / float(frame["rlnTomoTiltSeriesPixelSize"]) + centre
    np.testing.assert_allclose(found.positions[0], expected, atol=1e-5)
    np.testing.assert_allclose(found.rotations.as_matrix()[0], box @ rotation(*columns.ANGLES), atol=1e-6)


def test_real_table_of_relion_3_0_in_pixels_of_its_subtomograms(shared_data: Path) -> None:
    path = shared_data / "metadata" / "relion30" / "relion_3.0.star"
    assert detect_format(path) == "warp"
    table = read_particles(path)
    name = re.sub(r"_\d+\.\d+Apx\.mrc$", "", Path(table["rlnMicrographName"].iloc[0]).name)
    found = read_particle_list(path, "", context_of(record(name, voxel_size=10.73)))
    scale = float(table["rlnPixelSize"].iloc[0]) / 10.73
    np.testing.assert_allclose(
        found.positions[0], table[list(columns.COORDINATES)].iloc[0].to_numpy(dtype=float) * scale, atol=1e-4
    )


def test_a_table_of_another_picker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "picks.csv"
    path.write_text(
        "Tomogram;X;Y;Z;class;my score\nrec_a.mrc;11;21;31;2;0.5\nb_10.00Apx;1;2;3;3;0.25\nc;1;1;1;1;0\n"
    )
    found = read_particle_list(path, "", context_of(record("a"), record("b")))
    assert found.tomograms == ["a", "b"]
    assert found.positions.tolist() == [[11, 21, 31], [1, 2, 3]]
    assert found.clusters.tolist() == [2, 3]
    assert found.table["my score"].tolist() == [0.5, 0.25]
    assert found.rotations.magnitude().max() == 0
    assert caplog.messages == [
        f"{path}: 1 of 3 particles are left out, because their tomograms are not in the table: 'c'"
    ]
    stated = replace(context_of(record("a"), record("b")), conventions=Conventions(1, 5.0))
    np.testing.assert_allclose(read_particle_list(path, "", stated).positions[0], [5, 10, 15])
    averaged = replace(
        context_of(record("a"), record("b"), binned_by="averaging"), conventions=Conventions(0, 5.0)
    )
    np.testing.assert_allclose(
        read_particle_list(path, "", averaged).positions[0], (np.array([11, 21, 31]) - 0.5) / 2
    )
    path.write_text("tomogram,x,y\na,1,2\n")
    with pytest.raises(
        DataError, match=r"picks\.csv: has no column z; give the columns tomogram, x, y and z"
    ):
        read_particle_list(path, "", context_of(record("a")))


@pytest.mark.parametrize(
    ("names", "angles", "expected"),
    [
        ("rot,tilt,psi", (30, 40, 50), lambda: Rotation.from_euler("ZYZ", [30, 40, 50], degrees=True).inv()),
        ("tdrot,tilt,narot", (30, 40, 50), lambda: Rotation.from_euler("ZXZ", [-30, -40, -50], degrees=True)),
        ("phi,psi,theta", (30, 40, 50), lambda: Rotation.from_euler("ZXZ", [40, 50, 30], degrees=True)),
    ],
)  # fmt: skip
def test_angles_of_a_table_are_those_of_their_names(
    names: str, angles: tuple[int, ...], expected: Callable[[], Rotation], tmp_path: Path
) -> None:
    path = tmp_path / "picks.csv"
    path.write_text(f"tomogram,x,y,z,{names}\na,1,2,3,{','.join(map(str, angles))}\n")
    context = context_of(record("a"))
    np.testing.assert_allclose(
        read_particle_list(path, "", context).rotations.as_matrix()[0], expected().as_matrix(), atol=1e-9
    )
    inverse = replace(context, conventions=Conventions(inverse=True))
    np.testing.assert_allclose(
        read_particle_list(path, "", inverse).rotations.as_matrix()[0],
        expected().inv().as_matrix(),
        atol=1e-9,
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.em", b"x" * 20, "is not an EM file; give an .em file"),
        ("a.em", b"\x06\0\0\x05" + b"\x14\0\0\0\x05\0\0\0\x01\0\0\0" + bytes(600), "is truncated; copy it again"),
        ("a.mod", b"no model", "is not an IMOD model; give a .mod file"),
        ("a.mod", b"IMODV1.2" + bytes(232) + b"OBJT" + bytes(10), "is truncated; copy it again"),
        ("a.cmm", b"<markers", "is not a marker set of ChimeraX; give a .cmm file"),
        ("a.cmm", b'<!DOCTYPE x [<!ENTITY a "b">]><marker_set/>', "is not a marker set of ChimeraX; give a .cmm file"),
        ("a.json", b"{}", "is not a list of picks of Copick; give a file of its folder Picks"),
        ("a.json", b"{", "is not JSON (Expecting property name"),
        ("a_info.json", b"{}", "has no boxes_3d; give an info file with particles of EMAN2"),
        ("a.ndjson", b'{"type": "point"}\n', "has a point without location (KeyError('location')); give a complete"),
        ("a.csv", b"tomogram,x,y,z\na,1,,3\n", "y of particle 1 is '', not a number; correct the file"),
        ("a.xyz", b"", "has no suffix of a known format (.cmm, .csv, .em, .json, .mod, .ndjson, .star, .tbl); state"),
        ("a.tbl", b"1 2 3\n", "has 3 columns instead of at least 26; give a table of particles cropped"),
        ("a.star", b"data_\n\nloop_\n_x\n1\n", "is not a list of particles; give a STAR file with coordinates"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_particles_is_told(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((DataError, FileError)) as caught:
        read_particle_list(path, "", context_of(record("a")))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_contours_and_meshes_of_a_model_made_by_hand(tmp_path: Path) -> None:
    imodmodel = pytest.importorskip("imodmodel")
    points = pd.DataFrame({"object_id": [0, 0, 1], "contour_id": [0, 1, 0], "x": [1.5, 2.5, 7], "y": [2.5, 3, 8], "z": [3, 4, 9]})  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of another library
        imodmodel.ImodModel.from_dataframe(points).to_file(tmp_path / "a.mod")
    objects = read_imod_model(tmp_path / "a.mod")
    assert [one.points.tolist() for one in objects] == [[[1.5, 2.5, 3], [2.5, 3, 4]], [[7, 8, 9]]]
    found = read_particle_list(tmp_path / "a.mod", "", context_of(record("a")))
    assert found.positions.tolist() == [[1, 2, 3], [2, 2.5, 4], [6.5, 7.5, 9]]
    assert found.clusters.tolist() == [1, 1, 2]


# --- the check against the tomograms, and the command


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportContext, np.ndarray]:
    """A tomogram with 30 dark balls below its middle, and their places."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(4)
    volume = rng.normal(0, 1, (60, 90, 100)).astype(np.float32)
    places = np.stack([rng.uniform(30, 95, 30), rng.uniform(8, 82, 30), rng.uniform(20, 40, 30)], axis=1)
    z, y, x = np.indices(volume.shape)
    for place in places:
        volume[(x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2 < 16] -= 2
    write_volume(folder / "a.mrc", volume, 10.0)
    one = TomogramRecord("a", str(folder / "a.mrc"), volume.shape, 10.0, (-60.0, 60.0), "dark")
    return folder, replace(context_of(one), box_width=120.0), places


@pytest.mark.parametrize(
    ("move", "finding"),
    [
        (lambda p: p, None),
        (lambda p: [99, 0, 0] + p * [-1, 1, 1], "positions that are mirrored in x agree better"),
        (lambda p: [0, 89, 0] + p * [1, -1, 1], "positions that are mirrored in y agree better"),
        (lambda p: p[:, ::-1], "positions that are of exchanged x and z agree better"),
        (lambda p: p - 6, "positions that are half a box further agree better"),
        (lambda p: p + 6, "positions that are half a box lower agree better"),
    ],
)  # fmt: skip
def test_positions_of_another_convention_are_found(
    move: Callable[[np.ndarray], np.ndarray],
    finding: str | None,
    scene: tuple[Path, ExportContext, np.ndarray],
) -> None:
    _, context, places = scene
    found = doubts(particle_set(context, ["a"] * len(places), move(places), None), context)
    assert bool(found) == (finding is not None)
    if finding:
        assert any(text.startswith(finding) for text in found), found


def test_the_command_converts_checks_and_tells(
    scene: tuple[Path, ExportContext, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, places = scene
    lines = [f"a,{x:.4f},{y:.4f},{60 - z:.4f},1" for x, y, z in places] + ["a,500,1,1,1"]
    (tmp_path / "in.csv").write_text("\n".join(["tomogram,x,y,z,class", *lines]) + "\n")
    arguments = ["convert", str(tmp_path / "in.csv"), str(tmp_path / "out"), "--to", "stopgap"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--tomograms", str(folder / "a.mrc"), "--first-voxel", "1"])
    said = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "read as csv (tables): 31 particles; class 1: 31" in said
    assert re.search(r"a: 31 particles, voxels x .* to 499\.0 of 100, y .* of 90, z .* of 60", said)
    assert "warning: 1 particles lie outside tomogram a and are not written" in said
    assert "warning: positions that are mirrored in z agree better with the tomograms" in said
    assert re.search(r"out/particles\.star: 30 particles, largest error \S+ voxels, \S+ degrees", said)
    motives = read_star(tmp_path / "out" / "particles.star")["stopgap_motivelist"]
    np.testing.assert_allclose(
        motives["orig_x"] + motives["x_shift"], places[:, 0], atol=1e-3
    )  # both count from 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "spider"], "'spider' is not a format; give one of relion, relion4, relion5, warp, dynamo, "),
        (["--to", "csv"], "config/config.yaml: no such file, and no tomograms are given; run this command in the"),
    ],
)  # fmt: skip
def test_mistakes_of_the_command_line_are_told(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["convert", "in.csv", "out", *arguments])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"Error: {message}")


def test_conventions_that_a_format_does_not_have_are_refused(written: Path, tmp_path: Path) -> None:
    source = written / "relion5" / "particles.star"
    for stated in (Conventions(first_voxel=1), Conventions(pixel_size=2.0)):
        with pytest.raises(DataError) as caught:
            convert_particles(source, tmp_path, ("", "csv"), replace(CONTEXT, conventions=stated))
        assert str(caught.value) == (
            f"{source}: is read as relion5, whose positions do not count voxels of a tomogram; leave out --first-voxel "
            "and --pixel-size"
        )


# --- particles made elsewhere as picks


@pytest.mark.parametrize(
    "name", [name for name in FORMATS if name != "artiax"]
)  # its lists are for ArtiaX alone
def test_particles_of_every_format_become_picks(
    name: str, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = {f"t{number}": replace(one, name=f"t{number}", exported_name=one.name)
           for number, one in enumerate(CONTEXT.tomograms.values())}  # fmt: skip
    own["without"] = replace(own["t0"], name="without", exported_name="other_9")
    main_file = next(iter(sorted((written / name).glob("particles*"))), written / name)
    source = written / name if FORMATS[name].per_tomogram or name == "warp" else main_file
    if name == "warp":  # one file per voxel size: the first, of two tomograms
        source = written / name / "particles_10A.star"
    picks = read_given_particles(source, replace(CONTEXT, tomograms=own), 150.0)
    exported = {one.name: one.exported_name for one in own.values()}
    here = [row for row, tomogram in enumerate(ORIGINAL.tomograms) if tomogram != "L1_G1.2" or name != "warp"]
    found = {
        (exported[tomogram], *np.round(place, 3)): (given, tuple(angles))
        for tomogram, place, given, angles in zip(
            picks[columns.TOMOGRAM],
            picks[list(columns.COORDINATES)].to_numpy(),
            picks[columns.GIVEN_CLASS],
            picks.get(list(columns.GIVEN_ANGLES), pd.DataFrame(np.zeros((len(picks), 3)))).to_numpy()
            if columns.GIVEN_ANGLES[0] in picks
            else np.zeros((len(picks), 3)),
            strict=True,
        )
    }
    assert len(picks) == len(here)
    for row in here:
        given, angles = found[ORIGINAL.tomograms[row], *np.round(ORIGINAL.positions[row], 3)]
        assert given == str(ORIGINAL.clusters[row])
        if FORMATS[name].angles:
            turn = Rotation.from_euler("ZYZ", angles, degrees=True) * ORIGINAL.rotations[row]
            assert np.degrees(turn.magnitude()) < 1e-3
    assert picks[columns.PARTICLE].is_unique
    np.testing.assert_allclose(picks[columns.DIAMETER], 120.0 if name in ("imod", "chimerax") else 150.0)
    assert any("no particles of" in text and "without" in text for text in caplog.messages)


def test_columns_of_the_users_file_are_kept_and_particles_outside_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "picks.csv"
    path.write_text(
        "tomogram,x,y,z,class_name,my score,score,holes\n"
        "a,10,20,30,ribosome,0.5,1,1\na,11,20,30,proteasome,0.25,3,\na,-5,1,1,ribosome,1,1,1\n"
    )
    picks = read_given_particles(path, context_of(record("a"), record("b")), 200.0)
    assert picks["rlnCoordinateX"].tolist() == [11, 10]  # best scores first
    assert picks[columns.GIVEN_CLASS].tolist() == ["proteasome", "ribosome"]
    assert picks["my_score"].tolist() == [0.25, 0.5]
    assert columns.GIVEN_ANGLES[0] not in picks
    assert picks["holes"].tolist() == ["", "1"]
    write_particles(tmp_path / "picks.star", picks)
    assert f"{path}: 1 of 3 particles lie outside their tomogram" in caplog.messages
    assert f"{path}: no particles of 1 tomograms: b" in caplog.messages
    path.write_text("tomogram,x,y,z\na,-5,1,1\n")
    with pytest.raises(
        DataError, match=r"none of 1 particles lies inside its tomogram; check the voxel sizes"
    ):
        read_given_particles(path, context_of(record("a")), 200.0)


def test_what_averaging_found_is_not_taken_over_from_given_particles(tmp_path: Path) -> None:
    path = tmp_path / "picks.csv"
    path.write_text(
        "tomogram,x,y,z,cryopipeExtent,cryopipeCtfLimit,cryopipeDoubleOf,note\na,10,20,30,400,31,a/1,1\n"
    )
    picks = read_given_particles(path, context_of(record("a")), 200.0)
    assert not {columns.EXTENT, columns.CTF_LIMIT, columns.DOUBLE_OF} & set(picks)
    assert picks["note"].tolist() == [1]


def test_particles_of_a_search_keep_their_names_and_classes(tmp_path: Path) -> None:
    places = np.array([[5.0, 6.0, 7.0], [8.0, 9.0, 10.0], [11.0, 12.0, 13.0]])
    table = pick_table("a", "a.mrc", places, 10.0, np.array([5.0, 9.0, 7.0]), np.full(3, 150.0))
    found = table.assign(
        **{
            columns.PARTICLE: ["a/1", "a/4", "a/17"],
            columns.ROUND: [1, 1, 2],
            columns.RESCAN_CLASS: [0, 3, 3],
        }
    )
    write_particles(tmp_path / "particles.star", found)
    picks = read_given_particles(tmp_path / "particles.star", context_of(record("a")), 200.0)
    assert picks[columns.PARTICLE].tolist() == ["a/4", "a/17", "a/1"]
    assert picks[columns.GIVEN_CLASS].tolist() == ["3", "3", "0"]
    assert picks[columns.ROUND].tolist() == [1, 2, 1]
    write_particles(tmp_path / "particles.star", found.assign(**{columns.PARTICLE: ["a/1", "b/4", "a/17"]}))
    others = read_given_particles(tmp_path / "particles.star", context_of(record("a")), 200.0)
    assert others[columns.PARTICLE].tolist() == ["a/1", "a/2", "a/3"]


def test_a_tomogram_without_given_particles_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert len(given_picks(pd.DataFrame({columns.TOMOGRAM: []}), "TS_02", "picks.csv")) == 0
    assert caplog.messages == ["TS_02: picks.csv has no particles of this tomogram"]


@pytest.mark.parametrize("given", [True, False])
def test_the_scripts_hand_on_given_particles(
    given: bool,
    scene: tuple[Path, ExportContext, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _, places = scene
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cryopipe.job.run", lambda main, handed: main(handed))
    rows = [vars(Tomogram(name, str(folder / "a.mrc"), 10.0)) for name in ("a", "b")]
    write_table("check.tsv", pd.DataFrame({"status": ["ok"]}))
    Path("in.csv").write_text("tomogram,x,y,z\n" + "".join(f"a,{x},{y},{z}\n" for x, y, z in places))
    options = {**defaults(), "pick": {**defaults()["pick"], "particles": "in.csv"}}
    job = SimpleNamespace(
        input=SimpleNamespace(particles=["in.csv"], checks=["check.tsv"] * 2),
        output=["given.star"],
        params=SimpleNamespace(tomograms=rows, options=options_of("read_particles", options)),
    )
    runpy.run_path(str(CHECKOUT / "scripts" / "read_particles.py"), {"snakemake": job})
    pick = SimpleNamespace(
        input=SimpleNamespace(check="check.tsv", given=["given.star"] if given else []),
        output=["picks.star"],
        params=SimpleNamespace(tomogram=rows[0], pick=(options if given else defaults())["pick"]),
        config={"device": "cpu"},
    )
    runpy.run_path(str(CHECKOUT / "scripts" / "pick_particles.py"), {"snakemake": pick})
    picks = read_particles("picks.star")
    assert (columns.GIVEN_CLASS in picks) == given
    if given:
        found = picks[list(columns.COORDINATES)].to_numpy()
        np.testing.assert_allclose(np.sort(found[:, 0]), np.sort(places[:, 0]), atol=1e-5)


# --- the option clusters


@pytest.mark.parametrize("name", FORMATS)
def test_chosen_clusters_are_in_every_list_and_others_in_none(name: str, tmp_path: Path) -> None:
    meant = np.flatnonzero(ORIGINAL.clusters == 2)
    options = replace(CONTEXT.options, formats=(name,))
    for clusters, recognised in (((2,), ()), ("recognised", [2, 9])):
        context = replace(CONTEXT, options=replace(options, clusters=clusters))
        summary = export_particles(ORIGINAL, context, tmp_path, recognised)
        found = read_particle_list(tmp_path / name, name, CONTEXT)
        assert sorted(found.positions[:, 0].round(3)) == sorted(ORIGINAL.positions[meant, 0].round(3))
        assert set(found.clusters.tolist()) == {2}
        assert {int(count) for count in summary["particles"]} <= {0, *range(1, len(meant) + 1)}
        assert any("cluster" in file for file in summary["file"])


def test_a_cluster_that_is_none_and_no_recognised_cluster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = replace(CONTEXT, options=ExportOptions(formats=["csv"], clusters=[1, 7]))
    with pytest.raises(DataError) as caught:
        export_particles(ORIGINAL, context, tmp_path)
    assert str(caught.value) == (
        "cluster 7 has no particles; the clusters are [1, 2]; correct the option clusters of the section export"
    )
    context = replace(CONTEXT, options=ExportOptions(formats=["csv"], clusters="recognised"))
    summary = export_particles(ORIGINAL, context, tmp_path, [])
    assert summary["particles"].iloc[0] == len(ORIGINAL)
    assert caplog.messages == [
        "no cluster is recognised, so all are exported: see the verdicts in the report"
    ]


def test_recognised_clusters_and_those_that_the_user_accepted_or_named_are_exported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes = np.arange(len(ORIGINAL)) % 5  # 0 is unassigned
    table = ORIGINAL.table.assign(**{columns.CLASS: classes})
    context = replace(CONTEXT, options=ExportOptions(formats=["relion"]))

    def exported(**values: np.ndarray) -> set[int]:
        caplog.clear()
        export_particles(replace(ORIGINAL, table=table.assign(**values)), context, tmp_path, [1])
        assert len(read_particles(tmp_path / "relion" / "unassigned.star")) == (classes == 0).sum()
        return set(read_particles(tmp_path / "relion" / "particles.star")[columns.CLASS])

    assert exported() == {1}
    assert caplog.messages == [
        "not exported, by their verdicts in the report: clusters 2, 3, 4 (export: clusters)"
    ]
    names = np.where(classes == 3, "ribosome", columns.NO_CLASS)
    assert exported(**{columns.CLASS_NAME: names}) == {1, 3}
    assert exported(**{columns.DECISION: np.where(classes == 4, "accepted", "open")}) == {1, 4}
