"""Options as fields of dataclasses with default, description, unit and limits.

The schema, config.yaml and docs/options.md are generated from these fields.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from cryopipe.config.limits import canonical, violations
from cryopipe.config.wording import describe_allowed, inline_yaml
from cryopipe.errors import ConfigError, one_line

Section = TypeVar("Section")
_JSON_TYPES = {float: "number", int: "integer", str: "string", bool: "boolean"}
_LIMITS = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum",
           "multiple_of": "multipleOf"}  # fmt: skip


def option(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    multiple_of: int | None = None,
    choices: Sequence[Any] = (),
    pattern: str = "",
    form: str = "",
    length: tuple[int, int] | None = None,
    order: str = "",
    unique: bool = False,
) -> Any:
    """Return a field of an `Options` dataclass; the field's annotation is the option's type.

    Parameters
    ----------
    default
        Value if the configuration has none.
    meaning
        Description for the user, in sentences.
    unit
        Unit of a number, such as "angstrom".
    minimum, maximum, above, below, multiple_of
        Limits of a number, or of each number of a list; `above` and `below` are exclusive.
    choices
        The allowed values, or those of each value of a list.
    pattern, form
        Regular expression that a text must match, and a description of that form.
    length
        Smallest and largest number of values of a list.
    order
        "ascending" or "strictly ascending" for lists whose values must ascend.
    unique
        Whether the values of a list must differ.
    """
    limits = {
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "multiple_of": multiple_of,
    }
    value: dict[str, Any] = {_LIMITS[name]: limit for name, limit in limits.items() if limit is not None}
    value |= {"enum": list(choices)} if choices else {}
    value |= {"pattern": pattern, "x-form": form} if pattern else {}
    whole: dict[str, Any] = {"uniqueItems": True} if unique else {}
    whole |= {"x-order": order} if order else {}
    whole |= {"minItems": length[0], "maxItems": length[1]} if length else {}
    about = {"x-unit": unit} if unit else {}
    return field(
        default=default,
        metadata={"value": value, "list": whole, "about": about | {"description": meaning}},
    )


@dataclass(frozen=True)
class Options:
    """Base class of the sections; converts every value to its type and checks its limits on creation.

    Raises
    ------
    ConfigError
        If values have a wrong type or are outside their limits; one line lists all of them.
    """

    SECTION: ClassVar[str] = ""
    """Name of the section in config.yaml, with dots for sections within sections."""

    def __post_init__(self) -> None:
        problems = []
        for name, schema in section_schema(type(self))["properties"].items():
            value = getattr(self, name)
            if schema.get("type") == "object":
                if isinstance(value, Mapping):
                    object.__setattr__(self, name, section_of(type(self).subsections()[name], name, value))
                continue
            value = canonical(value, schema)
            for wrong in violations(value, schema, (name,)):
                key = ".".join(str(part) for part in (self.SECTION, *wrong.key) if part != "")
                shown = _inline(wrong.value)
                problems.append(f"{key}: {shown} cannot be used; give {describe_allowed(wrong.schema)}")
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        if problems:
            raise ConfigError(" | ".join(problems))

    @classmethod
    def subsections(cls) -> dict[str, type[Options]]:
        """Return the fields that are sections themselves."""
        hints = typing.get_type_hints(cls)
        found = {one.name: hints[one.name] for one in fields(cls)}
        return {
            name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Options)
        }


_SCHEMAS: dict[type, dict[str, Any]] = {}


def section_schema(section: type[Options]) -> dict[str, Any]:
    """Return the JSON schema of one section; its description is the first line of the class's docstring."""
    if section not in _SCHEMAS:
        inner = section.subsections()
        hints = typing.get_type_hints(section)
        _SCHEMAS[section] = {
            "type": "object",
            "additionalProperties": False,
            "description": (section.__doc__ or "").strip().splitlines()[0],
            "properties": {
                one.name: section_schema(inner[one.name])
                if one.name in inner
                else _property(hints[one.name], one.default, one.metadata)
                for one in fields(section)
            },
        }
    return _SCHEMAS[section]


def _property(hint: Any, default: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    inner = next(part for part in parts if part is not type(None))
    value = dict(metadata["value"])
    lists = [part for part in parts if typing.get_origin(part) in (tuple, Sequence)]
    if (
        lists and inner is str
    ):  # words or a list: the pattern is that of the words, limits are those of the list
        words = {name: value.pop(name) for name in ("pattern", "x-form")}
        items = _typed(typing.get_args(lists[0])[0], value)
        value = {"type": ["string", "array"], **words, "items": items, **metadata["list"]}
    elif typing.get_origin(inner) in (tuple, Sequence):
        value = {"type": "array", "items": _typed(typing.get_args(inner)[0], value), **metadata["list"]}
    else:
        value = _typed(inner, value)
    if type(None) in parts and "type" in value:
        value["type"] = [value["type"], "null"]
    return {**value, "default": canonical(default, value), **metadata["about"]}


def _typed(python_type: type, limits: dict[str, Any]) -> dict[str, Any]:
    return limits if "enum" in limits else {"type": _JSON_TYPES[python_type], **limits}


def _inline(value: Any) -> str:
    plain = value if isinstance(value, str | int | float | list | tuple | dict | None) else repr(value)
    return one_line(inline_yaml(plain))


def section_of(kind: type[Section], where: str, content: Any) -> Section:
    """Return an instance of the dataclass `kind` from a mapping of its fields.

    Parameters
    ----------
    kind
        A dataclass.
    where
        Name of the mapping, for the message.
    content
        The value in the YAML file.

    Raises
    ------
    ConfigError
        If it is not a mapping, or keys are unknown or missing.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: {content!r} is not a mapping", remedy="give keys and values")
    known = inspect.signature(kind).parameters
    needed = [name for name, one in known.items() if one.default is one.empty]
    wrong = [f"unknown {name!r}" for name in sorted(set(content) - set(known))]
    wrong += [f"no {name!r}" for name in needed if name not in content]
    if wrong:
        raise ConfigError(f"{where}: {', '.join(wrong)}", remedy=f"known are {', '.join(sorted(known))}")
    return kind(**content)
