"""How a run was made: methods with its numbers, options that differ from the default, next steps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cryopipe import __version__, columns
from cryopipe.averaging.verdicts import PARTICLE
from cryopipe.config import inline_yaml
from cryopipe.report.references import bibliography, reference_keys
from cryopipe.report.results import RunResults
from cryopipe.report.summary import resolution

Settings = Mapping[str, Any]
RECORDED = (
    ("command", "command"),
    ("directory", "directory"),
    ("started", "started"),
    ("version of cryopipe", "version"),
    ("commit", "commit"),
    ("computer that started the run", "computer"),
)
"""Names and keys of the record of a run."""


def changed_options(settings: Settings, defaults: Settings) -> list[tuple[str, str, str]]:
    """Return name, value and default of the options that differ from their default, as YAML."""
    learner = settings["features"]["learner"]
    found = []
    for name, value, default in _pairs(settings, defaults):
        of_learner = name.split(".")[1] if name.startswith("features.") and name.count(".") > 1 else learner
        if value != default and of_learner == learner:
            found.append((name, inline_yaml(value), inline_yaml(default)))
    return found


def _pairs(settings: Settings, defaults: Settings, above: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key, default in defaults.items():
        value = settings.get(key, default)
        if isinstance(default, Mapping):
            yield from _pairs(value, default, f"{above}{key}.")
        else:
            yield f"{above}{key}", _plain(value), _plain(default)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def methods_text(results: RunResults, settings: Settings, version: str) -> str:
    """Return a paragraph for the methods of a paper, with this run's numbers and the keys of its references."""
    pick, boxes = settings["pick"], settings["subtomograms"]
    picks = sum(tomogram.picks for tomogram in results.tomograms)
    diameters = " and ".join(f"{value:g}" for value in pick["diameters"])
    assigned = int(np.sum(results.classes != columns.UNASSIGNED))
    count = len(results.tomograms)
    sentences = [
        f"{'A tomogram was' if count == 1 else f'{count:,} tomograms were'} analysed without templates with cryopipe "
        f"{version}, a Snakemake workflow [molder2021snakemake].",
        f"{picks:,} positions were picked by Difference-of-Gaussians filters for particles of {diameters} Å with a threshold "
        f"of {pick['threshold']:g} robust standard deviations.",
        f"Boxes of {boxes['box_size']} voxels of {boxes['voxel_size']:g} Å were cut around "
        f"{len(results.particles):,} of them, and their features were learned with {_learner(settings)}.",
        f"{_clustering(settings)} assigned {assigned:,} particles to "
        f"{_number(len(results.cluster_numbers), 'cluster')}.",
        "The particles of each cluster were aligned without a reference in two independent half-sets and averaged with "
        "compensation of the missing wedge; resolutions are those at a Fourier shell correlation of 0.143, corrected "
        "for the mask by phase randomisation [rosenthal2003, chen2013].",
    ]
    return " ".join([*sentences, *_outcome(results)])


def _learner(settings: Settings) -> str:
    name = settings["features"]["learner"]
    known = {
        "transfer": "an encoder trained on simulated boxes",
        "disca": "DISCA",
        "autoencoder": "an autoencoder",
        "protonet": "prototypical networks from labelled particles",
        "template": "template matching",
    }
    keys = [
        key
        for key in reference_keys(settings)
        if key in ("zeng2023disca", "zeng2018autoencoder", "snell2017prototypical")
    ]
    return f"{known.get(name, name)}{f' [{keys[0]}]' if keys else ''}"


def _clustering(settings: Settings) -> str:
    if settings["clustering"]["method"] == "splits":
        return "Recursive splitting of the features"
    criterion = settings["clustering"]["criterion"]
    cited = " [biernacki2000icl]" if criterion == "icl" else ""
    return f"A Gaussian mixture, its number of components chosen by the {criterion.upper()} criterion{cited},"


def _outcome(results: RunResults) -> list[str]:
    found = []
    if results.past is not None:
        found.append(
            f"{_number(len(results.past.decisions), 'decision')} about clusters and particles were taken by hand."
        )
    particles = [number for number, (word, _) in results.verdict_of.items() if word == PARTICLE]
    if particles:
        best = [f"{results.name_of(n)} ({_size(results, n)})" for n in particles]
        found.append(f"Clusters judged to be particles: {', '.join(best)}.")
    return found


def _size(results: RunResults, cluster: int) -> str:
    finest = resolution(results, cluster)
    reported = f"{finest:.0f} Å" if np.isfinite(finest) else "resolution not reported"
    return f"{_number(int(np.sum(results.classes == cluster)), 'particle')}, {reported}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def next_steps(results: RunResults, settings: Settings, folder: Path) -> list[tuple[str, str]]:
    """Return what to do next with the exported files: a sentence and commands or paths of this run.

    Parameters
    ----------
    results
        Results of the run.
    settings
        The complete configuration.
    folder
        The dataset's directory.
    """
    root, export = folder.resolve() / "results", settings["export"]
    steps = []
    for name in export["formats"]:
        place = shlex.quote(str(root / name))
        if name == "relion":
            text = (
                "RELION 3.1, with boxes"
                if export["subtomograms"]
                else "RELION 3.1, positions (set `export.subtomograms: true` for boxes)"
            )
            links = f"for name in subtomograms wedges references; do ln -s {place}/$name; done\n"
            commands = f"mkdir relion_project && cd relion_project\ncp {place}/particles.star .\n"
            steps.append((text, commands + (links if export["subtomograms"] else "")))
        elif name in ("relion4", "relion5") and export["relion_tomograms"]:
            text = (
                f"RELION {name[-1]}: in the job that extracts pseudo-subtomograms, give as optimisation set"
            )
            steps.append((text, f"{place}/optimisation_set.star"))
        elif name in ("relion4", "relion5"):
            text = f"RELION {name[-1]}: positions to import; for extraction, name your project's tomograms.star in `export.relion_tomograms`"
            steps.append((text, f"{place}/particles.star"))
        elif name == "warp":
            sizes = sorted(
                {round(one.voxel_size, 4) for one in results.tomograms if np.isfinite(one.voxel_size)}
            )
            lines = [f"WarpTools ts_export_particles --settings warp_tiltseries.settings --input_star {place}/particles_{size:g}A.star --coords_angpix {size:g} --output_star exported.star --output_angpix {size:g} --box 64 --diameter {settings['pick']['diameters'][-1]:g} --3d" for size in sizes]  # fmt: skip
            steps.append(("Warp, in the folder of its settings", "\n".join(lines)))
        else:
            steps.append((f"{name}: files in", place))
    return [
        *steps,
        ("ChimeraX: the averages at their places", f"chimerax {shlex.quote(str(root / 'reembedded'))}/*.cxc"),
    ]


def methods_page(
    results: RunResults, settings: Settings, defaults: Settings, record: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Return how the run was made, for the report.

    Parameters
    ----------
    results, settings, folder
        As for `next_steps`.
    defaults
        The complete configuration of defaults.
    record
        How the run was started, see `cryopipe.files.run_record`; may be empty.

    Returns
    -------
    Texts by name: facts (pairs of a name and a text), changed (see `changed_options`), paragraph, references (BibTeX),
    next (see `next_steps`).
    """
    versions = {**record.get("versions", {})}
    facts = [(name, str(record[key])) for name, key in RECORDED if record.get(key)]
    if versions:
        facts.append(("packages", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return {
        "facts": facts,
        "changed": changed_options(settings, defaults),
        "paragraph": methods_text(results, settings, str(record.get("version", __version__))),
        "references": bibliography(settings),
        "next": next_steps(results, settings, folder),
    }
