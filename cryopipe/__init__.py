"""cryopipe: from cryo-electron tomograms without labels to picked, clustered and averaged particles.

The names in `cryopipe.api` are also names of this package and are imported when they are first used.
"""

from typing import Any

from cryopipe.api import MODULES, find

__version__ = "0.1.0"
__all__ = ["__version__", *MODULES]


def __getattr__(name: str) -> Any:
    found = find(name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
