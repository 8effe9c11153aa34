"""Layout of the package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cryopipe


def test_file_names_are_unique_within_the_package() -> None:
    files = [path.name for path in Path(cryopipe.__file__).parent.rglob("*.py")]
    repeated = {name for name, count in Counter(files).items() if count > 1}
    assert len(files) > 100
    assert repeated == {"__init__.py", "options.py"}
