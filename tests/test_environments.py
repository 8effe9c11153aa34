"""Each rule names an environment, and that environment, built from its file alone, runs the rule's script."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_runs import TINY, TWO_JOBS, make_dataset

from cryopipe.config import CHECKOUT

STANDIN = Path(__file__).resolve().parent / "standin" / "bin" / "conda"
TRUTH = "results/demo/{tomogram}_truth.star"
RULES_OF_A_RUN = {
    *("simulate_tomogram", "check_tomogram", "gather_checks", "pick_particles", "extract_subtomograms"),
    *(
        "extract_for_averaging",
        "learn_features",
        "cluster_features",
        "classify_particles",
        "apply_curation",
        "decode_cluster",
        "decode_paths",
        "average_cluster",
        "locate_particles",
        "mark_doubles",
    ),
    *("measure_leakage", "measure_neighbourhood", "triage_averages"),
    *("reembed_averages", "merge_clusters", "export", "gather_exports", "evaluate", "report"),
}
IMPORT_NAMES = {
    "Jinja2": "jinja2",
    "openTSNE": "openTSNE",
    "pillow": "PIL",
    "PyYAML": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}
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
    used = set(re.findall(r'"\.\./\.\./(scripts/\w+\.py)"', text))
    files = {f"scripts/{path.name}" for path in (CHECKOUT / "scripts").glob("*.py")}
    assert files == used
    for file in sorted(files):
        assert len((CHECKOUT / file).read_text().splitlines()) <= 60, file


def declared_dependencies() -> list[str]:
    """What cryopipe depends on, the workflow engine included."""
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]


def imports_of(script: Path) -> list[str]:
    """The modules that a script imports, the workflow engine's own left out."""
    names = []
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return [name for name in names if not name.startswith("snakemake")]


@dataclass(frozen=True)
class Environments:
    """A run of the whole workflow in environments that were built from their files alone.

    Attributes
    ----------
    prefixes
        Where each environment file's environment lies.
    elsewhere
        For every rule that ran, the modules that came from outside its environment.
    rules
        The rules that the run was made of.
    """

    prefixes: dict[str, Path]
    elsewhere: dict[str, set[str]]
    rules: set[str]


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    folder = tmp_path_factory.mktemp("environments")
    autoencoder = {"widths": [4, 4], "feature_width": 8, "epochs": 2, "batch_size": 8}
    # a learner that decodes clusters, so that every rule of a run is run
    more = {
        "features": {"learner": "autoencoder", "autoencoder": autoencoder},
        "averaging": {**TINY["averaging"], "voxel_size": 20},
        "evaluation": {"truth": TRUTH},
    }
    make_dataset(folder, {**TINY, **more})
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), *TWO_JOBS]
    command += ["--sdm", "conda", "--conda-prefix", "built", "--configfile", "config/config.yaml"]
    variables = {
        **os.environ,
        "PATH": f"{STANDIN.parent}:{os.environ['PATH']}",
        "STANDIN_CONSTRAINTS": str(CHECKOUT / "constraints.txt"),
        "STANDIN_RECORD": str(folder / "record.tsv"),
        "OMP_NUM_THREADS": "1",
    }
    for arguments in (["--conda-create-envs-only"], []):
        done = subprocess.run(
            [*command, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    written = {path.read_text(): path.with_suffix("") for path in (folder / "built").glob("*.yaml")}
    prefixes = {
        name: next(
            prefix
            for text, prefix in written.items()
            if text.strip() == (CHECKOUT / name).read_text().strip()
        )
        for name in {environment for _, environment, _ in scripted()}
    }
    elsewhere: dict[str, set[str]] = {}
    for line in (folder / "record.tsv").read_text().splitlines():
        file, _, modules = line.partition("\t")
        found = re.fullmatch(r"tmp\w+\.(\w+)\.py", file)
        if found:
            elsewhere.setdefault(found[1], set()).update(modules.split())
    return Environments(
        prefixes, elsewhere, set(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr))
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_rule_runs_in_its_environment_with_nothing_of_its_own_from_elsewhere(
    environments: Environments,
) -> None:
    ran = {(name, script) for name, _, script in scripted() if name in environments.rules}
    assert environments.rules >= RULES_OF_A_RUN
    needed = {name.split(">=")[0].split("==")[0] for name in declared_dependencies()} - {"snakemake"}
    imported = {IMPORT_NAMES.get(name, name) for name in needed}
    for name, script in ran:
        foreign = environments.elsewhere[Path(script).stem]
        assert "snakemake" in foreign, f"{name}: the record is blind"
        assert not foreign & imported, f"{name} uses {foreign & imported}, which its environment lacks"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_environment_built_from_its_file_alone_imports_its_scripts(environments: Environments) -> None:
    for environment, prefix in environments.prefixes.items():
        modules = sorted({name for _, file, script in scripted() if file == environment
                          for name in imports_of(CHECKOUT / script)})  # fmt: skip
        check = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import {', '.join(modules)}"
        subprocess.run([str(prefix / "bin" / "python"), "-I", "-c", check], check=True)


def test_scripts_import_the_workflow_object_for_type_checks_only() -> None:
    for _, _, script in scripted():
        text = (CHECKOUT / script).read_text()
        assert "if TYPE_CHECKING:\n    from snakemake.iocontainers import snakemake\n" in text, script
        assert text.count("import snakemake") == 1, script
