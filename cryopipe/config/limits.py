"""Validation of values against the part of JSON schema that the sections use; numbers must be finite.

`x-order` is the only extension: lists whose values ascend.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryopipe.config.wording import types_of

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Violation:
    """One value that its schema forbids.

    Attributes
    ----------
    key
        Names and indices of the path to the value.
    value
        The value.
    schema
        Its schema.
    unknown
        Whether the value's name is not an option; `schema` is then that of the section.
    """

    key: Key
    value: Any
    schema: Mapping[str, Any]
    unknown: bool = False


def violations(value: Any, schema: Mapping[str, Any], key: Key = ()) -> Iterator[Violation]:
    """Yield everything in `value`, at path `key`, that `schema` forbids."""
    if not _has_type(value, schema) or not _within(value, schema):
        yield Violation(key, value, schema)
    elif isinstance(value, Mapping):
        options = schema.get("properties", {})
        for name, item in value.items():
            if name in options:
                yield from violations(item, options[name], (*key, name))
            else:
                yield Violation((*key, name), item, schema, unknown=True)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), (*key, index))


def canonical(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return `value` converted to the types of its schema, where possible.

    Numbers given as text (YAML reads `1e-4` as text, and --config on the command line gives text) become numbers; whole
    numbers become integers if the schema requires an integer and floats if it requires a number. A section
    without options becomes an empty mapping. Values that cannot be converted are left for `violations` to report.
    """
    types = types_of(schema)
    if value is None and "object" in types:
        return {}
    if isinstance(value, Mapping):
        options = schema.get("properties", {})
        return {name: canonical(item, options.get(name, {})) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item, schema.get("items", {})) for item in value]
    if "enum" in schema:
        return next((choice for choice in schema["enum"] if _same(choice, value)), value)
    if isinstance(value, bool) or not {"number", "integer"} & set(types):
        return value
    number = _float(value) if isinstance(value, int | float) or "string" not in types else None
    if number is None or not math.isfinite(number):
        return value
    if "integer" in types:
        return int(number) if number.is_integer() and abs(number) < 2**53 else value
    return number


def _float(value: Any) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _same(choice: Any, value: Any) -> bool:
    """Return whether a value, possibly a number given as text, equals the choice; true and 1 differ."""
    if isinstance(choice, bool) or isinstance(value, bool):
        return choice is value
    return bool(choice == value) or (isinstance(choice, int | float) and _float(value) == choice)


def _has_type(value: Any, schema: Mapping[str, Any]) -> bool:
    types = types_of(schema)
    if not types:
        return True
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "boolean") in types
    if isinstance(value, int | float):
        whole = isinstance(value, int) or (math.isfinite(value) and value.is_integer())
        finite = isinstance(value, int) or math.isfinite(value)
        return finite and ("number" in types or ("integer" in types and whole))
    names = {str: "string", list: "array", tuple: "array", dict: "object"}
    return any(isinstance(value, kind) and name in types for kind, name in names.items())


def _within(value: Any, schema: Mapping[str, Any]) -> bool:
    if "enum" in schema:
        return any(_same(choice, value) for choice in schema["enum"])
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
            and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
            and value % schema.get("multipleOf", value or 1) == 0
        )
    return not isinstance(value, list | tuple) or _list_within(value, schema)


def _list_within(value: list[Any] | tuple[Any, ...], schema: Mapping[str, Any]) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return False
    if schema.get("uniqueItems") and any(item in value[:index] for index, item in enumerate(value)):
        return False
    order = schema.get("x-order")
    if order is None or not all(_has_type(item, {"type": "number"}) for item in value):
        return True
    return all(
        low < high or (low == high and order == "ascending") for low, high in itertools.pairwise(value)
    )
