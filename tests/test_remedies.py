"""What an error message tells the user to run or set exists."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator

import pytest
import typer.main
from snakemake.cli import get_argument_parser

from cryopipe.cli import app
from cryopipe.installation import ROOT

SCHEMA = json.loads((ROOT / "workflow" / "schemas" / "config.schema.json").read_text())["properties"]
RULES = {
    name
    for path in [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    for name in re.findall(r"^ *(?:rule|checkpoint) (\w+):", path.read_text(), re.M)
}
FILES = (".html", ".css", ".js", ".jinja", ".npz", ".tsv", ".star", ".doc")
HOLE = "\0"
"""Stands for what a message puts in."""


def texts() -> Iterator[tuple[str, str]]:
    """Yield where and what each text of the library and the scripts is, docstrings left out."""
    for path in sorted([*(ROOT / "cryopipe").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]):
        tree = ast.parse(path.read_text())
        parts = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                pieces = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
                yield where, "".join(map(str, pieces))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield where, node.value


def faults(text: str) -> list[str]:
    """Return what a text names that does not exist: commands, their options, rules, options of the configuration."""
    found = []
    for quoted in re.findall(r"`([^`\n]+)`", text):
        words = shlex.split(quoted.replace(HOLE, "X"))
        if words[:1] == ["cryopipe"]:
            found += _faults_of_cryopipe(words[1:])
        elif words[:1] == ["snakemake"]:
            found += _faults_of_snakemake(words[1:])
    for name in re.findall(r"\b(?:run|rerun) (?:the rule )?`?([a-z]+_[a-z_]+)\b", text):
        if name not in RULES:
            found.append(f"no rule {name}")
    for name in re.findall(r"(?<![\w./])([a-z]+(?:\.[a-z_]+)+)\b(?![(/])", text):
        parts = name.split(".")
        if name.endswith(FILES) or (ROOT / "cryopipe").joinpath(*parts).with_suffix(".py").is_file():
            continue  # a file, or a module of the package
        if parts[0] in SCHEMA and not _is_option(parts):
            found.append(f"no option {name}")
    return found


def _is_option(names: list[str]) -> bool:
    part = {"properties": SCHEMA}
    for name in names:
        if name not in part.get("properties", {}):
            return False
        part = part["properties"][name]
    return True


def _faults_of_cryopipe(words: list[str]) -> list[str]:
    commands = typer.main.get_command(app).commands
    if not words or words[0].startswith("-"):
        return []
    if words[0] not in commands:
        return [f"no command cryopipe {words[0]}"]
    known = {name for parameter in commands[words[0]].params for name in parameter.opts} | {"--help"}
    return [
        f"no option {word} of cryopipe {words[0]}"
        for word in words[1:]
        if word[:2] == "--" and word not in known
    ]


def _faults_of_snakemake(words: list[str]) -> list[str]:
    known = get_argument_parser()._option_string_actions
    unknown = [
        f"no option {word} of snakemake"
        for word in words
        if word[:2] == "--" and word.split("=")[0] not in known
    ]
    targets = [
        word for word in words if re.fullmatch(r"[a-z]+(_[a-z]+)*", word) and word not in ("all", "slurm")
    ]
    return unknown + [f"no rule {word}" for word in targets if word not in RULES]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run check_tomograms, then repair it", ["no rule check_tomograms"]),
        ("run `check_tomograms`", ["no rule check_tomograms"]),
        ("run `cryopipe chek` first", ["no command cryopipe chek"]),
        ("run `cryopipe init --ad`", ["no option --ad of cryopipe init"]),
        ("run `snakemake --unlok`", ["no option --unlok of snakemake"]),
        ("run `snakemake --cores all reprot`", ["no rule reprot"]),
        ("lower features.learn_rate", ["no option features.learn_rate"]),
        (
            "run `cryopipe check`, lower features.disca.learning_rate or run `snakemake --cores all report`",
            [],
        ),
    ],
)
def test_what_does_not_exist_is_found(text: str, found: list[str]) -> None:
    assert faults(text) == found


def test_every_command_rule_and_option_that_a_message_names_exists() -> None:
    everything = list(texts())
    assert len(everything) > 1000
    assert [f"{where}: {fault}" for where, text in everything for fault in faults(text)] == []
