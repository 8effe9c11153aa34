"""Rendering of the report as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup


def render_page(content: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    All texts are escaped, except the style sheet, the script and the charts, which cryopipe writes itself.

    Parameters
    ----------
    content
        As `page_content` returns it.
    """
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = Markup(_template("report.css")), Markup(_template("report.js"))
    return environment.get_template("report.html.jinja").render(style=style, script=script, **content)


def _template(name: str) -> str:
    return files("cryopipe.report").joinpath("templates", name).read_text(encoding="utf-8")
