"""The documentation is true: its commands, its links, its names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cryopipe.config import CHECKOUT

PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")])


def readme_commands() -> list[str]:
    return re.findall(
        r"^python3 -m venv --without-pip \.venv && .*$", (CHECKOUT / "README.md").read_text(), re.M
    )


def test_the_readme_has_two_commands_of_one_line_each() -> None:
    demo, tests = readme_commands()
    assert demo.endswith("&& .venv/bin/snakemake --cores all")
    assert tests.endswith("&& .venv/bin/python -m pytest")


def test_ci_runs_the_readme_commands_and_the_slow_tests() -> None:
    script = (CHECKOUT / ".ci" / "run").read_text()
    assert 'grep -m1 "pytest$" README.md' in script
    assert 'grep -m1 "snakemake --cores all$" README.md' in script
    assert '-m "slow and not alone"' in script
    assert '-m "slow and alone"' in script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_in_the_text_exist(page: Path) -> None:
    schema = json.loads((CHECKOUT / "workflow/schemas/config.schema.json").read_text())["properties"]
    for name in re.findall(r"`(\w+(?:\.\w+)+)`", page.read_text()):
        first, *rest = name.split(".")
        option = schema.get(first)
        for part in rest if option is not None else []:
            assert part in option.get("properties", {}), name
            option = option["properties"][part]


def test_every_distribution_is_pinned() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line) for line in lines)


def test_environments_are_pinned_like_the_constraints() -> None:
    pins = set((CHECKOUT / "constraints.txt").read_text().splitlines())
    for path in (CHECKOUT / "envs").glob("*.yaml"):
        packages = yaml.safe_load(path.read_text())["dependencies"][-1]["pip"]
        assert [package for package in packages if package not in pins] == [], path.name


def test_the_page_on_architecture_lists_the_layers_of_import_linter() -> None:
    rules = (CHECKOUT / ".importlinter").read_text().split("layers =")[1].split("\n\n")[0]
    layers = [set(re.findall(r"cryopipe\.(\w+)", line)) for line in rules.splitlines()]
    page = (CHECKOUT / "docs" / "architecture.md").read_text()
    table = page.split("| package or module | content |")[1].split("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)`", line.split("|")[1])) for line in table.splitlines()[2:]]
    assert rows == [layer for layer in layers if layer]
