"""Projects of other programs under the programs' own names, made of real metadata and one tomogram."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryopipe.files.mrc import write_volume


@dataclass(frozen=True)
class Imitation:
    """A project, and what the samples' files state about its tomogram.

    Attributes
    ----------
    source
        What is given to `cryopipe init`.
    name, volume
        The program's own name of the tilt series, and its tomogram.
    tilts
        Lowest and highest, degrees.
    pixel_size
        Of the tilt series, angstrom.
    contrast
        Of the program's tomograms.
    formats
        Formats of the export.
    """

    source: Path
    name: str
    volume: Path
    tilts: tuple[float, float]
    pixel_size: float
    contrast: str
    formats: list[str]


Volume = NDArray[np.float32]


def relion5(root: Path, metadata: Path, volume: Volume, voxel_size: float) -> Imitation:
    """A project of ten tilt series of which one is there."""
    job, pixel_size = root / "relion" / "Tomograms" / "job009", 1.724
    sample = metadata / "relion5" / "Tomograms" / "job009"
    text = (sample / "tomograms.star").read_text().replace("8.120650", f"{voxel_size / pixel_size:.6f}")
    size = _unbinned(volume, voxel_size / pixel_size)
    (job / "tilt_series").mkdir(parents=True)
    (job / "tomograms.star").write_text(re.sub(r"4000 +4000 +2000", " ".join(map(str, size)), text))
    tilts = "tilt_series/tomo200528_107.star"
    (job / tilts).write_text((sample / tilts).read_text())
    path = job / "tomograms" / "rec_tomo200528_107.mrc"
    write_volume(path, volume, voxel_size)
    write_volume(path.with_name("rec_tomo200528_107_half1.mrc"), volume, voxel_size)
    return Imitation(root / "relion", "tomo200528_107", path, (-50.99, 51.0), pixel_size, "dark", ["relion5"])


def warp(root: Path, metadata: Path, volume: Volume, voxel_size: float) -> Imitation:
    """A project of WarpTools with one tilt series at two binnings, with halves and a deconvolved tomogram."""
    project, name, pixel_size = root / "warp", "gs04_ts_003", 0.7303
    processing = project / "warp_tiltseries"
    processing.mkdir(parents=True)
    (processing / f"{name}.xml").write_bytes((metadata / "warp" / f"{name}.xml").read_bytes())
    (project / "tomostar").mkdir()
    x, y, z = _unbinned(volume, voxel_size / pixel_size)
    (project / "warp_tiltseries.settings").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<Settings>\n<Import>'
        '<Param Name="DataFolder" Value="tomostar" /><Param Name="ProcessingFolder" Value="warp_tiltseries" />'
        f'<Param Name="Extension" Value="*.tomostar" /><Param Name="PixelSize" Value="{pixel_size}" /></Import>\n<Tomo>'
        f'<Param Name="DimensionsX" Value="{x}" /><Param Name="DimensionsY" Value="{y}" />'
        f'<Param Name="DimensionsZ" Value="{z}" /></Tomo>\n</Settings>\n'
    )
    path = processing / "reconstruction" / f"{name}_{voxel_size:.2f}Apx.mrc"
    for folder in (".", "even", "odd", "deconv"):
        write_volume(path.parent / folder / path.name, -volume, voxel_size)
    write_volume(
        path.with_name(f"{name}_{voxel_size * 3:.2f}Apx.mrc"), -volume[::3, ::3, ::3], voxel_size * 3
    )
    return Imitation(path.parent, name, path, (-46.0, 45.99), pixel_size, "bright", ["warp"])


def aretomo3(root: Path, metadata: Path, volume: Volume, voxel_size: float) -> Imitation:
    """An output folder with one tilt series, whose name contains a dot, and its six volumes."""
    folder, name, pixel_size = root / "aretomo", "Position_1.2", 1.5
    folder.mkdir(parents=True)
    (folder / f"{name}.aln").write_bytes((metadata / "aretomo" / "test.aln").read_bytes())
    session = {
        "PixSize": pixel_size,
        "kV": 200,
        "Cs": 2.2,
        "AtBin": [voxel_size / pixel_size, 0, 0],
        "FlipVol": 1,
    }
    (folder / "AreTomo3_Session.json").write_text(json.dumps({"parameters": session}))
    (folder / f"{name}_TLT.txt").write_text(
        "".join(
            f"{tilt:8.2f}  {number:4d}  {3:8.2f}\n" for number, tilt in enumerate((-61.5, -60, -58.5, -57), 1)
        )
    )
    (folder / f"{name}_CTF.txt").write_text("# Columns\n   1   21000.00  19000.00  10.0  0.0  0.1  8.0  1\n")
    for ending in ("_Vol", "_2ND_Vol", "_EVN_Vol", "_ODD_Vol", "", "_CTF"):
        write_volume(folder / f"{name}{ending}.mrc", volume, voxel_size if ending else pixel_size)
    path = folder / f"{name}_Vol.mrc"
    return Imitation(folder, name, path, (-61.5, -57.0), pixel_size, "dark", ["relion", "relion5"])


def imod(root: Path, metadata: Path, volume: Volume, voxel_size: float) -> Imitation:
    """A folder of etomo with an aligned stack, the tomogram as it leaves tilt, and the trimmed tomogram."""
    folder, name = root / "imod" / "grid1", "mka2018-10-01-1"
    folder.mkdir(parents=True)
    for file in ("tilt.com", "newst.com"):
        (folder / file).write_bytes((metadata / "imod" / file).read_bytes())
    for ending in (".tlt", ".xf"):
        (folder / f"{name}{ending}").write_bytes((metadata / "imod" / f"tilt_1{ending}").read_bytes())
    path = folder / f"{name}_rec.mrc"
    write_volume(path, volume, voxel_size)
    write_volume(folder / f"{name}_full_rec.mrc", volume.swapaxes(0, 1), voxel_size)
    write_volume(folder / f"{name}_ali.mrc", volume, voxel_size)
    write_volume(folder / f"{name}_rec_filt.mrc", volume, voxel_size)
    return Imitation(
        folder.parent, name, path, (-52.24, 63.76), voxel_size / 4, "dark", ["imod", "relion", "relion5"]
    )


IMITATIONS: dict[str, Callable[[Path, Path, Volume, float], Imitation]] = {
    "RELION 5": relion5, "Warp": warp, "AreTomo": aretomo3, "IMOD": imod,
}  # fmt: skip


def _unbinned(volume: Volume, binning: float) -> tuple[int, int, int]:
    """Size x, y, z in even pixels, as a program makes the binned one from it."""
    z, y, x = (2 * round(length * binning / 2) for length in volume.shape)
    return x, y, z
