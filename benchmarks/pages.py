"""Documentation pages with generated sections between markers."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryopipe.files.atomic import write_text


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


def rewrite_page(
    path: str | Path, sections: Mapping[str, str], heading: str, keep_heading: bool = False
) -> None:
    """Replace sections of a page on disk; see `update_page`. Other processes that do the same wait.

    Parameters
    ----------
    path
        The page; written anew if it does not exist.
    sections
        Markdown by section name.
    heading
        Text above the sections.
    keep_heading
        Whether to keep the text above the sections of an existing page.
    """
    page = Path(path)
    with _locked(page.parent):
        old = page.read_text(encoding="utf-8") if page.is_file() else ""
        write_text(page, update_page(old, sections, (keep_heading and heading_of(old)) or heading))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the file itself is replaced, so that its lock would not be that of the new one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def heading_of(page: str) -> str:
    """Return the text above the first generated section."""
    return page.partition("<!-- begin ")[0]
