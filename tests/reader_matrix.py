"""Readers of other programs on files of cryopipe: `python tests/reader_matrix.py` writes their table on the formats' page."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.export import WRITERS
from cryopipe.files.atomic import write_text
from cryopipe.format_page import PAGE, asymmetric_set
from cryopipe.format_page import READERS as READERS_TABLE

ORIGINAL, CONTEXT = asymmetric_set()
PLACES, VOXELS = ORIGINAL.positions, ORIGINAL.voxel_sizes
BEGIN, END = READERS_TABLE
RELION = "RELION 3.1.3"
Found = tuple[np.ndarray, Rotation | None]
"""(n, 3) positions in voxels, in the particles' order, and rotations."""


def _star(path: Path) -> dict:
    return importlib.import_module("starfile").read(path, always_dict=True)


def _relion_angles(table: object) -> Rotation:
    convert = importlib.import_module("eulerangles").euler2matrix
    angles = table[list(columns.ANGLES)].to_numpy()  # type: ignore[index]
    matrices = convert(angles, axes="zyz", intrinsic=True, right_handed_rotation=True)
    return Rotation.from_matrix(np.swapaxes(matrices, 1, 2))


def relion(folder: Path) -> Found:
    blocks = _star(folder / "particles.star")
    table = blocks["particles"]
    sizes = blocks["optics"].set_index("rlnOpticsGroup")["rlnImagePixelSize"]
    origins = table[list(columns.ORIGINS)].to_numpy() / sizes[table["rlnOpticsGroup"]].to_numpy()[:, None]
    return table[list(columns.COORDINATES)].to_numpy() - origins, _relion_angles(table)


def relion4(folder: Path) -> Found:
    table, pixels, _ = _of_project(folder)
    return table[list(columns.COORDINATES)].to_numpy() * pixels / VOXELS[:, None], _relion_angles(table)


