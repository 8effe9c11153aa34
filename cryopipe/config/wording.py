"""Text for values and limits of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_TYPES = {"number": "a number", "integer": "a whole number", "string": "text", "array": "a list",
          "object": "a section with indented options", "boolean": "true or false", "null": "null"}  # fmt: skip
_ORDER = {"ascending": ", in ascending order", "strictly ascending": ", in ascending order, none twice"}


def inline_yaml(value: Any) -> str:
    """Return a value as YAML on one line; whole numbers have no decimal point."""
    text = yaml.safe_dump(_short(value), default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return text.removesuffix("\n...").removesuffix("...").strip()


def _short(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else value


def types_of(option: Mapping[str, Any]) -> list[str]:
    """Return the types that an option's schema allows; empty for a list of choices."""
    types = option.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def describe_allowed(option: Mapping[str, Any]) -> str:
    """Return a description of the allowed values, such as "a number from 0 to 1 or null"."""
    if "enum" in option:
        return "one of " + ", ".join(inline_yaml(choice) for choice in option["enum"])
    if "x-form" in option:
        words = str(option["x-form"])
    else:
        words = " or ".join(_TYPES[name] for name in types_of(option) if name != "null") or "text"
    if "minimum" in option:
        words += f" from {_number(option['minimum'])}"
    elif "exclusiveMinimum" in option:
        words += f" above {_number(option['exclusiveMinimum'])}"
    if "maximum" in option:
        words += f" {'to' if 'minimum' in option else 'and up to'} {_number(option['maximum'])}"
    elif "exclusiveMaximum" in option:
        words += f" to below {_number(option['exclusiveMaximum'])}"
    if "multipleOf" in option:
        words += f", a multiple of {_number(option['multipleOf'])}"
    if "items" in option:
        low, high = option.get("minItems"), option.get("maxItems")
        count = f"{low} " if low is not None and low == high else f"{low} to {high} " if low else ""
        words += f" of {count}values, each {describe_allowed(option['items'])}"
        words += ", none twice" if option.get("uniqueItems") else ""
        words += _ORDER[option["x-order"]] if "x-order" in option else ""
    return words + (" or null" if "null" in types_of(option) else "")


def _number(value: float) -> str:
    return f"{value:,}".replace(",", "") if isinstance(value, int) else f"{value:g}"
