"""Pages of the documentation whose sections commands write, each its own, between marks."""

from __future__ import annotations

import re
from collections.abc import Mapping


def update_page(page: str, sections: Mapping[str, str], heading: str) -> str:
    """Return the page with some sections written anew; other sections, and what follows the last one, stay.

    Parameters
    ----------
    page
        The page as it stands; "" for a new one.
    sections
        Markdown by name of the section; they stand in the order of their names.
    heading
        What stands above the sections.
    """
    kept = dict(re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", page, flags=re.DOTALL))
    kept.update({name: text.rstrip("\n") + "\n" for name, text in sections.items()})
    blocks = [f"<!-- begin {name} -->\n{kept[name]}<!-- end {name} -->\n" for name in sorted(kept)]
    rest = page.partition("<!-- begin ")[2]
    tail = re.split(r"<!-- end \w+ -->\n", rest)[-1] if rest else ""
    return "\n".join([heading.rstrip("\n") + "\n", *blocks]) + tail


def heading_of(page: str) -> str:
    """Return what stands above a page's first section."""
    return page.partition("<!-- begin ")[0]
