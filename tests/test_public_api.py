"""The names that `import cryopipe` offers, their page, and the notebook that uses them."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cryopipe
from cryopipe import columns
from cryopipe.api import MODULES, STAGES
from cryopipe.api_page import render_api
from cryopipe.averaging import AveragingOptions, align_particles
from cryopipe.errors import DataError
from cryopipe.files.box_stacks import BoxStack, BoxWriter

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("numpy", "torch", "pandas", "scipy", "sklearn", "skimage", "mrcfile", "h5py", "yaml", "typer")
    code = (
        f"import cryopipe, sys; cryopipe.__version__, dir(cryopipe); print(set({heavy!r}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_is_found_documented_and_listed_once() -> None:
    assert sum(len(names) for names in STAGES.values()) == len(MODULES)
    for name, module in MODULES.items():
        thing = getattr(cryopipe, name)
        assert thing is getattr(importlib.import_module(module), name)
        assert inspect.getdoc(thing), name
        assert name in dir(cryopipe)
        assert name in cryopipe.__all__


def test_a_name_that_does_not_exist_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'cryopipe' has no attribute 'pick_particels'"):
        cryopipe.pick_particels  # noqa: B018


def test_the_page_is_made_from_the_docstrings() -> None:
    assert (DOCS / "api.md").read_text() == render_api(), "run `python -m cryopipe.api_page`"


def test_examples_in_public_docstrings_hold() -> None:
    tried = 0
    for name in MODULES:
        thing = getattr(cryopipe, name)
        names = vars(importlib.import_module(thing.__module__))
        for example in doctest.DocTestFinder(recurse=False).find(thing, name, globs=dict(names)):
            result = doctest.DocTestRunner().run(example)
            assert result.failed == 0, name
            tried += result.attempted
    assert tried > 0


def stack_of_a_shifted_blob(folder: Path, shift_xyz: tuple[int, int, int]) -> BoxStack:
    """Four boxes of a three-armed blob that lies beside the centre, and two of nothing."""
    axis = np.arange(16) - 8
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    arms = [(3, 0, 0), (0, 3, 0), (0, 0, 4)]
    places = [tuple(np.add(arm, shift_xyz)) for arm in [(0, 0, 0), *arms]]
    blob = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4) for a, b, c in places)
    with BoxWriter(folder / "a.h5", 16, 10.0, (-60, 60), "a") as writer:
        writer.append(np.zeros((2, 16, 16, 16)), ["a/1", "a/2"])
        writer.append(np.repeat(np.asarray(blob)[None], 4, axis=0), [f"a/{number}" for number in range(3, 7)])
    return BoxStack([folder / "a.h5"])


def test_particles_are_aligned_from_where_learning_found_their_centres(tmp_path: Path) -> None:
    boxes = stack_of_a_shifted_blob(tmp_path, (3, -2, 1))
    particles = pd.DataFrame({columns.PARTICLE: ["a/6", "a/3", "a/5", "a/4"], columns.DIAMETER: 80.0})
    particles[columns.TOMOGRAM], particles[columns.VOXEL_SIZE] = "a", 10.0
    for name in columns.COORDINATES:
        particles[name] = [20.0, 60.0, 100.0, 140.0]
    for name, shift in zip(columns.ORIGINS, (3, -2, 1), strict=True):
        particles[name] = -10.0 * shift
    options = AveragingOptions(initial_models=1, initial_iterations=2, refinement_iterations=1, max_shift=20)
    result, table = align_particles(boxes, particles, options, 0)
    assert table[columns.PARTICLE].tolist() == particles[columns.PARTICLE].tolist()
    # what alignment found comes on top of what learning had found
    found = table[list(columns.ORIGINS)].to_numpy() + result.shifts_voxels * boxes.voxel_size
    np.testing.assert_allclose(found, np.tile([-30, 20, -10], (4, 1)), atol=1e-6)


def test_a_particle_without_a_box_is_named(tmp_path: Path) -> None:
    boxes = stack_of_a_shifted_blob(tmp_path, (0, 0, 0))
    particles = pd.DataFrame({columns.PARTICLE: ["a/3", "a/99"], columns.DIAMETER: 80.0})
    message = (
        "1 of 2 particles have no box, for example 'a/99'; run extract_subtomograms again for their tomograms"
    )
    with pytest.raises(DataError, match=message):
        align_particles(boxes, particles, AveragingOptions(), 0)


@pytest.mark.slow
def test_the_notebook_goes_from_a_simulated_tomogram_to_an_average(tmp_path: Path) -> None:
    notebook = json.loads((DOCS / "from_tomogram_to_average.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    checks = "assert found.mean() > 0.8; assert len(members) > 10; assert similarity > 0.5; print('done')"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*cells, checks])],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.stdout.endswith("done\n"), done.stderr[-3000:]
