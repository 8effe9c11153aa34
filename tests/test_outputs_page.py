"""The page on outputs names every file that the rules make and every column that the stages hand on."""

from __future__ import annotations

import re

from cryopipe import columns
from cryopipe.config import CHECKOUT

PAGE = (CHECKOUT / "docs" / "outputs.md").read_text(encoding="utf-8")
NOT_OF_A_RUN = "results/pretrained/"


def rule_outputs() -> set[str]:
    """The literal paths in the `output:` parts of all rules."""
    found: set[str] = set()
    for path in sorted((CHECKOUT / "workflow" / "rules").glob("*.smk")):
        for part in re.findall(r"\n    output:\n((?:        .*\n)+)", path.read_text(encoding="utf-8")):
            found |= set(re.findall(r'"(results/[^"]+\.\w+)"', part))
    return found


def test_every_output_of_every_rule_is_on_the_page() -> None:
    outputs = rule_outputs()
    assert len(outputs) > 20
    assert {name for name in outputs if f"`{name}`" not in PAGE} == set()


def test_every_shared_column_is_on_the_page() -> None:
    names = [value for name, value in vars(columns).items() if name.isupper() and isinstance(value, str)]
    firsts = [columns.COORDINATES[0], columns.ANGLES[0], columns.ORIGINS[0]]
    assert {name for name in [*names, *firsts] if f"`{name}`" not in PAGE} == set()
