"""Documentation pages with generated sections between markers."""

from __future__ import annotations

import re
from collections.abc import Mapping


def update_page(page: str, sections: Mapping[str, str], heading: str) -> str:
    """Return the page with some sections replaced; other sections and the text after the last one are kept.

    Parameters
    ----------
    page
        The present text of the page; "" for a new one.
    sections
        Markdown by section name; sections are sorted by name.
    heading
        Text above the sections.
    """
    kept = dict(re.findall(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->", page, flags=re.DOTALL))
    kept.update({name: text.rstrip("\n") + "\n" for name, text in sections.items()})
    blocks = [f"<!-- begin {name} -->\n{kept[name]}<!-- end {name} -->\n" for name in sorted(kept)]
    rest = page.partition("<!-- begin ")[2]
    tail = re.split(r"<!-- end \w+ -->\n", rest)[-1] if rest else ""
    return "\n".join([heading.rstrip("\n") + "\n", *blocks]) + tail


def heading_of(page: str) -> str:
    """Return the text above the first generated section."""
    return page.partition("<!-- begin ")[0]
