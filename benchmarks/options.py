"""Options of the developers' targets. Light: the Snakefile imports this module in every job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryopipe.config import section_of
from cryopipe.errors import ConfigError

SIZES = ("auto", "reduced", "full")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class BenchmarkOptions:
    """Content of benchmarks/config.yaml.

    Attributes
    ----------
    device
        Where to compute: auto, cpu or cuda.
    seed
        Of the encoder's training.
    size
        Which of a benchmark's two sizes runs: reduced, full, or auto, which takes the full one on a GPU.
    learners
        Learners to compare; none for the benchmark's own.
    templates
        Directory of density maps (MRC) that stand in for the papers' structures; None for procedural phantoms.
    encoder
        Weights to compare in place of the shipped transfer encoder's.
    """

    device: str = "auto"
    seed: int = 1
    size: str = "auto"
    learners: Sequence[str] = ()
    templates: str | None = None
    encoder: str | None = None


def options_from_config(config: Mapping[str, Any], checkout: Path) -> BenchmarkOptions:
    """Return the options that a configuration holds, with relative paths taken from the checkout.

    Raises
    ------
    ConfigError
        If an option is unknown, or a value is not among those that can be chosen.
    """
    options = section_of(BenchmarkOptions, "benchmarks/config.yaml", config)
    for name, value, known in (("size", options.size, SIZES), ("device", options.device, DEVICES)):
        if value not in known:
            raise ConfigError(
                f"benchmarks/config.yaml: {name}: {value!r}", remedy=f"give one of {', '.join(known)}"
            )
    return replace(
        options,
        templates=_from(checkout, options.templates),
        encoder=_from(checkout, options.encoder),
    )


def _from(checkout: Path, path: str | None) -> str | None:
    return None if path is None else str(checkout / path)
