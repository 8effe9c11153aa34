"""Each rule names an environment, and that environment, built from its file alone, imports the rule's script."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cryopipe.config import CHECKOUT

STANDIN = Path(__file__).resolve().parent / "standin" / "bin" / "conda"
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:(?:    .*)?\n)+)", re.M)


def rules() -> dict[str, str]:
    """The text of every rule by its name."""
    return {
        name: body
        for path in sorted((CHECKOUT / "workflow" / "rules").glob("*.smk"))
        for name, body in RULE.findall(path.read_text() + "\n")
    }


def scripted() -> list[tuple[str, str, str]]:
    """(rule, environment file, script file) of every rule that runs a script."""
    found = []
    for name, body in rules().items():
        script = re.search(r'"\.\./\.\./(scripts/\w+\.py)"', body)
        environment = re.search(r'"\.\./\.\./(envs/\w+\.yaml)"', body)
        if script:
            assert environment, f"rule {name} names no environment"
            found.append((name, environment.group(1), script.group(1)))
    return found


def test_every_rule_that_runs_a_script_names_environment_log_benchmark_and_message() -> None:
    assert len(scripted()) >= 10
    for name, _, script in scripted():
        body = rules()[name]
        for part in ("message:", "log:", "benchmark:", "conda:"):
            assert part in body, f"rule {name} has no {part}"
        assert (CHECKOUT / script).is_file(), script


def test_scripts_are_short_and_every_script_is_used() -> None:
    text = "".join(path.read_text() for path in (CHECKOUT / "workflow" / "rules").glob("*.smk"))
    used = set(re.findall(r'"\.\./\.\./(scripts/\w+\.py)"', text)) | {"scripts/render_pages.py"}
    files = {f"scripts/{path.name}" for path in (CHECKOUT / "scripts").glob("*.py")}
    assert files == used
    for file in sorted(files):
        assert len((CHECKOUT / file).read_text().splitlines()) <= 60, file


def imports_of(script: Path) -> list[str]:
    """The modules that a script imports, the workflow engine's own left out."""
    names = []
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return [name for name in names if not name.startswith("snakemake")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("environment", sorted({environment for _, environment, _ in scripted()}))
def test_an_environment_built_from_its_file_alone_imports_its_scripts(
    environment: str, tmp_path: Path
) -> None:
    prefix = tmp_path / "environment"
    command = [str(STANDIN), "env", "create", "--file", str(CHECKOUT / environment), "--prefix", str(prefix)]
    variables = {**os.environ, "STANDIN_CONSTRAINTS": str(CHECKOUT / "constraints.txt")}
    subprocess.run([sys.executable, *command], check=True, env=variables)
    modules = sorted({name for _, file, script in scripted() if file == environment
                      for name in imports_of(CHECKOUT / script)})  # fmt: skip
    check = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import {', '.join(modules)}"
    subprocess.run([str(prefix / "bin" / "python"), "-I", "-c", check], check=True)


def test_scripts_import_the_workflow_object_for_type_checks_only() -> None:
    for _, _, script in scripted():
        text = (CHECKOUT / script).read_text()
        assert "if TYPE_CHECKING:\n    from snakemake.iocontainers import snakemake\n" in text, script
        assert text.count("import snakemake") == 1, script
