"""The pages of the programs: their commands run, and the files that they name are written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
import yaml
from imitated_projects import IMITATIONS

from cryopipe.cli import main
from cryopipe.config import complete
from cryopipe.export import ExportOptions, export_particles
from cryopipe.files.mrc import write_volume
from cryopipe.format_page import PAGE, asymmetric_set
from cryopipe.particle_formats import FORMATS
from cryopipe.tomograms import read_tomogram_table

PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted(PAGE.parent.glob("*.md"))}
NOISE = np.random.default_rng(2).normal(size=(24, 48, 60)).astype(np.float32)


def run(command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command.split()[1:])
    assert not caught.value.code


def test_every_page_goes_from_its_program_to_its_program() -> None:
    headings = {
        name: re.findall(r"^## (From|To) ", text, re.M) for name, text in PAGES.items() if name != "formats"
    }
    one_way = {"aretomo": ["From"], "csv": ["To"]}
    assert headings == {name: one_way.get(name, ["From", "To"]) for name in headings}
    assert len(headings) >= 11


@pytest.mark.parametrize("name", ["dynamo", "stopgap", "eman2", "chimerax"])
def test_tomograms_beside_tilt_files_are_set_up_as_the_pages_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(folder, command)] = re.findall(r"```sh\ncd /data/(.*)\n(cryopipe init .*)\n```", PAGES[name])
    for number, tilts in ((17, "-51\n0\n60\n"), (18, "-40\n0\n48\n")):
        path = tmp_path / folder / "tomograms" / f"tomo_{number}.mrc"
        write_volume(path, NOISE, 13.0)
        path.with_suffix(".tlt").write_text(tilts)
    monkeypatch.chdir(tmp_path / folder)
    run(command)
    rows = read_tomogram_table(Path("picked/config/tomograms.tsv"))
    assert {row.name: row.tilt_range for row in rows.values()} == {"tomo_17": (-51, 60), "tomo_18": (-40, 48)}
    monkeypatch.chdir("picked")
    run("cryopipe check")


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if "```yaml" in text])
def test_the_files_that_a_page_names_are_exported_with_its_options(name: str, tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", PAGES[name], re.S)
    path = tmp_path / "config.yaml"
    path.write_text(block)
    options = complete(yaml.safe_load(block), path)["export"]
    particles, context = asymmetric_set()
    export_particles(particles, replace(context, options=ExportOptions(**options)), tmp_path / "results")
    named = set(re.findall(rf"results/(?:{'|'.join(FORMATS)})(?:/[\w.]+)*", PAGES[name]))
    assert named
    for text in named:
        file = text.replace("NN", "01").replace("TOMOGRAM", "TS_01").replace("NAME", "TS_01")
        if file.split("/")[1] in options["formats"]:
            assert (tmp_path / file).exists(), file


@pytest.mark.parametrize("name", ["csv", "relion"])
def test_the_conversions_on_the_pages_run(
    name: str, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = IMITATIONS["RELION 5"](tmp_path, shared_data / "metadata", NOISE, 13.0)
    run(f"cryopipe init {tmp_path / 'picked'} {project.source}")
    monkeypatch.chdir(tmp_path / "picked")
    Path("picks.csv").write_text(f"tomogram,x,y,z\n{project.name},101,91,41\n{project.name},51,46,21\n")
    [command] = re.findall(r"^(cryopipe convert .*)$", PAGES[name], re.M)
    run(command.replace("/data/relion", str(project.source)).replace("--pixel-size 2.7", "--pixel-size 6.5"))
    if name == "relion":
        particles = starfile.read("for_relion/particles.star")["particles"]
        assert particles["rlnTomoName"].tolist() == [project.name]  # the other is outside the tomogram
        return
    places = pd.read_csv("converted/particles.csv")[["x", "y", "z"]].to_numpy()
    np.testing.assert_allclose(places, [[50, 45, 20], [25, 22.5, 10]])  # from 1, in pixels of half a voxel
