"""Text of config.yaml and of the option reference, generated from the options."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryopipe.config.completion import load_schema
from cryopipe.config.wording import describe_allowed, inline_yaml

GENERAL = "General"
DEMO_REMARK = "The truth of the demo is known. Other options for simulated data: docs/options.md."


def render_config(
    heading: str, overrides: Mapping[str, Any] | None = None, schema: Mapping[str, Any] | None = None
) -> str:
    """Return a config.yaml that lists every option with its description.

    Parameters
    ----------
    heading
        Comment at the beginning.
    overrides
        Values that differ from the defaults, as a nested mapping. Sections for simulated data contain only these values.
    schema
        The configuration's schema; None to read it from its file.
    """
    schema, given = schema or load_schema(), dict(overrides or {})
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, option in schema["properties"].items():
        if not option.get("x-for"):
            lines += ["", *_lines(name, option, given.get(name), 0)]
    for name, option in schema["properties"].items():
        if option.get("x-for") and name in given:
            listed = {key: option["properties"][key] for key in given[name]}
            short = {**option, "description": f"{option['description']} {DEMO_REMARK}", "properties": listed}
            lines += ["", *_lines(name, short, given[name], 0)]
    return "\n".join(lines) + "\n"


def _lines(name: str, option: Mapping[str, Any], value: Any, indent: int) -> list[str]:
    prefix = " " * indent
    if option.get("type") != "object":
        shown = inline_yaml(option["default"] if value is None else value)
        return [*_comment(_described(option), indent), f"{prefix}{name}: {shown}"]
    lines = [*_comment(option["description"], indent), f"{prefix}{name}:"]
    for key, inner in option["properties"].items():
        lines += _lines(key, inner, (value or {}).get(key), indent + 2)
    return lines


def render_options(schema: Mapping[str, Any] | None = None) -> str:
    """Return docs/options.md as Markdown."""
    schema = schema or load_schema()
    lines = [
        "# Options",
        "",
        "Generated from the option classes of the library by `python -m cryopipe.sections`; edit the classes. An "
        "option that is missing in config.yaml has its default.",
        "",
    ]
    options = schema["properties"].items()
    lines += [f"## {GENERAL}", "", *_option_table((n, o) for n, o in options if o.get("type") != "object")]
    for audience in _audiences(schema):
        if audience:
            lines += ["", f"# {audience[0].upper()}{audience[1:]}"]
        for name, option in options:
            if option.get("type") == "object" and option.get("x-for", "") == audience:
                lines += _section(name, option)
    return "\n".join(lines) + "\n"


def _audiences(schema: Mapping[str, Any]) -> Sequence[str]:
    sections = schema["properties"].values()
    return ["", *dict.fromkeys(option["x-for"] for option in sections if option.get("x-for"))]


def _section(name: str, section: Mapping[str, Any]) -> list[str]:
    options = section["properties"]
    lines = ["", f"## {name}", "", str(section["description"]), ""]
    lines += _option_table((key, option) for key, option in options.items() if option.get("type") != "object")
    for key, option in options.items():
        lines += _section(f"{name}.{key}", option) if option.get("type") == "object" else []
    return lines


def _option_table(options: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    rows = ["| option | default | allowed | meaning |", "|---|---|---|---|"]
    for name, option in options:
        cells = [describe_allowed(option), str(option["description"])]
        cells[0] += f" ({option['x-unit']})" if "x-unit" in option else ""
        allowed, meaning = (cell.replace("|", "\\|") for cell in cells)
        rows.append(f"| `{name}` | `{inline_yaml(option['default'])}` | {allowed} | {meaning} |")
    return rows


def _described(option: Mapping[str, Any]) -> str:
    text = str(option["description"])
    text += f" Unit: {option['x-unit']}." if "x-unit" in option else ""
    choices = option.get("enum", option.get("items", {}).get("enum"))
    if choices:
        text += f" {'One' if 'enum' in option else 'Any'} of: {', '.join(inline_yaml(choice) for choice in choices)}."
    return text + (f" {option['x-form']}." if "x-form" in option else "")


def _comment(text: str, indent: int) -> list[str]:
    prefix = " " * indent + "# "
    return textwrap.wrap(" ".join(text.split()), 108, initial_indent=prefix, subsequent_indent=prefix)
