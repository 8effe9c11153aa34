"""Puts the workflow into the wheel; everything else about the package is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("workflow", "scripts", "envs", "resources", "config")
HERE = Path(__file__).resolve().parent


class BuildWithWorkflow(build_py):
    """Copies the workflow into the package's folder `_workflow`; an editable installation finds it in the checkout."""

    def run(self) -> None:
        """Build the package anew, without what an earlier build may have left."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / "cryopipe"
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in FOLDERS:
            shutil.copytree(HERE / name, package / "_workflow" / name, ignore=ignored)
        shutil.copy2(HERE / "Snakefile", package / "_workflow")


setup(cmdclass={"build_py": BuildWithWorkflow})
