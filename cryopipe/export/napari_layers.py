"""Layers of the image viewer napari: a tomogram with its picks, clusters and placed averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.palette import PICK_COLOUR, cluster_colour
from cryopipe.particles import positions_of_table

SAMPLED_SECTIONS = 9
"""Sections of the tomogram from which the limits of the grey scale are measured."""
SHOWN_FEATURES = (columns.PARTICLE, columns.POSTERIOR, columns.ALIGNMENT_SCORE, columns.PICK_SCORE)
"""Columns that napari shows for the particle under the pointer."""


@dataclass(frozen=True)
class Layer:
    """One layer of napari.

    Attributes
    ----------
    kind
        image, points or labels: the viewer's method is `add_KIND`.
    data
        (z, y, x) for images and labels, (n, 3) zyx for points, voxels of the tomogram.
    options
        Arguments of the viewer's method.
    """

    kind: str
    data: NDArray[Any]
    options: dict[str, Any] = field(default_factory=dict)


def napari_layers(
    name: str,
    volume: NDArray[Any],
    voxel_size: float,
    picks: pd.DataFrame,
    particles: pd.DataFrame | None = None,
    placed: NDArray[Any] | None = None,
) -> list[Layer]:
    """Return the layers of a tomogram, from the lowest to the highest.

    Clusters have the colours of the report. Coordinates are scaled to nanometres.

    Parameters
    ----------
    name
        The tomogram's.
    volume
        (z, y, x), may be a memory map.
    voxel_size
        Angstrom.
    picks
        Table of the tomogram's picks.
    particles
        Table of its particles with clusters, at their aligned positions; None before clustering.
    placed
        (z, y, x) numbers of the clusters whose averages lie there, 0 elsewhere; None before averaging.
    """
    common: dict[str, Any] = {"scale": (voxel_size / 10,) * 3, "units": ("nm",) * 3}
    limits = {"contrast_limits": contrast_limits(volume), "colormap": "gray"}
    layers = [Layer("image", volume, {"name": name, **limits, **common})]
    if placed is not None:
        numbers = [int(number) for number in np.unique(placed) if number > 0]
        # None is the colour of numbers without one
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        colours.update((number, cluster_colour(number)) for number in numbers)
        options = {"name": "averages", "colormap": colours, "opacity": 0.5, **common}
        layers.append(Layer("labels", np.asarray(placed), options))
    at = picks[list(columns.COORDINATES[::-1])].to_numpy(float).reshape(-1, 3)
    # clusters contain the picks: then these are hidden at first
    layers.append(
        _circles("picks", at, picks, PICK_COLOUR, voxel_size, common | {"visible": particles is None})
    )
    if particles is not None:
        classes = particles[columns.CLASS].to_numpy(int)
        positions = positions_of_table(particles)[:, ::-1] / voxel_size
        for number in [*sorted(set(classes[classes > 0].tolist())), columns.UNASSIGNED]:
            mine = classes == number
            if mine.any():
                title = f"cluster {number}" if number else "unassigned"
                layers.append(
                    _circles(
                        *(title, positions[mine], particles[mine], cluster_colour(number), voxel_size, common)
                    )
                )
    return layers


def contrast_limits(volume: NDArray[Any]) -> tuple[float, float]:
    """Return the 1st and 99th percentile of evenly spaced sections; 0 and 1 more than the value if all are equal."""
    chosen = np.linspace(0, len(volume) - 1, min(SAMPLED_SECTIONS, len(volume))).astype(int)
    low, high = np.percentile(
        np.nan_to_num(np.stack([volume[n] for n in chosen]).astype(np.float32)), [1, 99]
    )
    return float(low), float(high) if high > low else float(low) + 1.0


def show_layers(napari: Any, layers: Sequence[Layer], title: str) -> None:
    """Open a window of the module `napari` with layers, and wait until it is closed."""
    viewer = napari.Viewer(title=title)
    for layer in layers:
        getattr(viewer, f"add_{layer.kind}")(layer.data, **layer.options)
    viewer.dims.set_point(0, _middle_of_points(layers))
    napari.run()


def _middle_of_points(layers: Sequence[Layer]) -> float:
    """Return the height, in the scale of the layers, of the section with most points around it."""
    heights = np.concatenate([layer.data[:, 0] for layer in layers if layer.kind == "points"])
    depth = layers[0].data.shape[0]
    return float((np.median(heights) if len(heights) else depth // 2) * layers[0].options["scale"][0])


def _circles(
    name: str,
    positions: NDArray[np.float64],
    table: pd.DataFrame,
    colour: str,
    voxel_size: float,
    options: dict[str, Any],
) -> Layer:
    features = {column: table[column].to_numpy() for column in SHOWN_FEATURES if column in table}
    return Layer(
        "points",
        positions,
        {
            **{"name": name, "size": table[columns.DIAMETER].to_numpy(float) / voxel_size},
            # a circle in every section that cuts the particle's sphere
            **{"face_color": "transparent", "border_color": colour, "out_of_slice_display": True},
            **{"border_width": 0.08, "features": features},
            **options,
        },
    )
