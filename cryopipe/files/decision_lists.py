"""Files of the user's decisions about a run, `curation.yaml`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cryopipe.config.reading import read_document
from cryopipe.errors import ConfigError, FileError
from cryopipe.files.atomic import write_text

HEADING = "# Decisions of a cryopipe report"
LARGEST = 100_000_000
"""Bytes."""
MOST_VALUES = 3_000_000
"""A selection names its particles."""
_BREAKS = re.compile("[\n\r\x85\u2028\u2029]")
"""Line breaks of YAML, which lose their kind unless they are escaped."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes texts with line breaks in double quotes, with the breaks escaped."""


def _represent_text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _represent_text)
_KEYS = ("run", "decisions")
_REMEDY = "save the decisions again in the report, or write them with `cryopipe curate`"


def read_decision_list(path: str | os.PathLike[str]) -> tuple[str, list[tuple[int, Any]]]:
    """Read a file of decisions.

    Returns
    -------
    The fingerprint of the run, and every decision with the line on which it begins, in order.

    Raises
    ------
    FileError
        If the file is missing, is not YAML or is not a list of decisions.
    """
    path = Path(path)
    if not path.exists():
        raise FileError("no such file", file=path, remedy=_REMEDY)
    try:
        document = read_document(path, LARGEST, MOST_VALUES)
    except ConfigError as error:
        raise FileError(error.problem, file=path, remedy=error.remedy or _REMEDY) from error
    for mistake in document.mistakes:
        key = ".".join(str(part) for part in mistake.key)
        raise FileError(
            f"line {document.lines.get(mistake.key, 1)}: {key}: {mistake.problem}",
            file=path,
            remedy=mistake.remedy,
        )
    content = document.content
    if not isinstance(content, dict):
        raise FileError("contains no decisions", file=path, remedy=_REMEDY)
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        line = document.lines[(unknown[0],)]
        raise FileError(
            f"line {line}: unknown key {unknown[0]!r}", file=path, remedy="known are run, decisions"
        )
    run, decisions = content.get("run"), content.get("decisions") or []
    # a fingerprint of digits alone is a number where the quotes were removed
    if not isinstance(run, str | int) or isinstance(run, bool) or not str(run).strip():
        problem = "does not name the run that the decisions belong to"
        raise FileError(
            problem, file=path, remedy='write its fingerprint as run: "..."; the report states it'
        )
    if not isinstance(decisions, list):
        line = document.lines[("decisions",)]
        raise FileError(f"line {line}: decisions is not a list", file=path, remedy="begin each with a dash")
    lines = [document.lines.get(("decisions", i), 1) for i in range(len(decisions))]
    return str(run).strip(), list(zip(lines, decisions, strict=True))


def write_decision_list(
    path: str | os.PathLike[str], run: str, decisions: Sequence[Mapping[str, Any]]
) -> None:
    """Write a file of decisions, one a line if it is short; `read_decision_list` reads it."""
    write_text(path, render_decision_list(run, decisions))


def append_decision_list(path: str | os.PathLike[str], decisions: Sequence[Mapping[str, Any]]) -> None:
    """Add decisions to the end of a file, which keeps its remarks and spelling.

    A file whose last line is not a decision of its own, such as `decisions: []`, is written anew.
    """
    run, earlier = read_decision_list(path)
    text = Path(path).read_text(encoding="utf-8-sig").rstrip()
    added = render_decision_list(run, decisions).partition("decisions:\n")[2]
    if earlier and text.rpartition("\n")[2].startswith("  - {") and text.endswith("}"):
        write_text(path, f"{text}\n{added}")
    else:
        write_decision_list(path, run, [*(content for _, content in earlier), *decisions])


def render_decision_list(run: str, decisions: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a file of decisions."""
    lines = [HEADING, f'run: "{run}"']
    if not decisions:
        return "\n".join([*lines, "decisions: []", ""])
    lines.append("decisions:")
    for decision in decisions:
        text = yaml.dump(
            dict(decision),
            Dumper=_Dumper,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )
        first, *more = text.strip("\n").split("\n")
        lines += [f"  - {first}", *(f"    {line}" for line in more)]
    return "\n".join([*lines, ""])
