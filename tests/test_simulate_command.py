"""The command `cryopipe simulate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryopipe.cli import main
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.files.star import read_particles

CONFIG = """
seed: 3
simulation: {size: [64, 56, 40], copies: 1, vesicles: 0, tilt_step: 10, species: [ferritin_like, phantom_3]}
"""


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_tomograms_with_their_truth_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    made = tmp_path / "made"
    assert run("simulate", made, "--count", "2", "--name", "t", "--config", tmp_path / "config.yaml") == 0
    names = ["maps", *(f"t_0{n}{end}" for n in (1, 2) for end in (".mrc", "_labels.mrc", "_truth.star"))]
    assert sorted(path.name for path in made.iterdir()) == sorted(names)
    assert sorted(path.name for path in (made / "maps").iterdir()) == ["ferritin_like.mrc", "phantom_3.mrc"]
    assert read_header(made / "t_01.mrc").shape_zyx == (40, 56, 64)
    assert len(read_particles(made / "t_02_truth.star")) == 2
    assert not (open_volume(made / "t_01.mrc") == open_volume(made / "t_02.mrc")).all()
    assert f"{made / 't_01'}.mrc: 2 particles, SNR 0.300" in capsys.readouterr().out


def test_another_seed_gives_another_tomogram(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run("simulate", tmp_path / folder, "--seed", seed, "--config", tmp_path / "config.yaml") == 0
    a, b, c = ((tmp_path / folder / "simulated_01.mrc").read_bytes()[1024:] for folder in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "a b"), "Error: tomogram name 'a b'; use letters, digits, '_' and '-' only"),
        (
            ("--config", "absent.yaml"),
            "Error: absent.yaml: no such file; give a config.yaml, or omit --config",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], message: str
) -> None:
    assert run("simulate", tmp_path / "made", *words) == 1
    assert capsys.readouterr().err == message + "\n"
    assert not (tmp_path / "made").exists()
