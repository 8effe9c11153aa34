"""The page of the formats of particle lists, with the errors of every conversion.

`python -m cryopipe.format_page` writes docs/programs/formats.md.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.config import CHECKOUT, ImagingOptions
from cryopipe.export import ExportContext, ExportOptions, TomogramRecord
from cryopipe.export.format_register import WRITERS, read_particle_list
from cryopipe.export.list_reading import particle_set
from cryopipe.export.particle_set import ParticleSet
from cryopipe.files.atomic import write_text
from cryopipe.particle_formats import FORMATS

PAGE = CHECKOUT / "docs" / "programs" / "formats.md"
PARTICLES, SEED = 24, 5
TOMOGRAMS = {
    "TS_01": ((41, 60, 83), 10.0),
    "L1_G1.2": ((30, 51, 70), 12.5),
    "Position_7": ((44, 62, 80), 10.0),
}
"""Shapes (z, y, x), odd and even, and voxel sizes in angstrom, of the tomograms of the asymmetric set of poses."""
INTRODUCTION = """# Formats of particle lists

<!-- made by python -m cryopipe.format_page -->

`cryopipe convert IN OUT --to FORMAT` reads and writes every format below, the option `export.formats` writes them,
and the option `pick.particles` reads them. Positions inside are 0-based voxels of the tomogram, the centre of voxel i at i.
Every file is read back after writing; more than 0.1 voxel or 0.1 degree of difference is an error.

"""
READERS = ("<!-- made by tests/reader_matrix.py -->\n", "<!-- end -->\n")
"""Around the table of readers of other programs, which is made by the tests, as only they need these packages."""
CENTRES = {
    "relion4": "unbinned pixels, first at 0",
    "relion5": "angstrom from the unbinned tomogram's centre N / 2",
    "imod": "voxels, first at (0.5, 0.5, 0)",
    "chimerax": "angstrom, first voxel at 0",
    "copick": "angstrom, first voxel at 0",
    "eman2": "unbinned pixels from the voxel at half the size, rounded down",
}
ANGLES = {
    **dict.fromkeys(("relion", "relion4", "relion5", "warp", "artiax", "csv"), "Rot, Tilt, Psi of RELION"),
    "dynamo": "tdrot, tilt, narot",
    "stopgap": "phi, psi, theta: Rz(psi) Rx(theta) Rz(phi)",
    "em": "phi, psi, theta: Rz(psi) Rx(theta) Rz(phi)",
    "copick": "matrix, reference to particle",
    "portal": "matrix, reference to particle",
}


def asymmetric_set() -> tuple[ParticleSet, ExportContext]:
    """Return particles with random positions and rotations in two classes of three tomograms, and their context."""
    records = {
        name: TomogramRecord(name, f"{name}.mrc", shape, voxel_size, (-60.0, 60.0), "dark")
        for name, (shape, voxel_size) in TOMOGRAMS.items()
    }
    options = ExportOptions(tilt_series_pixel_size=2.7)
    context = ExportContext(records, ImagingOptions(), options, 240.0, 1)
    rng = np.random.default_rng(SEED)
    names = sorted(list(TOMOGRAMS)[number] for number in rng.integers(0, len(TOMOGRAMS), PARTICLES))
    extent = np.array([TOMOGRAMS[name][0][::-1] for name in names])
    positions = rng.uniform(0.02, 0.98, (PARTICLES, 3)) * (extent - 1)
    rotations = Rotation.from_quat(rng.standard_normal((PARTICLES, 4)))
    classes = {columns.CLASS: rng.integers(1, 3, PARTICLES)}
    return particle_set(context, names, positions, rotations, classes), context


def measure_conversions(folder: Path) -> pd.DataFrame:
    """Convert the asymmetric set from every format to every format.

    Parameters
    ----------
    folder
        For the files.

    Returns
    -------
    One row per pair: source, target, particles, position_error (voxels) and angle_error (degrees; NaN if one of both
    formats holds no angles): the largest differences from the original particles.
    """
    original, context = asymmetric_set()
    rows = []
    for source in WRITERS:
        (folder / source).mkdir()
        WRITERS[source].write(original, context, folder / source)
        read = read_particle_list(folder / source, source, context)
        for target in WRITERS:
            place = folder / f"{source}_{target}"
            place.mkdir()
            WRITERS[target].write(read, replace(context, final_folder=place), place)
            found = _in_order(read_particle_list(place, target, context))
            meant = _in_order(original)
            position = float(np.linalg.norm(found.positions - meant.positions, axis=1).max())
            angle = float(np.degrees((found.rotations.inv() * meant.rotations).magnitude()).max())
            oriented = FORMATS[source].angles and FORMATS[target].angles
            same = found.tomograms == meant.tomograms and (found.clusters == meant.clusters).all()
            count = len(found) if same else -1
            rows.append((source, target, count, position, angle if oriented else np.nan))
    return pd.DataFrame(rows, columns=["source", "target", "particles", "position_error", "angle_error"])


def _in_order(particles: ParticleSet) -> ParticleSet:
    """Return the particles in the order of tomogram and x, since formats order them by tomogram or class."""
    return particles.select(np.lexsort((particles.positions[:, 0], np.array(particles.tomograms))))


def render_page(errors: pd.DataFrame) -> str:
    """Return the page: what each format holds, and the errors of every conversion."""
    lines = ["| format | program | files | positions | angles |", "| --- | --- | --- | --- | --- |"]
    for name, known in FORMATS.items():
        place = CENTRES.get(name) or f"voxels, first at {known.first_voxel:g}"
        angles = ANGLES.get(name, "none")
        lines.append(f"| `{name}` | {known.program} | `{known.suffix}` | {place} | {angles} |")
    lines += [
        "",
        "## Errors of every conversion",
        "",
        f"{PARTICLES} particles with random positions and rotations (seed {SEED}) in {len(TOMOGRAMS)} tomograms of odd "
        "and even sizes and different voxel sizes, at a tilt-series pixel size of 2.7 A, were written in the format of "
        "the row, read, written in the format of the column and read again. All particles, their tomograms and their "
        f"classes were kept in all {len(errors)} pairs. The largest position error is "
        f"{errors['position_error'].max():.0e} voxels, the largest angle error {errors['angle_error'].max():.0e} degrees.",
    ]
    for column, title in (("position_error", "Largest position error, voxels"), ("angle_error", "Largest angle error, degrees")):  # fmt: skip
        lines += ["", f"{title}:", "", f"| from, to | {' | '.join(FORMATS)} |"]
        lines.append("| --- " * (len(FORMATS) + 1) + "|")
        for source, mine in errors.groupby("source", sort=False):
            cells = ["-" if np.isnan(value) else f"{value:.0e}" for value in mine[column]]
            lines.append(f"| {source} | {' | '.join(cells)} |")
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    readers = re.search(f"(?s){re.escape(READERS[0])}.*?{re.escape(READERS[1])}", before)
    lines += [
        "",
        "## Readers of other programs",
        "",
        "The same particles as packages of other authors read them from cryopipe's files. No package reads the files for "
        "EMAN2 and ChimeraX: their JSON\nand XML are read with Python's own, by the rules of these programs.",
        "",
        readers[0] if readers else "".join(READERS),
    ]
    return INTRODUCTION + "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        write_text(PAGE, render_page(measure_conversions(Path(made))))
