"""Particles and tomograms as the page's script reads them: typed arrays and JPEGs in base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from cryopipe import columns
from cryopipe.curation.fingerprint import fingerprint
from cryopipe.palette import COLOURS, MARKERS, cluster_colour, cluster_marker
from cryopipe.report.results import RunResults, TomogramResult
from cryopipe.report.strips import tomogram_strips
from cryopipe.report.thumbnails import ACROSS, TILE, chosen_particles, draw_thumbnails

STRIP_BYTES, STRIP_BYTES_EACH = 3_800_000, 900_000
"""Size of the strips of all tomograms, and the largest of one."""
THUMBNAILS = 4_000
"""Largest number of particles with a thumbnail."""
POSITION_STEPS = 8
"""Positions are stored in steps of 1 / POSITION_STEPS voxels."""
NOT_EMBEDDED = -32768
"""Coordinate of particles without features in the plane."""

SCORES = (
    ("posterior", columns.POSTERIOR, "posterior"),
    ("alignment", columns.ALIGNMENT_SCORE, "alignment score"),
    ("template", columns.TEMPLATE_SCORE, "template score"),
    ("pick", columns.PICK_SCORE, "pick score"),
)
"""Name, column and title of the scores that the page offers."""


def pictured_particles(results: RunResults, limit: int, seed: int) -> tuple[list[int], np.ndarray]:
    """Return which tomograms and particles the page shows with pictures.

    Parameters
    ----------
    limit
        Largest number of tomograms; those with the most particles are shown.
    seed
        Random seed of the choice of particles.

    Returns
    -------
    Indices of tomograms in the table's order, and (n,) whether a particle has a thumbnail.
    """
    readable = [i for i, tomogram in enumerate(results.tomograms) if tomogram.source is not None]
    counts = {i: len(results.rows.get(results.tomograms[i].name, ())) for i in readable}
    shown = sorted(sorted(readable, key=lambda i: -counts[i])[:limit])
    groups = [results.rows.get(results.tomograms[i].name, np.zeros(0, int)) for i in shown]
    inside = np.concatenate([np.zeros(0, int), *groups])
    pictured = np.zeros(len(results.particles), bool)
    scores = next(
        (s for s in (results.score(column) for _, column, _ in SCORES) if np.isfinite(s).any()), None
    )
    ranks = scores if scores is not None else np.zeros(len(results.particles))
    pictured[inside[chosen_particles(results.classes[inside], ranks[inside], THUMBNAILS, seed)]] = True
    return shown, pictured


def particle_payload(results: RunResults, plane: np.ndarray, pictured: np.ndarray) -> dict[str, Any]:
    """Return the particles, clusters and tomograms of the page.

    Parameters
    ----------
    results
        Results of the run.
    plane
        (n, 2) embedding of every particle's features; NaN without features.
    pictured
        (n,) whether the page contains the particle's thumbnail.

    Returns
    -------
    Names and texts, and in `arrays` per name the type and the little-endian values in base64: `plane` (2n, int16,
    times `plane_scale`), `position` (3n xyz, uint16, in steps of 1/8 voxel), `radius` (n, float32, voxels), `cluster`
    before decisions, `decided` after those of an earlier look, and `tomogram` (n, uint16), `pictured` (n, uint8),
    `number` (n, uint32: a particle's name is that of its tomogram, a slash and this number) unless `names` (n) are
    given, and the scores in `scores` (n, float32).
    """
    table, count = results.particles, len(results.particles)
    order = {tomogram.name: i for i, tomogram in enumerate(results.tomograms)}
    names = _texts(results, columns.TOMOGRAM)
    others = sorted(set(names) - set(order))  # particles of tomograms that are no longer in the table
    order.update({name: len(order) + i for i, name in enumerate(others)})
    past = results.past
    plane = np.asarray(plane, float).reshape(count, 2)
    scale = float(np.nanmax(np.abs(plane), initial=1e-6)) / 32000 if np.isfinite(plane).any() else 1.0
    stored = np.where(np.isfinite(plane), np.round(plane / scale), NOT_EMBEDDED)
    arrays = {
        "plane": stored.astype("<i2"),
        "position": np.clip(np.round(results.positions * POSITION_STEPS), 0, 65535).astype("<u2"),
        "radius": results.radii.astype("<f4"),
        "cluster": (results.classes if past is None else past.found).astype("<u2"),
        "pictured": pictured.astype("u1"),
        "tomogram": np.array([order[name] for name in names], "<u2"),
    }
    scores = [(name, title, results.score(column)) for name, column, title in SCORES]
    known = [(name, title, values) for name, title, values in scores if np.isfinite(values).any()]
    arrays.update({name: values.astype("<f4") for name, _, values in known})
    if past is not None:
        arrays["decided"] = results.classes.astype("<u2")
    texts = _texts(results, columns.PARTICLE)
    numbers = _numbers(texts, names)
    if numbers is not None:
        arrays["number"] = numbers
    return {
        "count": count,
        "plane_scale": scale,
        "position_steps": POSITION_STEPS,
        "thumbnail": {"tile": TILE, "across": ACROSS},
        "arrays": {name: typed_array(values) for name, values in arrays.items()},
        "names": None if numbers is not None else texts,
        "scores": [{"name": name, "title": title} for name, title, _ in known],
        "clusters": _clusters(results),
        "colours": COLOURS,
        "markers": MARKERS,
        "run": past.run if past is not None else fingerprint(table) if count else "",
        "past": None if past is None else past.payload(results.class_names),
        "tomograms": list(order),
    }


def _clusters(results: RunResults) -> list[dict[str, Any]]:
    """Return the clusters before and after earlier decisions, the unassigned last; `label` is the user's class before them."""
    past = results.past
    labels = results.class_names if past is None else past.names
    found = results.classes if past is None else past.found
    numbers = sorted({*results.cluster_numbers, *found.tolist()} - {columns.UNASSIGNED})
    return [
        {
            **{"number": n, "name": results.name_of(n), "label": labels.get(n, "")},
            **{"colour": cluster_colour(n), "marker": cluster_marker(n)},
        }
        for n in [*numbers, columns.UNASSIGNED]
    ]


def tomogram_payload(results: RunResults, shown: Sequence[int], pictured: np.ndarray) -> list[dict[str, Any]]:
    """Return the pictures of the tomograms; see `pictured_particles`.

    Returns
    -------
    Per tomogram its index in the table, name, voxel size (angstrom), strips, and the sheet of the thumbnails of its
    pictured particles in their order.
    """
    each = min(STRIP_BYTES_EACH, STRIP_BYTES // max(len(shown), 1))
    return [_tomogram(results, i, results.tomograms[i], pictured, each) for i in shown]


def _tomogram(
    results: RunResults, index: int, tomogram: TomogramResult, pictured: np.ndarray, limit: int
) -> dict[str, Any]:
    volume = tomogram.volume
    assert volume is not None
    members = results.rows.get(tomogram.name, np.zeros(0, int))
    strips = tomogram_strips(volume, results.positions[members], results.radii[members], limit)
    drawn = members[pictured[members]]
    return {
        "index": index,
        "name": tomogram.name,
        "voxel_size": tomogram.voxel_size,
        "strips": {plane: vars(strip) for plane, strip in strips.items()},
        "thumbnails": draw_thumbnails(volume, results.positions[drawn], results.radii[drawn]),
    }


def typed_array(values: np.ndarray) -> dict[str, str]:
    """Return the name of JavaScript's typed array for `values`, and the values in base64, little-endian."""
    kinds = {
        **{"u1": "Uint8Array", "u2": "Uint16Array", "u4": "Uint32Array"},
        **{"i2": "Int16Array", "f4": "Float32Array"},
    }
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
    return {"type": kinds[values.dtype.str[1:]], "data": data}


def _texts(results: RunResults, column: str) -> list[str]:
    return results.particles[column].astype(str).tolist() if column in results.particles else []


def _numbers(texts: Sequence[str], tomograms: Sequence[str]) -> np.ndarray | None:
    """Return the numbers of particles whose names are all `tomogram/number`; otherwise None."""
    numbers = np.zeros(len(texts), "<u4")
    for i, (text, tomogram) in enumerate(zip(texts, tomograms, strict=True)):
        end = text.removeprefix(f"{tomogram}/")
        if not (end.isascii() and end.isdigit() and len(end) < 10 and text == f"{tomogram}/{int(end)}"):
            return None
        numbers[i] = int(end)
    return numbers