def relion5(folder: Path) -> Found:
    table, pixels, centres = _of_project(folder)
    centred = table[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy()
    return (centred / pixels + centres) * pixels / VOXELS[:, None], _relion_angles(table)


def _of_project(folder: Path) -> tuple:
    table = _star(folder / "particles.star")["particles"]
    tomograms = _star(folder / "tomograms.star")["global"].set_index("rlnTomoName").loc[table["rlnTomoName"]]
    centres = tomograms[[f"rlnTomoSize{axis}" for axis in "XYZ"]].to_numpy() / 2
    return table, tomograms["rlnTomoTiltSeriesPixelSize"].to_numpy()[:, None], centres


def warp(folder: Path) -> Found:
    tables = [next(iter(_star(path).values())) for path in sorted(folder.glob("particles_*.star"))]
    where = [np.flatnonzero(table["rlnPixelSize"].iloc[0] == VOXELS) for table in tables]
    order = np.argsort(np.concatenate(where))
    places = np.concatenate([table[list(columns.COORDINATES)].to_numpy() for table in tables])
    quaternions = np.concatenate([_relion_angles(table).as_quat() for table in tables])
    return places[order], Rotation.from_quat(quaternions[order])


def artiax(folder: Path) -> Found:
    table = _star(folder / "particles.star")["particles"]
    # as ArtiaX requires it: one prefix, and a number behind the last underscore
    prefixes, numbers = zip(*(name.rsplit("_", 1) for name in table["rlnTomoName"]), strict=True)
    assert len(set(prefixes)) == 1
    assert all(number.isdigit() for number in numbers)
    return table[list(columns.COORDINATES)].to_numpy(), _relion_angles(table)


def stopgap(folder: Path) -> Found:
    table = next(iter(_star(folder / "particles.star").values()))
    places = (
        table[["orig_x", "orig_y", "orig_z"]].to_numpy() + table[["x_shift", "y_shift", "z_shift"]].to_numpy()
    )
    return places - 1, Rotation.from_euler("zxz", table[["phi", "the", "psi"]].to_numpy(), degrees=True)


def dynamo(folder: Path) -> Found:
    table = importlib.import_module("dynamotable").read(folder / "particles.tbl")
    convert = importlib.import_module("eulerangles").convert_eulers
    angles = convert(table[["tdrot", "tilt", "narot"]].to_numpy(), "dynamo", "relion")
    places = table[["x", "y", "z"]].to_numpy() + table[["dx", "dy", "dz"]].to_numpy() - 0.5
    return places, Rotation.from_euler("ZYZ", angles, degrees=True).inv()


def em(folder: Path) -> Found:
    values = importlib.import_module("emfile").read(folder / "particles.em")[1][0].astype(np.float64)
    return values[:, 7:10] + values[:, 10:13] - 1, Rotation.from_euler(
        "zxz", values[:, [16, 18, 17]], degrees=True
    )


def imod(folder: Path) -> Found:
    read = importlib.import_module("imodmodel").ImodModel.from_file
    places = np.zeros_like(PLACES)
    for path in (folder / "particles").iterdir():
        for one in read(path).objects:
            cluster = int(one.header.name.split()[1])
            here = (np.array(ORIGINAL.tomograms) == path.stem) & (ORIGINAL.clusters == cluster)
            places[here] = one.contours[0].points - [0.5, 0.5, 0]
    return places, None


def cryocat_stopgap(folder: Path) -> Found:
    return _motl(importlib.import_module("cryocat.cryomotl").StopgapMotl(str(folder / "particles.star")))


def cryocat_em(folder: Path) -> Found:
    return _motl(importlib.import_module("cryocat.cryomotl").EmMotl(str(folder / "particles.em")))


def _motl(motl: object) -> Found:
    frame = motl.df  # type: ignore[attr-defined]
    places = frame[["x", "y", "z"]].to_numpy(float) + frame[["shift_x", "shift_y", "shift_z"]].to_numpy(float)
    return places - 1, motl.get_rotations()  # type: ignore[attr-defined]


def copick(folder: Path) -> Found:
    root = importlib.import_module("copick").from_file(str(folder / "copick_config.json"))
    places, matrices = np.zeros_like(PLACES), np.tile(np.eye(3), (len(PLACES), 1, 1))
    for name in CONTEXT.tomograms:
        for cluster in np.unique(ORIGINAL.clusters):
            here = (np.array(ORIGINAL.tomograms) == name) & (ORIGINAL.clusters == cluster)
            for picks in root.get_run(name).get_picks(object_name=f"cluster-{cluster:02d}"):
                places[here] = picks.full_positions() / VOXELS[here][:, None]
                matrices[here] = picks.numpy()[1][:, :3, :3]
    return places, Rotation.from_matrix(matrices)


def portal(folder: Path) -> Found:
    parse = importlib.import_module("copick.impl.mlcroissant")._parse_ndjson_picks
    places, matrices = np.zeros_like(PLACES), np.tile(np.eye(3), (len(PLACES), 1, 1))
    for path in (folder / "particles").iterdir():
        here = np.array(ORIGINAL.tomograms) == path.stem
        names = {"pickable_object_name": "a", "user_id": "b", "session_id": "0", "run_name": path.stem}
        points = parse(path.read_text(), 1.0, **names).points
        places[here] = [(one.location.x, one.location.y, one.location.z) for one in points]
        matrices[here] = [one.transformation[:3, :3] for one in points]
    return places, Rotation.from_matrix(matrices)


def csv(folder: Path) -> Found:
    table = importlib.import_module("pandas").read_csv(folder / "particles.csv")
    return table[["x", "y", "z"]].to_numpy(), Rotation.from_euler(
        "ZYZ", table[["rot", "tilt", "psi"]].to_numpy(), degrees=True
    ).inv()


def eman2(folder: Path) -> Found:
    """By the arithmetic of EMAN2's box viewer: x = box * apix_unbin / voxel size + nx // 2."""
    places = np.zeros_like(PLACES)
    for name, record in CONTEXT.tomograms.items():
        here = np.array(ORIGINAL.tomograms) == name
        content = importlib.import_module("json").loads((folder / "info" / f"{name}_info.json").read_text())
        boxes = np.array([box[:3] for box in content["boxes_3d"]])
        middle = np.array([size // 2 for size in record.shape_zyx[::-1]])
        places[here] = boxes * content["apix_unbin"] / record.voxel_size + middle
    return places, None


def chimerax(folder: Path) -> Found:
    """Markers are in angstrom; the volume's first voxel is at 0 with originIndex 0,0,0."""
    places = np.zeros_like(PLACES)
    for name, record in CONTEXT.tomograms.items():
        here = np.array(ORIGINAL.tomograms) == name
        root = (
            importlib.import_module("xml.etree.ElementTree")
            .parse(folder / "particles" / f"{name}.cmm")
            .getroot()
        )
        places[here] = [
            [float(one.get(axis)) / record.voxel_size for axis in "xyz"] for one in root.iter("marker")
        ]
    return places, None


def relion_3(folder: Path) -> Found:
    """What RELION's program prints of the file; the binary is that of Debian's package."""
    names = [*columns.COORDINATES, *columns.ORIGINS, *columns.ANGLES, columns.TOMOGRAM]
    command = [
        "relion_star_printtable",
        str(folder / "particles.star"),
        "data_particles",
        *(f"_{name}" for name in names),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in printed.splitlines() if len(line.split()) == len(names)]
    values = np.array([row[:9] for row in rows], dtype=np.float64)
    sizes = np.array([CONTEXT.tomograms[row[9]].voxel_size for row in rows])
    return values[:, :3] - values[:, 3:6] / sizes[:, None], Rotation.from_euler(
        "ZYZ", values[:, 6:9], degrees=True
    ).inv()


READERS: dict[tuple[str, str], Callable[[Path], Found]] = {
    ("relion", "starfile, eulerangles"): relion,
    ("relion4", "starfile, eulerangles"): relion4,
    ("relion5", "starfile, eulerangles"): relion5,
    ("warp", "starfile, eulerangles"): warp,
    ("artiax", "starfile, eulerangles"): artiax,
    ("dynamo", "dynamotable, eulerangles"): dynamo,
    ("stopgap", "starfile"): stopgap,
    ("stopgap", "cryocat"): cryocat_stopgap,
    ("em", "emfile"): em,
    ("em", "cryocat"): cryocat_em,
    ("imod", "imodmodel"): imod,
    ("copick", "copick"): copick,
    ("portal", "copick"): portal,
    ("csv", "pandas"): csv,
    ("eman2", "json"): eman2,
    ("chimerax", "xml.etree.ElementTree"): chimerax,
    ("relion", RELION): relion_3,
}


def installed(reader: str) -> bool:
    """Whether the packages of a reader can be imported."""
    if reader == RELION:
        return shutil.which("relion_star_printtable") is not None
    try:
        for name in reader.split(", "):
            importlib.import_module("cryocat.cryomotl" if name == "cryocat" else name)
    except ImportError:
        return False
    return True


def measure(name: str, reader: str, folder: Path) -> tuple[int, float, float]:
    """Particles, largest position error (voxels) and angle error (degrees, NaN without angles) of a reader."""
    with warnings.catch_warnings():
        if not reader.startswith("starfile"):
            warnings.simplefilter("ignore")  # of the packages' own use of others
        places, rotations = READERS[name, reader](folder / name)
    position = float(np.linalg.norm(places - PLACES, axis=1).max())
    if rotations is None:
        return len(places), position, float("nan")
    found = Rotation.from_matrix(rotations.as_matrix())
    return len(places), position, float(np.degrees((found.inv() * ORIGINAL.rotations).magnitude()).max())


def write_formats(folder: Path) -> None:
    """Write the asymmetric set in every format that a reader reads."""
    for name in dict.fromkeys(name for name, _ in READERS):
        (folder / name).mkdir()
        WRITERS[name].write(ORIGINAL, CONTEXT, folder / name)


def table(folder: Path) -> str:
    """The table; rows of readers that are not installed are those of the page."""
    lines = [
        "| format | reader | particles | position error, voxels | angle error, degrees |",
        "|---|---|---|---|---|",
    ]
    before = PAGE.read_text(encoding="utf-8")
    for name, reader in READERS:
        start = f"| `{name}` | {reader} |"
        if installed(reader):
            count, position, angle = measure(name, reader, folder)
            lines.append(f"{start} {count} | {position:.0e} | {'-' if np.isnan(angle) else f'{angle:.0e}'} |")
        else:
            lines += [line for line in before.splitlines() if line.startswith(start)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        write_formats(Path(made))
        page = PAGE.read_text(encoding="utf-8")
        write_text(PAGE, re.sub(f"(?s)(?<={BEGIN}).*?(?={END})", lambda _: table(Path(made)), page))
