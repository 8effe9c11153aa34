"""Strict YAML reader that reports ambiguous syntax as mistakes and limits size and depth.

Some YAML syntax is misleading in a configuration: a key given twice silently replaces the first, 12:30:45 is a number
to base 60, 010 is eight, and aliases expand a small text to a huge object. Each of these is reported as a mistake with
its line. The text is read event by event, without recursion.
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
"""Correction: the value stays in the corrected block."""
DEFAULT = object()
"""Correction: the option's default replaces the value."""
DROP = object()
"""Correction: the key is removed from the corrected block."""
KEEP_ONE = "keep one"
SECOND = object()
"""Last part of the key in `Document.lines` for the second occurrence of a key."""
DEEPEST = 20
"""Largest number of nested sections and lists."""
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
"""Digits; conversion of longer integers would take too long."""


@dataclass(frozen=True)
class Move:
    """Correction of an option in the wrong section: the key to move it to."""

    key: Key


@dataclass(frozen=True)
class Mistake:
    """One mistake of a configuration.

    Attributes
    ----------
    key
        Names and indices of the path to it.
    problem, remedy
        What is wrong, with the value, and how to fix it.
    correction
        `Move`, `KEEP`, `DROP` or `DEFAULT`.
    """

    key: Key
    problem: str
    remedy: str
    correction: Any


@dataclass
class Document:
    """Content of a YAML file.

    Attributes
    ----------
    content
        Dictionaries, lists and scalars.
    lines
        Line of every key.
    mistakes
        Keys given twice and values with ambiguous syntax.
    """

    content: Any = None
    lines: dict[Key, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def read_document(path: str | Path, largest: int = LARGEST_FILE, most_values: int = MOST_VALUES) -> Document:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    largest, most_values
        Largest number of bytes and of values that are read.

    Raises
    ------
    ConfigError
        If it is missing, not UTF-8 text, not YAML, too large or too deeply nested.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(largest + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("no such file", file=path, remedy="run `cryopipe init` to make one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", file=path, remedy="save it as UTF-8 text") from error
    if len(content) > largest:
        raise ConfigError(
            f"larger than {largest // 1_000_000} MB",
            file=path,
            remedy="give a configuration such as `cryopipe init` writes",
        )
    try:
        return _Builder(path, most_values).build(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML ({_problem(error)})", file=path,
                          remedy="indent with spaces and put a space after each colon") from error  # fmt: skip


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


@dataclass
class _Open:
    """A mapping or list whose end has not been read yet."""

    content: Any
    key: Key
    name: Any = None
    named: bool = False


class _Builder:
    """Builds a document from a parser's events."""

    def __init__(self, path: str | Path, most_values: int) -> None:
        self.path, self.document, self.open = path, Document(), list[_Open]()
        self.most_values = most_values
        self.values, self.documents = 0, 0

    def build(self, events: Iterator[yaml.Event]) -> Document:
        for event in events:
            self.values += 1
            line = 0 if event.start_mark is None else event.start_mark.line + 1
            if self.values > 3 * self.most_values:
                self._refuse(
                    line, f"more than {self.most_values} values", "give as many as there are options"
                )
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
        """Add a scalar, or the beginning of a mapping or list, to the document."""
        if event.anchor:
            self._refuse(line, f"anchor &{event.anchor}", "write the value out wherever it is needed")
        if event.tag and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            self._refuse(line, f"tag {event.tag}", "leave it out; the option decides what its value is")
        parent = self.open[-1] if self.open else None
        if parent is not None and isinstance(parent.content, dict) and not parent.named:
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(line, "a section or list where a name was expected", "give name: value")
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
        """Add a value and return it; a second section of the same name is merged into the first."""
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
        """Return a scalar's value; ambiguous values, except in names, are recorded as mistakes."""
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
            problem = f"{one_line(text[:80])} is not a plain number (YAML reads it as a {_what(tag, text)})"
            remedy = "write a decimal number, or put text between quotes"
            self.document.mistakes.append(Mistake(key, problem, remedy, DEFAULT))
        return text


def _what(tag: str, text: str) -> str:
    if tag == "timestamp":
        return "date"
    if ":" in text:
        return "number to base 60"
    if tag == "int" and not _INTEGER.fullmatch(text):
        return f"number, {inline_yaml(yaml.safe_load(text))}"
    return "number"
