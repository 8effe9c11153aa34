"""Location of the workflow: the checkout, or the package installed from a wheel.

Imports only the standard library, because the Snakefile of every dataset imports this module.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IN_WHEEL = PACKAGE / "_workflow"
"""Created by setup.py when a wheel is built; a checkout has no such folder."""
ROOT = IN_WHEEL if IN_WHEEL.is_dir() else PACKAGE.parent
"""The folder of Snakefile, workflow, scripts, envs, resources and config."""
SNAKEFILE = str(ROOT / "Snakefile")


def put_checkout_first(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make the jobs of a checkout's workflow import the checkout's library, even if another one is installed.

    Jobs search their own environment for modules first, then the paths of the process that starts them. This is enough
    for a wheel, because the environments of the rules do not contain cryopipe. For a checkout, the path of the checkout
    is put first in `PYTHONPATH`; no other path is added, so that rules' environments keep their own packages.

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
