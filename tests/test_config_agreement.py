"""Options against each other and against the files that they name; files that the workflow engine must not read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import forked_snakemake
import pytest
import yaml

from cryopipe.config import CHECKOUT, check_named_files, read_config
from cryopipe.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pick: {diameters: [240, 700]}",
            "line 1: pick.diameters.1: a particle of 700 A does not fit into boxes of 32 voxels of 13.33 A, 427 A wide; "
            "give subtomograms.box_size 72 or more, or a coarser subtomograms.voxel_size",
        ),
        (
            "\npick: {diameters: [30]}",
            "line 2: pick.diameters.0: a particle of 30 A is only 2.3 voxels of 13.33 A wide in its box; give a "
            "subtomograms.voxel_size of 7.5 or less",
        ),
        (
            "subtomograms: {box_size: 16}",
            "the default: pick.diameters.0: a particle of 240 A does not fit into boxes of 16 voxels of 13.33 A, 213 A wide; "
            "give subtomograms.box_size 26 or more, or a coarser subtomograms.voxel_size",
        ),
        (
            "memory_gb: 0.5\nsubtomograms: {box_size: 512}",
            "line 2: subtomograms.box_size: extracting one box of 512 voxels takes 2 GB, but memory_gb is 0.5; give "
            "smaller boxes or a larger memory_gb",
        ),
        (
            "averaging: {voxel_size: 0.5}",
            "line 1: averaging.voxel_size: boxes of 427 A would have 853 voxels of 0.5 A along an edge; give at least "
            "0.833, or smaller boxes",
        ),
        (
            "averaging: {mask_diameter: 500}",
            "line 1: averaging.mask_diameter: 500 A does not fit into boxes of 427 A; give 426 or less",
        ),
        (
            "averaging: {max_shift: 300}",
            "line 1: averaging.max_shift: 300 A does not fit into boxes of 427 A; give 213 or less",
        ),
        (
            "averaging: {initial_resolution: 20}",
            "line 1: averaging.initial_resolution: 20 A is finer than voxels of 13.33 A can represent; give at least "
            "26.66, twice the voxel size",
        ),
        (
            "features: {learner: disca, disca: {network: yopo}}\nsubtomograms: {box_size: 12, voxel_size: 25}",
            "the default: features.disca.widths: 6 blocks need boxes of more than 12 voxels, but subtomograms.box_size is 12; "
            "give fewer widths or larger boxes",
        ),
        (
            "features: {learner: template}",
            "the default: features.template.maps: template matching needs density maps; name a directory of MRC maps",
        ),
        (
            "simulation: {resolution: 20}",
            "line 1: simulation.resolution: 20 A is finer than voxels of 13.33 A can represent; give at least 26.66, twice the "
            "voxel size",
        ),
    ],
)
def test_options_that_exclude_each_other(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "averaging: {known_maps: maps}",
            "averaging.known_maps: no directory 'maps'; name a directory of MRC maps",
        ),
        ("evaluation: {maps: empty}", "evaluation.maps: no MRC map in 'empty'; name a directory of MRC maps"),
        ("simulation: {maps: maps}", "simulation.maps: no directory 'maps'; name a directory of MRC maps"),
        (
            "features: {template: {maps: empty}}",
            "features.template.maps: no MRC map in 'empty'; name a directory of MRC maps",
        ),
        (
            "features: {affinity: {maps: empty}}",
            "features.affinity.maps: no MRC map in 'empty'; name a directory of MRC maps",
        ),
        (
            "features: {affinity: {maps: ./results/averages}}",
            "features.affinity.maps: './results/averages' is made by this run; copy its maps to another directory",
        ),
        (
            "evaluation: {truth: 'truth/{tomogram}.star'}",
            "evaluation.truth: no file 'truth/b.star' and 1 more; give the STAR files of the true particles, or null",
        ),
        (
            "relations: {membranes: 'truth/{tomogram}.star'}",
            "relations.membranes: no file 'truth/b.star' and 1 more; give one MRC file per tomogram, or null",
        ),
        (
            "relations: {membranes: truth/a.star}",
            "relations.membranes: 'truth/a.star' has no {tomogram}; give one MRC file per tomogram, or null",
        ),
        (
            "features: {weights: old.safetensors}",
            "features.weights: no file 'old.safetensors'; name the model.safetensors of an earlier run, or give null",
        ),
        (
            "export: {relion_tomograms: tomograms.star}",
            "export.relion_tomograms: no file 'tomograms.star'; name the tomograms.star of your RELION project, or give "
            "null",
        ),
        (
            "export: {relion_tomograms: truth/a.star}",
            "export.relion_tomograms: 'truth/a.star' lists no tomograms; name the tomograms.star of your RELION project, "
            "which has a column rlnTomoName",
        ),
    ],
)
def test_files_that_options_name_have_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.star").write_text("data_\n")
    write(tmp_path, "\n" + text)
    with pytest.raises(ConfigError) as caught:
        check_named_files(read_config("config.yaml"), ["a", "b", "c"], "config.yaml")
    assert str(caught.value) == f"config.yaml: line 2: {message}"


def test_files_that_are_there_or_will_be_made_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "apo.mrc").touch()
    (tmp_path / "all.star").write_text("data_\nloop_\n_rlnTomoName #1\n")
    config = {
        "averaging": {"known_maps": "maps"},
        "evaluation": {"truth": "results/demo/{tomogram}_truth.star", "maps": "maps"},
        "export": {"relion_tomograms": "all.star"},
        "features": {"weights": "random"},
    }
    path = write(tmp_path, yaml.safe_dump(config))
    check_named_files(read_config(path), ["a"], path)
    check_named_files(read_config(CHECKOUT / "config" / "config.yaml"), ["demo_01"], path)


def plan(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "config.yaml").write_text(text)
    (folder / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\n")
    (folder / "a.mrc").touch()
    command = ["--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "1", "--dry-run", "--quiet"]
    return forked_snakemake.snakemake(folder, *command)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pick: " + 3000 * "[", "line 1: more than 20 sections or lists within one another; remove brackets"),
        ("pick: &a [*a]", "line 1: anchor &a; write the value out wherever it is needed"),
        ("pick: {clip: 2}\npick: {border: 2}", "line 2: pick: given twice, first in line 1; keep one"),
        (
            "averaging: {known_maps: nowhere}",
            "line 1: averaging.known_maps: no directory 'nowhere'; name a directory of MRC maps",
        ),
    ],
)
def test_a_run_ends_at_once_with_one_line(tmp_path: Path, text: str, message: str) -> None:
    result = plan(tmp_path, text)
    assert result.returncode == 1
    assert f"config/config.yaml: {message}" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
