"""A driver, a job and a whole run killed; `python tests/drill.py 30 1` does more of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from drill import drill


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_runs_end_as_unbroken_ones_do(tmp_path: Path) -> None:
    assert drill(tmp_path, kills=3, seed=115).total() == 3
