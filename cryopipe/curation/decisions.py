"""Decisions of the user, one class for each form that `curation.yaml` can contain."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryopipe import columns
from cryopipe.errors import DataError, one_line

SCORES = {
    "posterior": columns.POSTERIOR,
    "pick": columns.PICK_SCORE,
    "template": columns.TEMPLATE_SCORE,
}
"""Scores for `choose`, with their columns. The alignment score is not among them, because it changes with every replay."""
PURPOSES = ("accept", "reject", "label", "split")
"""What a selection of particles can be for."""
LARGEST_NUMBER = 99_999
MOST_PARTS = 20
LONGEST_TEXT = 2000
"""Characters of a note."""
LONGEST_NAME = 80
"""Characters of a name."""


@dataclass(frozen=True)
class Accept:
    """Export the particles of a cluster; if a file accepts anything, nothing else is exported."""

    cluster: int


@dataclass(frozen=True)
class Reject:
    """Leave a cluster out of the export and of the tomograms with averages."""

    cluster: int


@dataclass(frozen=True)
class Merge:
    """Make one cluster of several; it has the number, name and state of the first."""

    clusters: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Divide a cluster by its particles' features; the largest part keeps its number, others get the next free ones."""

    cluster: int
    into: int


@dataclass(frozen=True)
class Rename:
    """Give a cluster a name."""

    cluster: int
    name: str


@dataclass(frozen=True)
class Note:
    """Add a remark about a cluster."""

    cluster: int
    text: str


@dataclass(frozen=True)
class Choose:
    """Keep only the particles of a cluster whose score is at least `above`."""

    cluster: int
    above: float
    score: str = "posterior"


@dataclass(frozen=True)
class Select:
    """Particles chosen one by one or with a lasso.

    Attributes
    ----------
    name
        Name of the selection: the label, or the name of the new cluster.
    from_clusters
        Clusters of the particles when they were selected.
    particles
        Their names.
    purpose
        accept: export them; reject: remove them from their clusters; label: give them the label `name`;
        split: make a new cluster of them.
    """

    name: str
    from_clusters: tuple[int, ...]
    particles: tuple[str, ...]
    purpose: str


@dataclass(frozen=True)
class BadTomogram:
    """Remove all particles of a tomogram."""

    tomogram: str


Decision = Accept | Reject | Merge | Split | Rename | Note | Choose | Select | BadTomogram


@dataclass(frozen=True)
class Curation:
    """The decisions of a file, in order; each applies to the result of the earlier ones.

    Attributes
    ----------
    run
        Fingerprint of the clusters that the decisions refer to; see `fingerprint`.
    decisions
        In the order of the file.
    """

    run: str
    decisions: tuple[Decision, ...] = ()


def parse_decision(content: Any) -> Decision:
    """Return the decision that a mapping of the file states.

    Raises
    ------
    DataError
        With the wrong value and what is allowed.
    """
    if not isinstance(content, Mapping) or not content:
        raise DataError(
            f"{_shown(content)} is not a decision", remedy="give one such as {accept: 1} or {reject: 3}"
        )
    keys = [key for key in content if key in FORMS]
    if len(keys) != 1:
        raise DataError(
            f"{_shown(dict(content))} names {'no' if not keys else 'more than one'} decision",
            remedy=f"give exactly one of {', '.join(FORMS)}",
        )
    allowed, needed, build = FORMS[keys[0]]
    unknown = [str(key) for key in content if key not in allowed]
    missing = [key for key in needed if key not in content]
    if unknown or missing:
        problem = f"has the unknown key {unknown[0]!r}" if unknown else f"lacks the key {missing[0]!r}"
        raise DataError(f"{keys[0]} {problem}", remedy=f"its keys are {', '.join(allowed)}")
    return build(content)


def decision_mapping(decision: Decision) -> dict[str, Any]:
    """Return a decision as the mapping that the file contains; `parse_decision` reads it."""
    match decision:
        case Accept(cluster):
            return {"accept": cluster}
        case Reject(cluster):
            return {"reject": cluster}
        case Merge(clusters):
            return {"merge": list(clusters)}
        case Split(cluster, into):
            return {"split": cluster, "into": into}
        case Rename(cluster, name):
            return {"rename": cluster, "name": name}
        case Note(cluster, text):
            return {"note": cluster, "text": text}
        case Choose(cluster, above, score):
            return {"choose": cluster, "above": above, "score": score}
        case Select(name, from_clusters, particles, purpose):
            return {
                **{"select": name, "from_clusters": list(from_clusters)},
                **{"particles": list(particles), "as": purpose},
            }
        case BadTomogram(tomogram):
            return {"bad_tomogram": tomogram}


