"""YAML read strictly: nothing is discarded or reinterpreted in silence, and no file can keep a program busy.

YAML has more in it than a configuration needs, and some of it is a trap: a key given twice silently replaces the
first, 12:30:45 is a number to the base of 60, 010 is eight, aliases make a small text a huge object. Every such place
is a mistake with its line. The text is read event by event, without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cryopipe.config.wording import inline_yaml
from cryopipe.errors import ConfigError, one_line

Key = tuple[Any, ...]
KEEP = object()
"""Correction of a mistake whose value may stay in the corrected block."""
DEFAULT = object()
"""Correction of a mistake whose value gives way to the option's default."""
DROP = object()
"""Correction of a mistake whose key is left out of the corrected block."""
KEEP_ONE = "keep one"
SECOND = object()
"""Ends the key under which the line of a key given twice is kept."""
DEEPEST = 20
"""Sections and lists within one another."""
MOST_VALUES = 20_000
LARGEST_FILE = 1_000_000
"""Bytes."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"yes|Yes|YES|true|True|TRUE|on|On|ON")
_FALSE = re.compile(r"no|No|NO|false|False|FALSE|off|Off|OFF")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_RESOLVER = yaml.resolver.Resolver()
_IMPLICIT = ("int", "float", "timestamp", "merge", "value")
_LONGEST_INTEGER = 300
"""Digits; longer ones are refused before anything computes with them."""


@dataclass(frozen=True)
class Move:
    """Correction of an option that stands in the wrong place: the key to move it to."""

    key: Key


@dataclass(frozen=True)
class Mistake:
    """One mistake of a configuration.

    Attributes
    ----------
    key
        Names and indices that lead to it.
    problem, remedy
        What is wrong, with the value, and what to do.
    correction
        `Move`, `KEEP`, `DROP` or `DEFAULT`.
    """

    key: Key
    problem: str
    remedy: str
    correction: Any


@dataclass
class Document:
    """A YAML file as it was read.

    Attributes
    ----------
    content
        Dictionaries, lists and scalars.
    lines
        The line of every key.
    mistakes
        What cannot be read without doubt.
    """

    content: Any = None
    lines: dict[Key, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def read_document(path: str | Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    ConfigError
        If it is missing, no UTF-8 text, not YAML, or larger or deeper than any configuration.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("no such file", file=path, remedy="run `cryopipe init` to make one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", file=path, remedy="save it as UTF-8 text") from error
    if len(content) > LARGEST_FILE:
        raise ConfigError(
            "larger than 1 MB", file=path, remedy="give a configuration such as `cryopipe init` writes"
        )
    try:
        return _Builder(path).build(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML ({_problem(error)})", file=path,
                          remedy="indent with spaces and put a space after each colon") from error  # fmt: skip


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


@dataclass
class _Open:
    """A mapping or list that has not ended yet."""

    content: Any
    key: Key
    name: Any = None
    named: bool = False


class _Builder:
    """Makes a document of the events of a parser."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.document, self.open = path, Document(), list[_Open]()
        self.values, self.documents = 0, 0

    def build(self, events: Iterator[yaml.Event]) -> Document:
        for event in events:
            self.values += 1
            line = 0 if event.start_mark is None else event.start_mark.line + 1
            if self.values > 3 * MOST_VALUES:
                self._refuse(line, f"more than {MOST_VALUES} values", "give as many as there are options")
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self._refuse(line, "a second document begins (---)", "keep one")
            elif isinstance(event, yaml.AliasEvent):
                self._refuse(line, f"alias *{event.anchor}", "write the value out")
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent | yaml.ScalarEvent):
                self._node(event, line)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self.open.pop()
        return self.document

    def _refuse(self, line: int, problem: str, remedy: str) -> None:
        raise ConfigError(f"line {line}: {problem}", file=self.path, remedy=remedy)

    def _node(self, event: Any, line: int) -> None:
        """Put a scalar, or a mapping or list that begins, at its place."""
        if event.anchor:
            self._refuse(line, f"anchor &{event.anchor}", "write the value out wherever it is needed")
        if event.tag and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            self._refuse(line, f"tag {event.tag}", "leave it out; the option decides what its value is")
        parent = self.open[-1] if self.open else None
        if parent is not None and isinstance(parent.content, dict) and not parent.named:
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(line, "a section or list stands where a name should", "give name: value")
            self._name(parent, event, line)
            return
        key = self._place(parent, line)
        if isinstance(event, yaml.ScalarEvent):
            self._put(parent, self._scalar(event, key), key)
            return
        if len(self.open) >= DEEPEST:
            self._refuse(line, f"more than {DEEPEST} sections or lists within one another", "remove brackets")
        content: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.open.append(_Open(self._put(parent, content, key), key))

    def _name(self, parent: _Open, event: yaml.ScalarEvent, line: int) -> None:
        if event.implicit[0] and event.value == "<<":
            self._refuse(line, "merge key <<", "write the options out")
        parent.name, parent.named = self._scalar(event, None), True
        key = (*parent.key, parent.name)
        if parent.name in parent.content:
            problem = f"given twice, first in line {self.document.lines[key]}"
            self.document.mistakes.append(Mistake(key, problem, KEEP_ONE, KEEP))
            self.document.lines[(*key, SECOND)] = line
        self.document.lines.setdefault(key, line)

    def _place(self, parent: _Open | None, line: int) -> Key:
        if parent is None:
            return ()
        if isinstance(parent.content, dict):
            return (*parent.key, parent.name)
        key = (*parent.key, len(parent.content))
        self.document.lines[key] = line
        return key

    def _put(self, parent: _Open | None, value: Any, key: Key) -> Any:
        """Place a value; the second of two sections of one name goes on with the first."""
        if parent is None:
            self.document.content = value
        elif isinstance(parent.content, list):
            parent.content.append(value)
        else:
            parent.named = False
            earlier = parent.content.get(parent.name)
            value = earlier if isinstance(earlier, dict) and isinstance(value, dict) else value
            parent.content[parent.name] = value
        return value

    def _scalar(self, event: yaml.ScalarEvent, key: Key | None) -> Any:
        """Return a scalar's value; what readers of YAML read differently is a mistake, except in names."""
        text = event.value
        if not event.implicit[0]:
            return text
        for pattern, value in ((_NULL, None), (_TRUE, True), (_FALSE, False)):
            if pattern.fullmatch(text):
                return value
        if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER:
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _INFINITE.fullmatch(text):
            return float(text.replace(".", ""))
        tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]
        if tag in _IMPLICIT and key is not None:
            problem = f"{one_line(text[:80])} is no plain number (YAML reads it as a {_what(tag, text)})"
            remedy = "write a decimal number, or put text between quotes"
            self.document.mistakes.append(Mistake(key, problem, remedy, DEFAULT))
        return text


def _what(tag: str, text: str) -> str:
    if tag == "timestamp":
        return "date"
    if ":" in text:
        return "number to the base of 60"
    if tag == "int" and not _INTEGER.fullmatch(text):
        return f"number, {inline_yaml(yaml.safe_load(text))}"
    return "number"
