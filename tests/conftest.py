"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from installed import installed_dataset, python, wheel  # noqa: F401  # fixtures

# Tests run side by side, one to a core; threads within them would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Properties are tested for their truth, not for their speed: a busy machine must not fail them.
hypothesis.settings.register_profile("cryopipe", deadline=None)
hypothesis.settings.load_profile("cryopipe")

SHARED = Path(__file__).resolve().parents[2] / "shared"
SHARED_DATA = SHARED / "data"
START_SLURM = SHARED / "slurm" / "start_slurm.sh"


LONGEST_FIRST = (
    *(
        "test_slurm",
        "test_real_dataset",
        "test_drill",
        "test_replay",
        "test_environments",
        "test_labels_page",
    ),
    *(
        "test_features_workflow",
        "test_faults",
        "test_container",
        "test_redo",
        "test_file_names",
        "test_bounds",
    ),
    *("test_installation", "test_gpu_session", "test_disca", "test_picking", "test_benchmark_targets"),
)
"""Files with tests of minutes, in the order in which workers take them: all of them then end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of real tomograms, boxes, maps and metadata; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the directory of real data, ../shared/data, is absent")
    return SHARED_DATA


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A one-node Slurm with room for the rules' threads, stopped at the end; the test is skipped where none can start.

    Tests never touch a cluster that they did not start.
    """
    if not START_SLURM.is_file() or os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no Slurm can be started here")
    variables = {**os.environ, "SLURM_SANDBOX_CPUS": "8", "SLURM_SANDBOX_WAIT": "180"}
    started = subprocess.run(
        [str(START_SLURM), "--fresh"], env=variables, capture_output=True, text=True, check=False
    )
    if started.returncode:
        pytest.skip(f"Slurm did not start: {started.stdout[-300:]}")
    yield
    subprocess.run([str(START_SLURM.with_name("stop_slurm.sh"))], capture_output=True, check=False)
