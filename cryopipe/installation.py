"""Where the workflow lies: in the checkout, or in the package that a wheel installed.

Light: the Snakefile of every dataset imports this module.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IN_WHEEL = PACKAGE / "_workflow"
"""Made by setup.py when a wheel is built; a checkout has no such folder."""
ROOT = IN_WHEEL if IN_WHEEL.is_dir() else PACKAGE.parent
"""The folder of Snakefile, workflow, scripts, envs, resources and config."""
SNAKEFILE = str(ROOT / "Snakefile")


def find_library_first(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the jobs of a checkout's workflow import the library beside it, though another one may be installed.

    Jobs look for modules in their own environment first and then where the process that starts them does. For a wheel
    that is right: the environments of the rules hold no cryopipe. A checkout's library goes before all; nothing but
    the checkout is added, so that rules' environments keep their own packages.

    Parameters
    ----------
    environment
        Variables that jobs inherit.
    """
    if ROOT == IN_WHEEL:
        return
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(ROOT) not in paths:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *paths])
