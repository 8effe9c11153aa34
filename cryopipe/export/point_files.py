"""Export to Copick, the CryoET Data Portal and EMAN2: JSON files of points, one per tomogram and list.

Copick's positions are in angstrom and those of the portal in voxels, both from the first voxel's centre; their matrices
rotate the reference to the particle. EMAN2 counts pixels of the unbinned tilt series from the tomogram's centre, the
voxel at half its size, rounded down.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.list_reading import diameters_of, find_tomograms, particle_set, scores_of
from cryopipe.export.options import TomogramRecord
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext, Written, by_tomogram, lists_of
from cryopipe.files.json_file import read_json, read_json_lines, write_json, write_json_lines
from cryopipe.files.names import absolute_name
from cryopipe.palette import cluster_rgb

USER, SESSION = "cryopipe", "0"
"""Copick's user and session; session 0 is that of a program."""
_CLUSTER = re.compile(r"cluster[-_ ]?(\d+)$")
_ANNOTATION = re.compile(r"(?:\d+-)?(.+)-\d+\.\d+_(?:oriented)?point", re.IGNORECASE)
"""The portal's names of files, OBJECT-VERSION_point, until 2024 after a number."""
_SPACING = re.compile(r"VoxelSpacing(\d+(?:\.\d+)?)")
_OF_A_SEGMENTATION = "instancePoint"
PICKS = "Picks"
"""Copick's folder of lists of picks."""
CONFIG = "copick_config.json"
INFO = "_info.json"


