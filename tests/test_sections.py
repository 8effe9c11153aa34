"""Every option is written once: what is made from the classes of options agrees with them, and so do the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryopipe.averaging import AveragingOptions
from cryopipe.config import CHECKOUT, Options, complete, defaults, load_schema
from cryopipe.config.limits import canonical, violations
from cryopipe.errors import ConfigError
from cryopipe.export import WRITERS, ExportOptions
from cryopipe.features import LEARNERS, FeatureOptions
from cryopipe.particle_formats import FORMATS
from cryopipe.picking import PickOptions
from cryopipe.provenance import options_of
from cryopipe.sections import OTHER_SECTIONS, SECTIONS, config_schema, rendered_files
from cryopipe.simulation import SimulationOptions
from cryopipe.subtomograms import SubtomogramOptions


def listed(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All options, by their dotted names."""
    for name, option in schema["properties"].items():
        if option.get("type") == "object":
            yield from listed(option, f"{where}{name}.")
        else:
            yield where + name, option


ALL = dict(listed(config_schema()))


@pytest.mark.parametrize("path", rendered_files(), ids=lambda path: path.name)
def test_files_made_from_the_classes_are_up_to_date(path: Any) -> None:
    assert path.read_text(encoding="utf-8") == rendered_files()[path], "run python -m cryopipe.sections"


@pytest.mark.parametrize("kind", [*SECTIONS, *OTHER_SECTIONS], ids=lambda kind: kind.SECTION)
def test_the_completed_section_is_the_class_without_arguments(kind: type[Options]) -> None:
    assert kind(**defaults()[kind.SECTION]) == kind()
    assert list(defaults()[kind.SECTION]) == list(vars(kind()))


@pytest.mark.parametrize("name", ALL)
def test_an_option_has_type_meaning_and_limits(name: str) -> None:
    option = ALL[name]
    value = option.get("items", option)
    assert option["description"].endswith("."), name
    assert "type" in value or "enum" in value
    if {"number", "integer"} & set(
        [value["type"]] if isinstance(value.get("type"), str) else value.get("type", [])
    ):
        assert {"minimum", "exclusiveMinimum"} & set(value), f"{name} has no lower limit"
        assert {"maximum", "exclusiveMaximum"} & set(value), f"{name} has no upper limit"


WRONG: list[Any] = [math.nan, math.inf, -math.inf, 1e300, -1e300, 2**31, 10**400, "text", [], {}]


@pytest.mark.parametrize("name", ALL)
def test_no_option_takes_numbers_beyond_its_limits_or_other_types(name: str) -> None:
    types = ALL[name].get("type", "")
    text = "string" in types and "pattern" not in ALL[name]
    empty = "array" in types and not ALL[name].get("minItems")
    for value in WRONG:
        if (text and value == "text") or (empty and value == []):
            continue
        config: Any = value
        for part in reversed(name.split(".")):
            config = {part: config}
        with pytest.raises(ConfigError) as caught:
            complete(config, "config.yaml")
        assert f": {name}: " in str(caught.value)
        assert " cannot be used; give " in str(caught.value)


def test_the_defaults_satisfy_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())
    jsonschema.Draft202012Validator(load_schema()).validate(defaults())


plain = (
    st.none()
    | st.booleans()
    | st.integers(-3, 100)
    | st.floats(-2, 100, allow_nan=False)
    | st.text(max_size=3)
)


@given(st.sampled_from(sorted(ALL)), plain | st.lists(plain, max_size=4))
def test_the_validator_agrees_with_jsonschema(name: str, value: Any) -> None:
    option = {key: rule for key, rule in ALL[name].items() if key != "x-order"}
    ours = not list(violations(value, option))
    assert ours == jsonschema.Draft202012Validator(option).is_valid(value)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ({"type": "integer"}, 3.0, 3),
        ({"type": "number"}, 3, 3.0),
        ({"type": "number"}, "1e-4", 1e-4),
        ({"type": ["number", "null"]}, None, None),
        ({"type": "array", "items": {"type": "number"}}, [1, "2"], [1.0, 2.0]),
        ({"enum": [-1, 1]}, "-1", -1),
        ({"enum": [-1, 1]}, 1.0, 1),
        ({"type": "string"}, "3", "3"),
        ({"type": "number"}, "nan", "nan"),
        ({"type": "boolean"}, True, True),
    ],
)
def test_values_have_one_spelling(option: dict[str, Any], value: Any, expected: Any) -> None:
    made = canonical(value, option)
    assert made == expected
    assert type(made) is type(expected)


