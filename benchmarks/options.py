"""Options of the targets for developers. No arrays: the Snakefile imports this module in every job."""

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
        Device: auto, cpu or cuda.
    seed
        Random seed of the encoder's training.
    size
        Size of a benchmark: reduced, full, or auto (full on a GPU, otherwise reduced).
    learners
        Learners to compare; empty for those of the benchmark's plan.
    templates
        Directory of density maps (MRC) of the papers' structures; None for procedural phantoms.
    encoder
        Weights to use in place of the shipped transfer encoder.
    minutes
        Time after which benchmark_evidence starts no further run; None for no limit.
    """

    device: str = "auto"
    seed: int = 1
    size: str = "auto"
    learners: Sequence[str] = ()
    templates: str | None = None
    encoder: str | None = None
    minutes: float | None = None


def options_from_config(config: Mapping[str, Any], checkout: Path) -> BenchmarkOptions:
    """Return the options of a configuration, with relative paths joined to the checkout.

    Raises
    ------
    ConfigError
        If an option is unknown or its value is not one of the choices.
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
