"""docs/labels.md tried word for word: the demo with six labelled particles."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cryopipe.config import CHECKOUT, complete
from cryopipe.files.labels import read_labels
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table

PAGE = (CHECKOUT / "docs" / "labels.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = [
    line
    for kind, text in BLOCKS
    if not kind
    for line in text.splitlines()
    if "cryopipe " in line or "snakemake" in line
]


LIGHT = {"initial_models": 1, "initial_iterations": 2, "refinement_iterations": 1}
"""Averaging that takes seconds: it follows the classification, which is tried here."""


def prepared(folder: Path) -> None:
    """Write the file and the options of the page, and lighter averaging."""
    star = next(text for _, text in BLOCKS if text.startswith("data_particles"))
    (folder / "labels.star").write_text(star)
    options = yaml.safe_load((folder / "config" / "config.yaml").read_text())
    changes = yaml.safe_load(next(text for kind, text in BLOCKS if kind == "yaml"))
    assert set(changes["features"]) < set(options["features"])
    options["features"] |= changes["features"]
    options["averaging"] |= LIGHT
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(options))


def test_the_file_and_the_options_of_the_page_are_valid(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "config", tmp_path / "config")
    prepared(tmp_path)
    assert len(COMMANDS) == 3
    labels = read_labels(tmp_path / "labels.star")
    assert labels["cryopipeLabel"].value_counts().to_dict() == {"ribosome": 2, "proteasome": 2, "ferritin": 2}
    config = yaml.safe_load((tmp_path / "config" / "config.yaml").read_text())
    assert complete(config, tmp_path / "config" / "config.yaml")["features"]["learner"] == "protonet"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo_is_classified_by_six_labels(tmp_path: Path) -> None:
    """Of the particles found in the demo, at least nine of ten get the class of their species."""
    shutil.copytree(CHECKOUT / "config", tmp_path / "config")
    folder = Path(sys.executable).parent
    for number, command in enumerate(COMMANDS):
        if number == 1:
            prepared(tmp_path)
        program, *arguments = command.split()
        snakefile = ["--snakefile", str(CHECKOUT / "Snakefile")] if program == "snakemake" else []
        done = subprocess.run(
            [folder / program, *snakefile, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results"
    clusters = read_table(results / "clusters" / "clusters.tsv", ("class",))
    assert clusters["class"].tolist() == ["ferritin", "proteasome", "ribosome", "none of these"]
    contents = read_table(results / "evaluation" / "contents.tsv", ("class",))
    print(contents.to_string())
    particles = read_particles(results / "clusters" / "particles.star")
    matched = read_particles(results / "evaluation" / "matches.star")
    both = pd.merge(
        particles, matched[["rlnTomoParticleName", "cryopipeTrueClass"]], on="rlnTomoParticleName"
    )
    both = both[(both["cryopipeTrueClass"] != "none") & (both["rlnClassNumber"] > 0)]
    right = both["cryopipeClass"] == both["cryopipeTrueClass"].str.removesuffix("_like")
    assert right.mean() >= 0.9
    assert (results / "averages" / "cluster_03.mrc").is_file()
    assert "cluster 3: ribosome" in (results / "report" / "report.html").read_text(encoding="utf-8")