def describe(decision: Decision) -> str:
    """Return a decision as text on one line; the particles of a selection are only counted."""
    if isinstance(decision, Select):
        return f"select {decision.name!r}: {len(decision.particles)} particles as {decision.purpose}"
    return ", ".join(
        f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in decision_mapping(decision).items()
    )


def _cluster(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_NUMBER:
        raise DataError(f"{key}: {_shown(value)} is not a cluster", remedy="give its number, from 1")
    return value


def _clusters(value: Any, key: str, fewest: int) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < fewest:
        raise DataError(
            f"{key}: {_shown(value)} is not a list of {'at least two ' if fewest > 1 else ''}clusters",
            remedy="give their numbers, such as [1, 4]",
        )
    numbers = tuple(_cluster(one, key) for one in value)
    twice = next((one for one in numbers if numbers.count(one) > 1), None)
    if twice is not None:
        raise DataError(f"{key}: cluster {twice} is given twice", remedy="give each number once")
    return numbers


def _text(value: Any, key: str, longest: int = LONGEST_NAME) -> str:
    # a name such as 70 is a number in YAML
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not text or len(text) > longest or not text.replace("\n", " ").isprintable():
        raise DataError(f"{key}: {_shown(value)} is not text", remedy=f"give 1 to {longest} characters")
    return text


def _split(content: Mapping[str, Any]) -> Split:
    into = content["into"]
    if isinstance(into, bool) or not isinstance(into, int) or not 2 <= into <= MOST_PARTS:
        raise DataError(f"into: {_shown(into)} is not a number of parts", remedy=f"give 2 to {MOST_PARTS}")
    return Split(_cluster(content["split"], "split"), into)


def _choose(content: Mapping[str, Any]) -> Choose:
    above, score = content["above"], content.get("score", "posterior")
    if isinstance(above, bool) or not isinstance(above, int | float) or not math.isfinite(above):
        raise DataError(f"above: {_shown(above)} is not a number", remedy="give the lowest score to keep")
    if score not in SCORES:
        raise DataError(
            f"score: {_shown(score)} cannot be used",
            remedy=f"give one of {', '.join(SCORES)}, or select the particles by name",
        )
    return Choose(_cluster(content["choose"], "choose"), float(above), score)


def _select(content: Mapping[str, Any]) -> Select:
    particles, purpose = content["particles"], content["as"]
    if not isinstance(particles, Sequence) or isinstance(particles, str) or not particles:
        raise DataError("particles: no particle is named", remedy="give names such as TS_01/17")
    wrong = next((one for one in particles if not isinstance(one, str)), None)
    if wrong is not None:
        raise DataError(f"particles: {_shown(wrong)} is not a name", remedy="give names such as TS_01/17")
    if purpose not in PURPOSES:
        raise DataError(f"as: {_shown(purpose)} cannot be used", remedy=f"give one of {', '.join(PURPOSES)}")
    clusters = content.get("from_clusters", [])
    # particles of class 0 may be selected
    own = [one for one in clusters if one != columns.UNASSIGNED] if isinstance(clusters, list) else clusters
    return Select(
        _text(content["select"], "select"),
        _clusters(own, "from_clusters", 0),
        tuple(dict.fromkeys(particles)),
        purpose,
    )


_Form = tuple[tuple[str, ...], tuple[str, ...], Callable[[Mapping[str, Any]], Decision]]
FORMS: dict[str, _Form] = {
    "accept": (("accept",), ("accept",), lambda d: Accept(_cluster(d["accept"], "accept"))),
    "reject": (("reject",), ("reject",), lambda d: Reject(_cluster(d["reject"], "reject"))),
    "merge": (("merge",), ("merge",), lambda d: Merge(_clusters(d["merge"], "merge", 2))),
    "split": (("split", "into"), ("into",), _split),
    "rename": (
        *(("rename", "name"), ("name",)),
        lambda d: Rename(_cluster(d["rename"], "rename"), _text(d["name"], "name")),
    ),
    "note": (
        *(("note", "text"), ("text",)),
        lambda d: Note(_cluster(d["note"], "note"), _text(d["text"], "text", LONGEST_TEXT)),
    ),
    "choose": (("choose", "above", "score"), ("above",), _choose),
    "select": (("select", "from_clusters", "particles", "as"), ("particles", "as"), _select),
    "bad_tomogram": (
        *(("bad_tomogram",), ("bad_tomogram",)),
        lambda d: BadTomogram(_text(d["bad_tomogram"], "bad_tomogram")),
    ),
}
"""By the key that names a decision: its keys, those it needs, and how it is built."""


def _shown(value: Any) -> str:
    text = one_line(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
