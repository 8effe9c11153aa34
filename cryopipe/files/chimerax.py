"""Scripts and marker sets of UCSF ChimeraX (https://www.rbvi.ucsf.edu/chimerax/docs/user/commands/) and its ArtiaX."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from cryopipe.errors import DataError, FileError, reading_fault
from cryopipe.files.atomic import write_text
from cryopipe.files.names import relative_name
from cryopipe.files.zarr_volumes import is_zarr
from cryopipe.palette import cluster_colour, cluster_rgb

TOMOGRAM_MODEL, DENSITY_MODEL, LABELS_MODEL, FIRST_CLUSTER_MODEL = 1, 2, 3, 10


@dataclass(frozen=True)
class Cluster:
    """A cluster in a ChimeraX script.

    Attributes
    ----------
    number
        Its value in the labels.
    particles
        Number of placed particles.
    """

    number: int
    particles: int


def quoted(text: str) -> str:
    """Return `text` as one argument of a ChimeraX command.

    Raises
    ------
    DataError
        If it contains both single and double quotes, a backslash or a control character, which cannot be quoted
        safely for ChimeraX.
    """
    if not text.isprintable() or "\\" in text or ("'" in text and '"' in text):
        raise DataError(
            f"{text!r} cannot be used in a ChimeraX script",
            remedy="rename it without backslashes, control characters and mixed quotes, or make a link to it",
        )
    return f"'{text}'" if '"' in text else f'"{text}"'


def write_chimerax_script(
    path: str | os.PathLike[str],
    tomogram: str | os.PathLike[str],
    density: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    voxel_size: float,
    level: float,
    clusters: Sequence[Cluster],
) -> None:
    """Write a script that opens a tomogram with the averages placed in it, one colour per cluster.

    Parameters
    ----------
    path
        The .cxc script. ChimeraX runs it in the script's folder; paths of files are relative to it.
    tomogram, density, labels
        The MRC files; every label value is a cluster's number. A tomogram in OME-Zarr, which ChimeraX does not read without
        an extension, is not opened.
    voxel_size
        Angstrom; set for all three files, with the same origin, regardless of their headers.
    level
        Level of the density's surface.
    clusters
        The clusters with particles in this tomogram.

    Raises
    ------
    DataError
        If a path cannot be quoted.
    """
    folder = Path(path).resolve().parent
    lines = ["# written by cryopipe: a tomogram and the averages placed in it", "close session"]
    files = {TOMOGRAM_MODEL: tomogram, DENSITY_MODEL: density, LABELS_MODEL: labels}
    if is_zarr(tomogram):
        del files[TOMOGRAM_MODEL]
        lines.append(f"# the tomogram, OME-Zarr, is not opened: {relative_name(tomogram, folder)}")
    for model, file in files.items():
        name = relative_name(file, folder)
        lines.append(f"open {quoted(name)} id {model}")
        lines.append(f"volume #{model} voxelSize {voxel_size:.6g} originIndex 0,0,0 step 1")
    tomogram_lines = [
        f'rename #{TOMOGRAM_MODEL} "tomogram"',
        f'volume #{TOMOGRAM_MODEL} style image region all imageMode "tilted slab"',
    ]
    lines += [
        *(tomogram_lines if TOMOGRAM_MODEL in files else []),
        f'rename #{DENSITY_MODEL} "placed averages, density"',
        f'rename #{LABELS_MODEL} "placed averages, labels"',
        f"volume #{DENSITY_MODEL} style surface region all level {level:.6g} color #c8c8c8 transparency 0.6",
        f"volume #{LABELS_MODEL} region all",
    ]
    for cluster in clusters:
        model = FIRST_CLUSTER_MODEL + cluster.number
        low, high = cluster.number - 0.5, cluster.number + 0.5
        # All other labels become 0, so that the surface at half the label's value is the cluster's border.
        lines += [
            f"volume threshold #{LABELS_MODEL} minimum {low} set 0 maximum {high} setMaximum 0 modelId #{model}",
            f'rename #{model} "cluster {cluster.number:02d}, {cluster.particles} particles"',
            f"volume #{model} style surface region all step 1 level {cluster.number / 2} "
            f"color {cluster_colour(cluster.number)}",
        ]
    lines += [f"hide #{DENSITY_MODEL},{LABELS_MODEL} models", "view", ""]
    write_text(path, "\n".join(lines))


@dataclass(frozen=True)
class ParticleList:
    """A list of particles in a script for ArtiaX.

    Attributes
    ----------
    file
        RELION STAR file with positions in voxels of the tomogram.
    cluster
        The cluster's number, which gives the colour.
    radius
        Of the particles' spheres, angstrom.
    """

    file: str | os.PathLike[str]
    cluster: int
    radius: float


def write_artiax_script(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    tomogram: str | os.PathLike[str],
    voxel_size: float,
    lists: Sequence[ParticleList],
) -> None:
    """Write a script that opens a tomogram and its particles in ArtiaX, one list and colour per cluster.

    Parameters
    ----------
    path
        The .cxc script.
    folder
        The script's final folder, in which ChimeraX runs it; paths of files are relative to it.
    tomogram
        MRC file; a tomogram in OME-Zarr is not opened.
    voxel_size
        Angstrom; set for the tomogram and the lists.
    lists
        The lists, in the order in which they are opened; ArtiaX numbers them #1.2.1, #1.2.2, ...

    Raises
    ------
    DataError
        If a path cannot be quoted.
    """
    name = relative_name(tomogram, folder)
    lines = ["# written by cryopipe: the particles of a tomogram in ArtiaX", "close session", "artiax start"]
    if is_zarr(tomogram):
        lines.append(f"# the tomogram, OME-Zarr, is not opened: {name}")
    else:
        lines += [f"artiax open tomo {quoted(name)}", f"artiax tomo #1.1.1 pixelSize {voxel_size:.6g}"]
    for number, one in enumerate(lists, 1):
        lines += [
            f"open {quoted(relative_name(one.file, folder))} format relion",
            f"artiax particles #1.2.{number} originScaleFactor {voxel_size:.6g} radius {one.radius:.6g} "
            f"axesSize {one.radius:.6g} color {cluster_colour(one.cluster)}",
        ]
    write_text(path, "\n".join([*lines, ""]))


@dataclass(frozen=True)
class Marker:
    """A marker of ChimeraX.

    Attributes
    ----------
    place
        x, y, z in angstrom.
    radius
        Angstrom.
    cluster
        Its number, which gives the colour; the marker's note.
    """

    place: tuple[float, float, float]
    radius: float
    cluster: int


def write_markers(path: str | os.PathLike[str], name: str, markers: Sequence[Marker]) -> None:
    """Write a marker set (.cmm) atomically."""
    lines = [f"<marker_set name={quoteattr(name)}>"]
    for number, marker in enumerate(markers, 1):
        x, y, z = (f"{value:.4f}" for value in marker.place)
        red, green, blue = (f"{value / 255:.4f}" for value in cluster_rgb(marker.cluster))
        lines.append(
            f'<marker id="{number}" x="{x}" y="{y}" z="{z}" r="{red}" g="{green}" b="{blue}" '
            f'radius="{marker.radius:.4f}" note="cluster {marker.cluster}"/>'
        )
    write_text(path, "\n".join([*lines, "</marker_set>", ""]))


def read_markers(path: str | os.PathLike[str]) -> list[Marker]:
    """Read a marker set; the cluster is the number at the end of a marker's note, else 1.

    Raises
    ------
    FileError
        If the file cannot be read or is not a marker set.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
    wrong = FileError("is not a marker set of ChimeraX", file=path, remedy="give a .cmm file")
    if "<!" in text:  # entities of XML can expand without limit
        raise wrong
    try:
        found = []
        for one in ElementTree.fromstring(text).iter("marker"):
            note = re.search(r"(\d+)$", one.get("note", ""))
            place = (float(one.attrib["x"]), float(one.attrib["y"]), float(one.attrib["z"]))
            found.append(Marker(place, float(one.get("radius", 0)), int(note[1]) if note else 1))
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise wrong from error
    return found
