"""The configuration: mistakes are named, all at once; defaults, config.yaml and the reference agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cryopipe.config import CHECKOUT, complete, defaults, load_schema, read_config
from cryopipe.config_pages import render_config, render_options
from cryopipe.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_every_option_has_a_type_a_default_and_a_description() -> None:
    for name, option in load_schema()["properties"].items():
        inner = option["properties"] if option.get("type") == "object" else {name: option}
        for key, leaf in inner.items():
            assert {"default", "description"} <= set(leaf), key
            assert "type" in leaf or "enum" in leaf, key
            assert leaf["description"].endswith("."), key


def test_the_defaults_satisfy_the_schema() -> None:
    jsonschema.Draft202012Validator(load_schema()).validate(defaults())


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "")) == defaults()


def test_a_rendered_configuration_reads_back_as_the_defaults(tmp_path: Path) -> None:
    text = render_config("A heading.")
    assert text.startswith("# A heading.\n")
    assert read_config(write(tmp_path, text)) == defaults()


def test_the_shipped_configuration_lists_every_option_of_the_schema() -> None:
    shipped = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text())
    wanted = defaults()
    assert list(shipped) == list(wanted)
    for name, section in wanted.items():
        if isinstance(section, dict):
            assert list(shipped[name]) == list(section)


def test_the_option_reference_follows_the_schema() -> None:
    assert (CHECKOUT / "docs" / "options.md").read_text() == render_options()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 3", "line 1: sede: unknown option 'sede'; did you mean 'seed'?"),
        ("seed: -1", "line 1: seed: -1 cannot be used; give a whole number of at least 0"),
        ("seed: 1.5", "line 1: seed: 1.5 cannot be used; give a whole number of at least 0"),
        ("device: gpu", "line 1: device: gpu cannot be used; give one of auto, cpu, cuda"),
        ("\nmemory_gb: 0", "line 2: memory_gb: 0 cannot be used; give a number above 0"),
        ("memory_gb: much", "line 1: memory_gb: much cannot be used; give a number above 0"),
        (
            "imaging:\n  tilt_range: [-60, 60, 3]",
            "line 2: imaging.tilt_range: [-60, 60, 3] cannot be used; give a list of 2 values, each a number from -90 to 90",
        ),
        (
            "imaging:\n  tilt_range: [-60, 600]",
            "line 2: imaging.tilt_range.1: 600 cannot be used; give a number from -90 to 90",
        ),
        ("voltage: 300", "line 1: voltage: unknown option 'voltage' here; it belongs in section 'imaging'"),
        (
            "imaging: 3",
            "line 1: imaging: 3 cannot be used; give a section with indented options",
        ),
        ("- a list", "the whole file: [a list] cannot be used; give a section with indented options"),
    ],
)
def test_one_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_key_that_yaml_reads_as_true_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option True \(YAML reads on, off, yes and no as true"):
        read_config(write(tmp_path, "on: 3"))


def test_all_mistakes_come_at_once_with_a_block_to_paste(tmp_path: Path) -> None:
    path = write(tmp_path, "sede: 3\nimaging:\n  voltge: 200\n  amplitude_contrast: 2\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines[:3]] == ["line 1", "line 3", "line 4"]
    block: dict[str, Any] = yaml.safe_load("\n".join(lines[4:]))
    assert block == {"seed": 3, "imaging": {"voltage": 200, "amplitude_contrast": 0.07}}
    assert complete(block, "block")["imaging"]["voltage"] == 200


def test_numbers_that_arrive_as_text_are_numbers(tmp_path: Path) -> None:
    config = complete({"memory_gb": "1e-1", "seed": "7"}, tmp_path / "absent.yaml")
    assert (config["memory_gb"], config["seed"]) == (0.1, 7)
    assert isinstance(config["seed"], int)


def test_a_mistake_of_the_command_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"from the command line: seed: -3 cannot be used"):
        complete({"seed": "-3"}, write(tmp_path, "device: cpu"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"a:\tb: c", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: no such file; run `cryopipe init` to make one"
