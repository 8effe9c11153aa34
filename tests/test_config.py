"""The configuration: mistakes are named, all at once; defaults, config.yaml and the reference agree."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryopipe.config import CHECKOUT, complete, defaults, load_schema, read_config
from cryopipe.config.option_pages import render_config
from cryopipe.errors import ConfigError

FRAGMENTS = ["[", "]", "{", "}", ": ", "- ", "&a ", "*a", "<<: ", "!!int ", "'", '"', "|", "\n", "\t", "#", "? ", "%", "@", "~",
             ".nan", ".inf", "1e400", "9" * 5000, "0x1f", "12:30:45", "\x00", "\x85", "\ufeff", "---\n", "é", "on", "=",
             "pick:", "seed: 1\n", "  "]  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "")) == defaults()
    assert read_config(write(tmp_path, "pick:\nimaging: {}\n")) == defaults()


def test_a_rendered_configuration_reads_back_as_the_defaults(tmp_path: Path) -> None:
    text = render_config("A heading.")
    assert text.startswith("# A heading.\n")
    assert read_config(write(tmp_path, text)) == defaults()


def test_the_shipped_configuration_lists_every_option_of_a_user() -> None:
    shipped = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text())
    wanted = {name: option for name, option in load_schema()["properties"].items() if not option.get("x-for")}
    assert list(shipped) == [*wanted, "evaluation"]
    for name, section in wanted.items():
        assert list(shipped[name] if isinstance(shipped[name], dict) else {}) == list(
            section.get("properties", {})
        )
    assert read_config(CHECKOUT / "config" / "config.yaml")["subtomograms"]["box_size"] == 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 3", "line 1: sede: unknown option 'sede'; did you mean 'seed'?"),
        ("seed: -1", "line 1: seed: -1 cannot be used; give a whole number from 0 to 2147483647"),
        ("seed: 1.5", "line 1: seed: 1.5 cannot be used; give a whole number from 0 to 2147483647"),
        ("device: gpu", "line 1: device: gpu cannot be used; give one of auto, cpu, cuda"),
        ("\nmemory_gb: 0", "line 2: memory_gb: 0 cannot be used; give a number from 0.1 to 10000"),
        ("memory_gb: much", "line 1: memory_gb: much cannot be used; give a number from 0.1 to 10000"),
        (
            "imaging:\n  tilt_range: [-60, 60, 3]",
            "line 2: imaging.tilt_range: [-60, 60, 3] cannot be used; give a list of 2 values, each a number from -90 to 90, in ascending order, none twice",
        ),
        (
            "imaging:\n  tilt_range: [-60, 600]",
            "line 2: imaging.tilt_range.1: 600 cannot be used; give a number from -90 to 90",
        ),
        (
            "sigma: 300",
            "line 1: sigma: unknown option 'sigma' here; it belongs in section 'reembedding'",
        ),
        (
            "features:\n  iterations: 3",
            "line 2: features.iterations: unknown option 'iterations' here; it belongs in section 'features.disca'",
        ),
        (
            "averaging:\n  starts: 3",
            "line 2: averaging.starts: unknown option 'starts'; its new name is 'initial_models'",
        ),
        (
            "averaging:\n  start_boxes: 100",
            "line 2: averaging.start_boxes: unknown option 'start_boxes'; its new name is 'initial_boxes'",
        ),
        (
            "voltage: 300",
            "line 1: voltage: unknown option 'voltage' here; it belongs in section 'imaging', 'features.template' or 'simulation'",
        ),
        (
            "pick:\n  threshold: .nan",
            "line 2: pick.threshold: .nan cannot be used; give a number from 0.1 to 1000",
        ),
        (
            "pick: {threshold: nan}",
            "line 1: pick.threshold: nan cannot be used; give a number from 0.1 to 1000",
        ),
        (
            "pick: {threshold: 1e999}",
            "line 1: pick.threshold: 1e999 cannot be used; give a number from 0.1 to 1000",
        ),
        (
            "clustering: {clusters: [5, 2]}",
            "line 1: clustering.clusters: [5, 2] cannot be used; give a list of 2 values, each a whole number from 1 to "
            "999, in ascending order",
        ),
        (
            "pick: {clip: 12:30:45}",
            "line 1: pick.clip: 12:30:45 is not a plain number (YAML reads it as a number to base 60); write a "
            "decimal number, or put text between quotes",
        ),
        (
            "seed: 010",
            "line 1: seed: 010 is not a plain number (YAML reads it as a number, 8); write a decimal number, or put text "
            "between quotes",
        ),
        (
            "seed: 2026-01-01",
            "line 1: seed: 2026-01-01 is not a plain number (YAML reads it as a date); write a decimal number, or put text "
            "between quotes",
        ),
        ("seed: 1\nseed: 2", "line 2: seed: given twice, first in line 1; keep one"),
        (
            "pick: {border: 1}\nseed: 1\npick: {clip: 2}",
            "line 3: pick: given twice, first in line 1; keep one",
        ),
        ("pick: {border: 1, border: 2}", "line 1: pick.border: given twice, first in line 1; keep one"),
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


def test_the_corrected_block_keeps_what_was_meant(tmp_path: Path) -> None:
    text = "features:\n  iterations: 3\nimaging: {tilt_range: [60, -60]}\npick: {clip: 1:30}\npick: {border: 5}\n"
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    block = yaml.safe_load("\n".join(lines[5:]))
    assert block == {
        "features": {"disca": {"iterations": 3}},
        "imaging": {"tilt_range": [-60, 60]},
        "pick": {"clip": 4, "border": 5},
    }
    assert complete(block, tmp_path / "absent.yaml")["pick"]["border"] == 5


def test_values_that_only_the_user_can_correct_are_in_no_block(tmp_path: Path) -> None:
    text = "averaging:\n  mask_diameter: 9000\n  max_shift: 900\n"
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "line 2: averaging.mask_diameter: 9000 A does not fit into boxes of 427 A; give 426 or less",
        "line 3: averaging.max_shift: 900 A does not fit into boxes of 427 A; give 213 or less",
    ]
    with pytest.raises(ConfigError) as caught:
        read_config(
            write(
                tmp_path,
                f"{text}  initial_resolution: 1.0\nmemory_gb: 0.1\nsubtomograms: {{box_size: 256}}\n",
            )
        )
    block = str(caught.value).partition("A corrected block to paste:\n")[2]
    assert yaml.safe_load(block) == {"subtomograms": {"box_size": 32}}


def test_what_the_engine_no_longer_shows_is_found_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "pick: {border: 5}\npick: {clip: 2}\n")
    as_engine_reads = yaml.safe_load(path.read_text())
    with pytest.raises(ConfigError, match=r"line 2: pick: given twice, first in line 1; keep one"):
        complete(as_engine_reads, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"a:\tb: c", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: &x [1]\nb: *x", "line 1: anchor &x; write the value out wherever it is needed"),
        (b"a: *x", "line 1: alias *x; write the value out"),
        (b"pick:\n  <<: {border: 3}\n  cilp: 2", "line 2: merge key <<; write the options out"),
        (b"pick: &p {clip: *p}", "line 1: anchor &p; write the value out wherever it is needed"),
        (
            b"pick: " + 3000 * b"[",
            "line 1: more than 20 sections or lists within one another; remove brackets",
        ),
        (
            b"pick: " + 3000 * b"{a: ",
            "line 1: more than 20 sections or lists within one another; remove brackets",
        ),
        (
            b"seed: [" + 70_000 * b"1," + b"]",
            "line 1: more than 20000 values; give as many as there are options",
        ),
        (b"a: 1\n" * 300_000, "larger than 1 MB; give a configuration such as `cryopipe init` writes"),
        (b"seed: 1\n---\nseed: 2", "line 2: a second document begins (---); keep one"),
        (
            b"seed: !!python/object:os.system {}",
            "line 1: tag tag:yaml.org,2002:python/object:os.system; leave it out",
        ),
        (b"? [a]\n: 3", "line 1: a section or list where a name was expected; give name: value"),
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


def test_damaged_configurations_end_in_lines_and_at_once(tmp_path: Path) -> None:
    whole = (CHECKOUT / "config" / "config.yaml").read_text()
    sections = [match.end() for match in re.finditer("\n\n", whole)]
    rng, path = random.Random(1), tmp_path / "config.yaml"
    messages = []
    for _ in range(300):
        start = rng.choice(sections)  # a slice from the middle of a line would almost never be valid
        text = list(whole[start : start + 600])
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(text) + 1)
            text[at : at + rng.choice([0, 0, 20])] = rng.choice(FRAGMENTS)
        content = "".join(text).encode()
        path.write_bytes(content + rng.choice([b"", b"", b"\xff\x00"]))
        try:
            read_config(path)
        except ConfigError as error:
            messages.append(str(error))
    assert 100 < len(messages) < 300
    assert all(message.startswith(f"{path}: ") for message in messages)