class CopickFormat:
    """A Copick project: copick_config.json, and per tomogram and cluster one list of picks; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the picks of every cluster, an object in Copick; see `Writer`."""
        written, objects = [], []
        for name, rows in lists_of(particles).items():
            if name == "particles":  # a list of all particles would repeat those of the objects
                continue
            cluster = int(particles.clusters[rows[0]])
            thing = name.replace("_", "-")  # Copick separates the parts of file names by underscores
            radius = float(np.median(diameters_of(particles.select(rows), context))) / 2
            objects.append(_copick_object(thing, cluster, radius))
            for tomogram, mine in by_tomogram(particles, rows).items():
                path = folder / "ExperimentRuns" / tomogram / PICKS / f"{USER}_{SESSION}_{thing}.json"
                write_json(path, _copick_picks(particles.select(mine), thing, context.tomograms[tomogram]))
                written.append(Written(path, mine))
        config = {
            "config_type": "filesystem",
            "name": "cryopipe",
            "description": "Particles of cryopipe",
            "version": "0.5.0",
            "pickable_objects": objects,
            "overlay_root": f"local://{absolute_name(context.final(folder))}",
            "overlay_fs_args": {"auto_mkdir": True},
        }
        write_json(folder / CONFIG, config)
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read one list of picks of one tomogram; see `Writer`."""
        content = read_json(path)
        points = content.get("points") if isinstance(content, dict) else None
        if not isinstance(points, list) or "pickable_object_name" not in content:
            raise DataError(
                "is not a list of picks of Copick", file=path, remedy="give a file of its folder Picks"
            )
        run = content.get("run_name") or path.parent.parent.name
        names, rows = find_tomograms(path, [str(run)] * len(points), context)
        points = [points[row] for row in rows]
        matrices = np.array([one.get("transformation_") or np.eye(4) for one in points]).reshape(-1, 4, 4)
        places = _places(path, points) + matrices[:, :3, 3]
        trusted = content.get("trust_orientation", True)
        rotations = _rotation(matrices[:, :3, :3]) if trusted else None
        thing = str(content["pickable_object_name"])
        number = _CLUSTER.search(thing)
        scores = [one.get("score", 1) for one in points]
        found: dict[str, Any] = {
            columns.CLASS: np.full(len(points), int(number[1]) if number else 1),
            columns.ALIGNMENT_SCORE: np.array(
                [1 if one is None else one for one in scores], dtype=np.float64
            ),
        }
        if number is None:
            found[columns.CLASS_NAME] = np.array([thing] * len(points), dtype=object)
        return particle_set(context, names, places / context.voxel_sizes(names)[:, None], rotations, found)


class PortalFormat:
    """<list>/<tomogram>.ndjson, oriented points of the CryoET Data Portal; without noise."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the points; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            for tomogram, mine in by_tomogram(particles, rows).items():
                chosen = particles.select(mine)
                parts = zip(chosen.positions, chosen.rotations.as_matrix(), chosen.clusters, strict=True)
                path = folder / name / f"{tomogram}.ndjson"
                lines = [
                    {
                        "type": "orientedPoint",
                        "location": dict(zip("xyz", place.tolist(), strict=True)),
                        "xyz_rotation_matrix": matrix.tolist(),
                        "cluster": int(cluster),
                    }
                    for place, matrix, cluster in parts
                ]
                write_json_lines(path, lines)
                written.append(Written(path, mine))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read the points of a tomogram; see `Writer`.

        Below a folder `VoxelSpacing10.000` of the portal, positions are in voxels of this size; files of the portal are of
        one class, which their names state. Points of segmentations are left out.
        """
        lines = [line for line in read_json_lines(path) if _is_particle(line)]
        tomogram = _portal_tomogram(path, context)
        names, rows = find_tomograms(path, [tomogram] * len(lines), context)
        lines = [lines[row] for row in rows]
        context = _at_spacing(path, names, context)
        oriented = bool(lines) and all("xyz_rotation_matrix" in one for one in lines)
        matrices = np.array([one["xyz_rotation_matrix"] for one in lines] if oriented else [])
        classes = np.array([int(one.get("cluster", 1)) for one in lines], dtype=np.int64)
        found: dict[str, Any] = {columns.CLASS: classes}
        annotated = _ANNOTATION.fullmatch(path.stem)
        if annotated:
            found[columns.CLASS_NAME] = np.array([annotated[1]] * len(lines), dtype=object)
        return particle_set(
            context,
            names,
            context.in_voxels(_places(path, lines), names, 0),
            _rotation(matrices.reshape(-1, 3, 3)) if oriented else None,
            found,
        )


class Eman2Format:
    """info/<tomogram>_info.json, and a folder per cluster; without noise and angles."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the files; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            for tomogram, mine in by_tomogram(particles, rows).items():
                record, chosen = context.tomograms[tomogram], particles.select(mine)
                pixel_size = record.tilt_series_pixel_size or context.options.tilt_series_pixel_size
                pixel_size = pixel_size or record.voxel_size
                places = (chosen.positions - _middle(record)) * record.voxel_size / pixel_size
                scores, clusters = scores_of(chosen), chosen.clusters
                boxes = [
                    [*place, "manual", float(score), int(cluster)]
                    for place, score, cluster in zip(places.tolist(), scores, clusters, strict=True)
                ]
                width = context.box_width or 1.5 * float(np.median(diameters_of(chosen, context)))
                classes = {
                    str(cluster): {"boxsize": round(width / pixel_size), "name": f"cluster_{cluster:02d}"}
                    for cluster in sorted({int(one) for one in clusters})
                }
                path = folder / ("info" if name == "particles" else name) / f"{tomogram}{INFO}"
                write_json(path, {"apix_unbin": pixel_size, "boxes_3d": boxes, "class_list": classes})
                written.append(Written(path, mine))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read the boxes of a tomogram; see `Writer`."""
        content = read_json(path)
        if not isinstance(content, dict) or "boxes_3d" not in content:
            raise DataError("has no boxes_3d", file=path, remedy="give an info file with particles of EMAN2")
        boxes = content["boxes_3d"]
        names, rows = find_tomograms(path, [path.name.removesuffix(INFO)] * len(boxes), context)
        boxes = [boxes[row] for row in rows]
        places = np.array([box[:3] for box in boxes], dtype=np.float64).reshape(-1, 3)
        if names and "apix_unbin" in content:
            record = context.tomograms[names[0]]
            places = places * float(content["apix_unbin"]) / record.voxel_size + _middle(record)
        classes = np.array([int(box[5]) if len(box) > 5 else 0 for box in boxes], dtype=np.int64)
        if len(classes) and classes.min() == 0:  # EMAN2 counts classes from 0
            classes += 1
        scores = np.array([float(box[4]) if len(box) > 4 else 0.0 for box in boxes])
        found = {columns.CLASS: classes, columns.ALIGNMENT_SCORE: scores}
        return particle_set(context, names, places, None, found)


def _middle(record: TomogramRecord) -> FloatArray:
    """Return EMAN2's centre of a tomogram, x, y, z in voxels."""
    return np.array([size // 2 for size in record.shape_zyx[::-1]], dtype=np.float64)


def _copick_object(name: str, cluster: int, radius: float) -> dict[str, Any]:
    return {
        "name": name,
        "is_particle": True,
        "label": cluster,
        "color": [*cluster_rgb(cluster), 255],
        "radius": radius,
    }


def _copick_picks(particles: ParticleSet, thing: str, record: TomogramRecord) -> dict[str, Any]:
    matrices = np.tile(np.eye(4), (len(particles), 1, 1))
    matrices[:, :3, :3] = particles.rotations.as_matrix()
    places, scores = particles.positions * record.voxel_size, scores_of(particles)
    points = [
        {
            "location": dict(zip("xyz", place.tolist(), strict=True)),
            "transformation_": matrix.tolist(),
            "instance_id": 0,
            "score": float(score),
        }
        for place, matrix, score in zip(places, matrices, scores, strict=True)
    ]
    return {
        "pickable_object_name": thing,
        "user_id": USER,
        "session_id": SESSION,
        "run_name": record.name,
        "voxel_spacing": record.voxel_size,
        "unit": "angstrom",
        "points": points,
        "trust_orientation": True,
    }


def _places(path: Path, points: list[Any]) -> FloatArray:
    """Return (n, 3) x, y, z of the locations of points."""
    try:
        found = [[float(one["location"][axis]) for axis in "xyz"] for one in points]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"has a point without location ({error!r})", file=path, remedy="give a complete file"
        ) from error
    return np.array(found, dtype=np.float64).reshape(-1, 3)


def _rotation(matrices: FloatArray) -> Rotation | None:
    return Rotation.from_matrix(matrices) if len(matrices) else None


def _is_particle(line: Any) -> bool:
    return not isinstance(line, dict) or line.get("type") != _OF_A_SEGMENTATION


def _at_spacing(path: Path, names: list[str], context: ExportContext) -> ExportContext:
    """Return the context with the voxel size of the portal's folder as pixel size, if the tomogram has another one.

    The portal's smaller resolutions are means of blocks of voxels.
    """
    folder = next((part for part in reversed(path.parts) if _SPACING.fullmatch(part)), None)
    if folder is None or not names or context.conventions.pixel_size is not None:
        return context
    size, own = float(folder.removeprefix("VoxelSpacing")), context.tomograms[names[0]]
    if abs(size - own.voxel_size) < 1e-3 * size:
        return context
    method = "averaging" if Path(own.path).parent.suffix == ".zarr" else context.options.binned_by
    return replace(
        context,
        conventions=replace(context.conventions, pixel_size=size),
        options=replace(context.options, binned_by=method),
    )


def _portal_tomogram(path: Path, context: ExportContext) -> str:
    """Return the tomogram of a file of points: named by the file, or by a folder above it, as the portal has them."""
    for name in (path.stem, *(folder.name for folder in path.parents)):
        if name in context.tomograms:
            return name
    return path.stem
