"""Finished runs whose results are empty files: what a change of them would make the workflow do again is asked in seconds."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import forked_snakemake
import numpy as np
import yaml

from cryopipe.config import load_schema
from cryopipe.installation import ROOT, SNAKEFILE
from cryopipe.particle_formats import FORMATS

OF_A_TOMOGRAM = (
    *("check/{}.tsv", "picks/{}.star", "subtomograms/{}.h5", "subtomograms/{}.star", "reembedded/{}.mrc"),
    *("reembedded/{}_labels.mrc", "reembedded/{}.cxc", "reembedded/{}_artiax.star"),
    *("reembedded/{}_placements.tsv", "averaging_boxes/{}.star", "averaging_boxes/{}.h5"),
    *("decoys/{}.star", "decoy_boxes/{}.h5", "decoy_averaging_boxes/{}.h5"),
)
OF_A_CLUSTER = (
    *("averages/{}.mrc", "averages/{}_half1.mrc", "averages/{}_half2.mrc", "averages/{}_fsc.star"),
    *("averages/{}.star", "located/{}.star"),
)
OF_A_RUN = (
    *("check/tomograms.tsv", "features/model.safetensors", "features/features.npz", "features/history.tsv"),
    *(
        "clusters/by_features.star",
        "clusters/rounds.tsv",
        "clusters/found.star",
        "clusters/particles.star",
        "clusters/selection.tsv",
        "clusters/decisions.tsv",
        "averages/triage.tsv",
        "averages/clusters.tsv",
        "averages/mergers.tsv",
        *("evidence/leakage.tsv", "evidence/neighbourhood.tsv", "evidence/distances.tsv"),
    ),
    *(
        "located/particles.star",
        "averages/particles.star",
        "export/summary.tsv",
        "report/report.html",
        "report/averages.png",
    ),
    *(
        "report/summary.txt",
        "report/methods.txt",
        "evaluation/picking.tsv",
        "evaluation/clusters.tsv",
        "evaluation/contents.tsv",
    ),
    *("evaluation/averages.tsv", "evaluation/matches.star"),
    *("decoys/features.npz", "decoys/curves.tsv"),
    *("evidence/classes.tsv", "evidence/particles.tsv", "evidence/bands.tsv"),
)
BASE: dict[str, Any] = {
    **{"evaluation": {"truth": "truth.star"}, "export": {"formats": list(FORMATS)}},
    "features": {"learner": "disca"},
    "evidence": {"decoys": True},
}
"""A configuration in which every rule of a run has something to do."""
FOLLOWED = ("input files updated by another job", "set of input files has changed since last execution")
REASONS = re.compile(r"^    (?P<reason>\w[^\n]*):\n        (?P<rules>[^\n]*)$", re.M)
OTHER_VALUES: dict[str, Any] = {
    **{
        "curation": "curation.yaml",
        "evidence.decoys": False,
        "averaging.symmetry": "C2",
        "averaging.known_maps": "maps",
        "evaluation.maps": "maps",
    },
    **{
        "evaluation.truth": "other.star",
        "export.relion_tomograms": "project.star",
        "features.weights": "a.mrc",
        "features.labels": "other.star",
    },
    **{
        "simulation.maps": "maps",
        "export.formats": list(FORMATS)[1:],
        "export.clusters": "all",
        "pick.particles": "other.star",
        "relations.membranes": "membranes/{tomogram}.mrc",
    },
}
"""Values of options whose schema does not tell another one."""
TABLE = re.compile(r"(?<=<!-- made by tests/finished_runs.py -->\n).*?(?=<!-- end -->)", re.S)
PAGE = ROOT / "docs" / "outputs.md"
NO_RESULT = ("tomograms", "features.learner")
"""Options that name what is done, not how."""


def snakemake(folder: Path, *arguments: str) -> str:
    """Run Snakemake in a dataset and return what it said; it must succeed."""
    named = ["--snakefile", SNAKEFILE, *arguments, "--configfile", "config/config.yaml"]
    ran = forked_snakemake.snakemake(folder, *named, OMP_NUM_THREADS="1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def configure(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration of a dataset, in the order that is given."""
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))


