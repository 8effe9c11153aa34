"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Tests run side by side, one to a core; threads within them would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Properties are tested for their truth, not for their speed: a busy machine must not fail them.
hypothesis.settings.register_profile("cryopipe", deadline=None)
hypothesis.settings.load_profile("cryopipe")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of real tomograms, boxes, maps and metadata; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the directory of real data, ../shared/data, is absent")
    return SHARED_DATA
