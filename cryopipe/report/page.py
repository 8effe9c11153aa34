"""Rendering of the report as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.M)
_EXPORT = re.compile(r"^export (?=const|function|async)", re.M)


def render_page(content: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    All texts are escaped, except the style sheet, the script and the charts, which cryopipe writes itself.

    Parameters
    ----------
    content
        As `page_content` returns it.
    """
    return _render("report.html.jinja", page_script(), content)


def render_progress_page(content: Mapping[str, Any]) -> str:
    """Return the page about a run that goes on as HTML, with content as `cryopipe.live.progress_page` returns it."""
    return _render("progress.html.jinja", _template("progress.js"), content)


def render_preview_page(content: Mapping[str, Any]) -> str:
    """Return the page of `cryopipe preview` as HTML, with content as `cryopipe.report.preview_page` returns it."""
    return _render("preview.html.jinja", "", content)


def _render(template: str, script: str, content: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(
        style=Markup(_template("report.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        **content,
    )


def page_script() -> str:
    """Return the page's modules as one script: what a module imports comes before it; names are unique among modules."""
    ordered: list[str] = []
    _add_module("main.js", ordered)
    modules = (_IMPORT.sub("", _template(name)) for name in ordered)
    script = "\n".join(_EXPORT.sub("", module) for module in modules)
    assert "</script" not in script.lower()
    return script


def _add_module(name: str, ordered: list[str]) -> None:
    for other in _IMPORT.findall(_template(name)):
        if other not in ordered:
            _add_module(other, ordered)
    ordered.append(name)


def _template(name: str) -> str:
    return files("cryopipe.report").joinpath("templates", name).read_text(encoding="utf-8")
