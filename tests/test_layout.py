"""Layout of the package."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import Counter
from pathlib import Path

import pytest

from cryopipe.config import CHECKOUT

SCRIPTS = sorted((CHECKOUT / "scripts").glob("*.py"))


def test_file_names_are_unique_within_the_packages() -> None:
    files = [path for folder in ("cryopipe", "benchmarks") for path in (CHECKOUT / folder).rglob("*.py")]
    repeated = {name for name, count in Counter(path.name for path in files).items() if count > 1}
    assert len(files) > 100
    assert repeated == {"__init__.py", "options.py"}


@pytest.mark.parametrize("package", ["averaging", "clustering", "reembedding"])
def test_names_imported_on_first_use_are_no_modules(package: str) -> None:
    """Python makes an imported module an attribute of its package, which would then hide the name."""
    named = importlib.import_module(f"cryopipe.{package}")
    modules = {path.stem for path in (CHECKOUT / "cryopipe" / package).glob("*.py")}
    assert len(named.__all__) > 3
    assert not modules & set(named.__all__)
    for name in named.__all__:
        assert not inspect.ismodule(getattr(named, name))


def test_options_modules_define_options() -> None:
    for path in (CHECKOUT / "cryopipe").rglob("*options.py"):
        classes = [part for part in ast.parse(path.read_text()).body if isinstance(part, ast.ClassDef)]
        assert any(part.name.endswith("Options") for part in classes), path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_one_short_function_that_reads_calls_the_library_and_writes(path: Path) -> None:
    parts = ast.parse(path.read_text()).body
    (main,) = (part for part in parts if isinstance(part, ast.FunctionDef))
    assert main.name == "main"
    assert not any(isinstance(part, ast.ClassDef) for part in parts)
    assert main.end_lineno is not None
    assert main.end_lineno - main.lineno < 20
