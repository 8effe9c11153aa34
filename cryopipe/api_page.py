"""The reference of the library, docs/api.md, generated from docstrings by `python -m cryopipe.api_page`."""

from __future__ import annotations

import inspect
import re
from typing import Any

from cryopipe.api import STAGES, find

INTRODUCTION = """# The library

Generated from the docstrings by `python -m cryopipe.api_page`; edit the docstrings. Every name can be imported from
`cryopipe`, as in `from cryopipe import pick_particles`. [The notebook](from_tomogram_to_average.ipynb) uses them from
a tomogram to averages. Arrays are (z, y, x); vectors, coordinates and columns are x, y, z; voxels count from 0; lengths
are in angstrom unless stated otherwise.
"""


def render_api() -> str:
    """Return the reference of the library, docs/api.md, as Markdown."""
    lines = [INTRODUCTION]
    for stage, names in STAGES.items():
        lines += [f"## {stage}\n", *(_entry(name, find(name)) for name in names)]
    return "\n".join(lines)


def _entry(name: str, thing: Any) -> str:
    call = f"class {name}" if inspect.isclass(thing) else f"{name}{_signature(thing)}"
    return f"### `{name}`\n\n```python\n{call}\n```\n\n{_markdown(inspect.getdoc(thing) or '')}\n"


def _signature(thing: Any) -> str:
    """Return the signature; a long one has one parameter per line."""
    signature = inspect.signature(thing)
    parameters = [
        f"{one.name}: {one.annotation}" + ("" if one.default is one.empty else f" = {one.default!r}")
        for one in signature.parameters.values()
    ]
    short = f"({', '.join(parameters)}) -> {signature.return_annotation}"
    broken = "".join(f"\n    {parameter}," for parameter in parameters)
    return short if len(short) < 90 else f"({broken}\n) -> {signature.return_annotation}"


def _markdown(docstring: str) -> str:
    """Return a numpy docstring as Markdown: sections as bold lines, parameters as a list, examples as code."""
    opening, *parts = re.split(r"^(\w[\w ]*)\n-+\n", docstring, flags=re.M)
    blocks = [opening.strip()]
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        if title == "Examples":
            text = f"```python\n{body.strip()}\n```"
        elif re.search(r"^\S.*\n    ", body):
            items = re.findall(r"^(\S.*)\n((?:    .*\n?|\n)*)", body, flags=re.M)
            text = "\n".join(f"- `{term.strip()}`: {' '.join(said.split())}" for term, said in items)
        else:
            text = body.strip()
        blocks.append(f"**{title}**\n\n{text}")
    return "\n\n".join(blocks)


if __name__ == "__main__":
    from cryopipe.files.atomic import write_text
    from cryopipe.installation import ROOT

    write_text(ROOT / "docs" / "api.md", render_api())
