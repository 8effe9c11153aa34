"""Export to IMOD (.mod) and ChimeraX (.cmm): spheres of the particles' diameters, one file per tomogram and list.

IMOD counts x and y from the outer corner of the first voxel and z from the centre of the first section, so that the
first voxel's centre is (0.5, 0.5, 0). ChimeraX places markers in angstrom from the first voxel's centre.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.export.list_reading import diameters_of, find_tomograms, particle_set
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext, Written, by_tomogram, lists_of
from cryopipe.files.chimerax import Marker, read_markers, write_markers
from cryopipe.files.imod_model import ModelObject, read_imod_model, write_imod_model
from cryopipe.palette import cluster_rgb

IMOD_CENTRE = np.array([0.5, 0.5, 0.0])
"""IMOD's coordinates of the first voxel's centre."""
_NUMBER = re.compile(r"(\d+)$")


class ImodFormat:
    """<list>/<tomogram>.mod with one object of spheres per cluster; without noise and angles."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the models; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            for tomogram, mine in by_tomogram(particles, rows).items():
                record = context.tomograms[tomogram]
                objects, order = [], []
                for cluster, chosen in _by_cluster(particles, mine).items():
                    part = particles.select(chosen)
                    radius = float(np.median(diameters_of(part, context))) / 2 / record.voxel_size
                    points = part.positions + IMOD_CENTRE
                    objects.append(ModelObject(f"cluster {cluster}", points, radius, _imod_colour(cluster)))
                    order.append(chosen)
                path = folder / name / f"{tomogram}.mod"
                write_imod_model(path, objects, record.shape_zyx, record.voxel_size)
                written.append(Written(path, np.concatenate(order)))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read the points of a model of a tomogram; see `Writer`."""
        objects = read_imod_model(path)
        points = np.concatenate([np.zeros((0, 3)), *(one.points for one in objects)])
        classes = np.concatenate(
            [
                np.zeros(0),
                *(np.full(len(one.points), _number(one.name, i)) for i, one in enumerate(objects, 1)),
            ]
        )
        diameters = np.concatenate(
            [np.zeros(0), *(np.full(len(one.points), 2 * one.radius) for one in objects)]
        )
        names, rows = find_tomograms(path, [path.stem] * len(points), context)
        found = {
            columns.CLASS: classes[rows],
            columns.DIAMETER: diameters[rows] * context.voxel_sizes(names),
        }
        positions = points[rows] - IMOD_CENTRE
        return particle_set(context, names, context.in_voxels(positions, names, 0), None, found)


class ChimeraxFormat:
    """<list>/<tomogram>.cmm, a marker set with a colour per cluster; without noise and angles."""

    def write(self, particles: ParticleSet, context: ExportContext, folder: Path) -> list[Written]:
        """Write the marker sets; see `Writer`."""
        written = []
        for name, rows in lists_of(particles).items():
            for tomogram, mine in by_tomogram(particles, rows).items():
                chosen = particles.select(mine)
                places = chosen.positions * context.tomograms[tomogram].voxel_size
                radii = diameters_of(chosen, context) / 2
                markers = [
                    Marker((x, y, z), float(radius), int(cluster))
                    for (x, y, z), radius, cluster in zip(
                        places.tolist(), radii, chosen.clusters, strict=True
                    )
                ]
                path = folder / name / f"{tomogram}.cmm"
                write_markers(path, f"{tomogram} {name}", markers)
                written.append(Written(path, mine))
        return written

    def read(self, path: Path, context: ExportContext) -> ParticleSet:
        """Read the markers of a tomogram; see `Writer`."""
        markers = read_markers(path)
        names, rows = find_tomograms(path, [path.stem] * len(markers), context)
        markers = [markers[row] for row in rows]
        places: FloatArray = np.array([one.place for one in markers], dtype=np.float64).reshape(-1, 3)
        found = {
            columns.CLASS: np.array([one.cluster for one in markers], dtype=np.int64),
            columns.DIAMETER: np.array([2 * one.radius for one in markers], dtype=np.float64),
        }
        return particle_set(context, names, places / context.voxel_sizes(names)[:, None], None, found)


def _by_cluster(particles: ParticleSet, rows: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    clusters = particles.clusters[rows]
    return {int(cluster): rows[clusters == cluster] for cluster in np.unique(clusters)}


def _number(name: str, position: int) -> int:
    """Return the number at the end of an object's name, else its position in the file."""
    match = _NUMBER.search(name)
    return int(match[1]) if match else position


def _imod_colour(cluster: int) -> tuple[float, float, float]:
    red, green, blue = cluster_rgb(cluster)
    return red / 255, green / 255, blue / 255