def test_a_completed_configuration_has_the_schema_s_order_and_spelling() -> None:
    one = complete({"pick": {"threshold": 3, "diameters": [200]}, "seed": 2.0}, "config.yaml")
    other = complete({"seed": "2", "pick": {"diameters": ["200.0"], "threshold": 3.0}}, "config.yaml")
    assert repr(one) == repr(other)
    assert list(one) == list(load_schema()["properties"])
    assert list(one["features"]["disca"]) == list(
        load_schema()["properties"]["features"]["properties"]["disca"]["properties"]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PickOptions(threshold=math.nan),
            "pick.threshold: .nan cannot be used; give a number from 0.1 to 1000",
        ),
        (
            lambda: SubtomogramOptions(box_size=2**31, voxel_size=0.0),
            "subtomograms.box_size: 2147483648 cannot be used; give a whole number from 8 to 512, a multiple of 2 | "
            "subtomograms.voxel_size: 0 cannot be used; give a number from 0.1 to 1000",
        ),
        (
            lambda: FeatureOptions(disca={"copies": 0}),  # type: ignore[arg-type]
            "features.disca.copies: 0 cannot be used; give a whole number from 1 to 1000",
        ),
        (
            lambda: AveragingOptions(symmetry="C999"),
            "averaging.symmetry: C999 cannot be used; give C1 to C99, D1 to D99, T or O",
        ),
        (
            lambda: SimulationOptions(tilt_range=(5, 2)),
            "simulation.tilt_range: [5, 2] cannot be used; give a list of 2 values, each a number from -90 to 90, "
            "in ascending order, none twice",
        ),
        (
            lambda: ExportOptions(formats=("relion", "eman")),
            "export.formats.1: eman cannot be used; give one of " + ", ".join(FORMATS),
        ),
    ],
)  # fmt: skip
def test_options_made_in_python_are_checked_too(make: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message


def test_values_of_python_come_into_their_types() -> None:
    options = PickOptions(diameters=[200, 300], threshold=3)
    assert options == PickOptions(diameters=(200.0, 300.0), threshold=3.0)
    assert isinstance(options.diameters, tuple)
    assert isinstance(options.threshold, float)


def test_choices_are_what_the_library_knows() -> None:
    assert ALL["export.formats"]["items"]["enum"] == list(WRITERS)
    assert sorted(ALL["features.learner"]["enum"]) == sorted(LEARNERS)


def test_a_user_s_configuration_lists_a_user_s_sections_only() -> None:
    from cryopipe.config.option_pages import render_config

    text = render_config("A heading.")
    for kind in OTHER_SECTIONS:
        assert f"\n{kind.SECTION}:" not in text
    reference = (CHECKOUT / "docs" / "options.md").read_text()
    for kind in (*SECTIONS, *OTHER_SECTIONS):
        assert f"\n## {kind.SECTION}\n" in reference


def test_options_of_a_learner_that_does_not_run_redo_nothing() -> None:
    changed = {"features": {"disca": {"copies": 3}}}
    assert options_of("learn_features", complete(changed, "c.yaml")) == options_of(
        "learn_features", defaults()
    )
    learner = {"features": {"learner": "disca"}}
    trained = options_of("learn_features", complete(learner, "c.yaml"))["features"]
    assert trained["disca"]["copies"] == 1
    more = {"features": {"learner": "disca", "disca": {"copies": 3}}}
    assert options_of("learn_features", complete(more, "c.yaml"))["features"]["disca"]["copies"] == 3
    unused = options_of("learn_features", defaults())["features"]
    assert FeatureOptions(**unused) == FeatureOptions()