def finish(folder: Path, config: Mapping[str, Any], tomograms: tuple[str, ...] = ("a",)) -> None:
    """Make a dataset of zero-byte tomograms in which everything is done: two clusters, every file empty."""
    (folder / "config").mkdir(parents=True)
    configure(folder, config)
    names = [*tomograms, "demo_01"]
    demo = "results/demo/demo_01.mrc"
    rows = ["tomogram\tpath", *(f"{name}\t{name}.mrc" for name in tomograms), f"demo_01\t{demo}"]
    (folder / "config" / "tomograms.tsv").write_text("\n".join(rows) + "\n")
    files = [*OF_A_RUN, *(one.format(f"cluster_0{number}") for number in (1, 2) for one in OF_A_CLUSTER)]
    files += [pattern.format(name) for name in names for pattern in OF_A_TOMOGRAM]
    files += [f"demo/demo_01{end}" for end in (".mrc", "_truth.star", "_labels.mrc")]
    files += [f"export/{name}.tsv" for name in FORMATS]
    for name in (*(f"{name}.mrc" for name in tomograms), "truth.star", "other.star", "curation.yaml"):
        (folder / name).touch()
    (folder / "project.star").write_text("data_global\n\nloop_\n_rlnTomoName\na\ndemo_01\n")
    (folder / "membranes").mkdir()
    for name in names:
        (folder / "membranes" / f"{name}.mrc").touch()
    (folder / "maps").mkdir()
    (folder / "maps" / "known.mrc").touch()
    for file in files:
        (folder / "results" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "results" / file).touch()
    (folder / "results" / "clusters" / "clusters.tsv").write_text(
        "cluster\tparticles\tmembers\n1\t5\ta\n2\t5\tb\n"
    )
    snakemake(folder, "--cores", "1", "--touch", "--forceall")


def redone(folder: Path) -> set[str]:
    """The rules that a dry run plans for a reason of their own; rules that only follow others are left out."""
    return redone_rules(snakemake(folder, "--dry-run", "--cores", "1"))


def redone_rules(said: str) -> set[str]:
    """The rules that a dry run, whose output is `said`, plans for a reason of their own."""
    if "Nothing to be done" in said:
        return set()
    found = REASONS.findall(said.split("\nReasons:\n")[1])
    rules = {rule for reason, names in found if reason not in FOLLOWED for rule in names.split(", ")}
    return rules - {"all"}


def options() -> dict[str, Any]:
    """Every option of a run, `section.option`, with a value that is not its default."""
    found: dict[str, Any] = {}

    def visit(schema: Mapping[str, Any], above: str) -> None:
        for key, option in schema["properties"].items():
            name = above + key
            if name.startswith("features.") and "properties" in option and key != BASE["features"]["learner"]:
                continue  # of a learner that does not run
            if "properties" in option:
                visit(option, f"{name}.")
            elif name not in NO_RESULT:
                found[name] = OTHER_VALUES[name] if name in OTHER_VALUES else other_value(option)

    visit(load_schema(), "")
    return found


def other_value(option: Mapping[str, Any]) -> Any:
    """A value that an option may have and that is not its default."""
    default = option["default"]
    if "enum" in option:
        return next(value for value in option["enum"] if value != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, list):
        return [default[0] + 1, *default[1:]] if not isinstance(default[0], str) else default[1:]
    if default is None:
        return max(option.get("minimum", 0), option.get("exclusiveMinimum", 0)) + 2
    step = option.get("multipleOf", 1 if option["type"] == "integer" else 0.05)
    return default - step if default + step > option.get("maximum", np.inf) else default + step


def changed(option: str, value: Any) -> dict[str, Any]:
    """The base configuration with one option changed."""
    config = copy.deepcopy(BASE)
    *sections, name = option.split(".")
    place = config
    for section in sections:
        place = place.setdefault(section, {})
    place[name] = value
    return config


def table_of(does: Mapping[str, set[str]]) -> str:
    """The table of the docs: for every option the rules that a change of it repeats; whole sections where they agree."""
    rows: dict[str, list[str]] = {}
    for section in dict.fromkeys(option.partition(".")[0] for option in does):
        mine = {
            option: ", ".join(sorted(does[option])) for option in does if option.partition(".")[0] == section
        }
        alike = len(set(mine.values())) == 1
        for option, rules in {section: next(iter(mine.values()))}.items() if alike else mine.items():
            rows.setdefault(rules or "nothing", []).append(f"`{option}`")
    lines = [f"| {', '.join(names)} | {rules} |" for rules, names in rows.items()]
    return "\n".join(["| a change of | repeats |", "|---|---|", *lines]) + "\n"


def all_redone(folder: Path) -> dict[str, set[str]]:
    """The rules that a change of each option repeats, the report, which shows all options, apart; `folder` is finished."""
    does = {}
    for option, value in options().items():
        configure(folder, changed(option, value))
        does[option] = redone(folder) - {"report"}
    return does


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        finish(Path(made) / "dataset", BASE)
        table = table_of(all_redone(Path(made) / "dataset"))
    PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
