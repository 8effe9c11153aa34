"""The pages made from the schema: config.yaml and the option reference."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from cryopipe.config import inline_yaml, load_schema


def render_config(heading: str, overrides: Mapping[str, Any] | None = None) -> str:
    """Return a config.yaml that lists every option with its description.

    Parameters
    ----------
    heading
        Opening comment.
    overrides
        Values that differ from the defaults, as a nested mapping.
    """
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, option in load_schema()["properties"].items():
        lines += ["", *_comment(option["description"], 0)]
        value = (overrides or {}).get(name)
        if option.get("type") == "object":
            lines.append(f"{name}:")
            for key, inner in option["properties"].items():
                lines += _comment(_described(inner), 2)
                lines.append(f"  {key}: {inline_yaml((value or {}).get(key, inner['default']))}")
        else:
            lines.append(f"{name}: {inline_yaml(option['default'] if value is None else value)}")
    return "\n".join(lines) + "\n"


def render_options() -> str:
    """Return the option reference, docs/options.md, as Markdown."""
    lines = ["# Options", "", "Made from `workflow/schemas/config.schema.yaml`; change it there.", ""]
    lines += ["Lengths are in angstrom, angles in degrees, unless an option says otherwise.", ""]
    options = load_schema()["properties"].items()
    plain = [(name, option) for name, option in options if option.get("type") != "object"]
    sections = [(name, option) for name, option in options if option.get("type") == "object"]
    lines += ["## General", "", *_option_table(plain)]
    for name, option in sections:
        lines += ["", f"## {name}", "", option["description"], ""]
        lines += _option_table(list(option["properties"].items()))
    return "\n".join(lines) + "\n"


def _option_table(options: list[tuple[str, dict[str, Any]]]) -> list[str]:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for name, option in options:
        meaning = _described(option).replace("|", "\\|")
        rows.append(f"| `{name}` | `{inline_yaml(option['default'])}` | {meaning} |")
    return rows


def _described(option: Mapping[str, Any]) -> str:
    choices = option.get("enum")
    text = str(option["description"])
    return text if not choices else f"{text} One of: {', '.join(inline_yaml(choice) for choice in choices)}."


def _comment(text: str, indent: int) -> list[str]:
    prefix = " " * indent + "# "
    return textwrap.wrap(" ".join(text.split()), 108, initial_indent=prefix, subsequent_indent=prefix)
