"""Check and completion of the configuration: all mistakes reported at once, defaults added, values normalised."""

from __future__ import annotations

import copy
import difflib
import functools
import json
import math
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cryopipe.config.agreement import contradictions, missing_files
from cryopipe.config.limits import Violation, canonical, violations
from cryopipe.config.reading import (
    DEFAULT,
    DROP,
    KEEP,
    KEEP_ONE,
    SECOND,
    Document,
    Key,
    Mistake,
    Move,
    read_document,
)
from cryopipe.config.wording import describe_allowed, inline_yaml
from cryopipe.errors import ConfigError, one_line
from cryopipe.installation import ROOT

CHECKOUT = ROOT
"""Another name of `cryopipe.installation.ROOT`."""
Files = Sequence[tuple[str | Path, Document]]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
RENAMED = {
    ("averaging", "starts"): "initial_models",
    ("averaging", "start_boxes"): "initial_boxes",
    ("averaging", "start_resolution"): "initial_resolution",
    ("averaging", "start_iterations"): "initial_iterations",
}
"""New names of options that had another name in version 0.1.0."""


@functools.cache
def load_schema() -> dict[str, Any]:
    """Return the configuration's JSON schema; the returned dictionary is cached and must not be changed."""
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def read_config(path: str | Path) -> dict[str, Any]:
    """Read, check and complete one configuration file.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or contains mistakes (all of them in one message).
    """
    document = read_document(path)
    return _completed(document.content, [(path, document)])


def complete(config: Any, path: str | Path, *more: str | Path) -> dict[str, Any]:
    """Check a configuration against the schema and add every default.

    The files are read again, because the workflow engine's configuration no longer contains keys given twice or the
    original text of values such as 12:30:45, which YAML reads as a number.

    Parameters
    ----------
    config
        The configuration as read, including options given on the command line.
    path, *more
        The files of the configuration, for messages and line numbers; later files override earlier ones.

    Returns
    -------
    A new dictionary of all options of the schema, in the schema's order; numbers are integers if the schema requires
    integers, otherwise floats.

    Raises
    ------
    ConfigError
        With one line per mistake: file, line, key, value and remedy; after several mistakes, a
        corrected block to paste.
    """
    return _completed(config, _documents((path, *more)))


def _completed(config: Any, files: Files) -> dict[str, Any]:
    schema = load_schema()
    config = canonical(copy.deepcopy(config), schema)
    found = [(path, document, mistake) for path, document in files for mistake in document.mistakes]
    known = {mistake.key for _, _, mistake in found}
    for wrong in violations(config, schema):
        if wrong.key not in known:
            place = next((one for one in reversed(files) if wrong.key in one[1].lines), files[0])
            found.append((*place, _mistake(wrong, schema)))
    if not found:
        whole = _with_defaults(config, schema)
        _refuse(contradictions(whole), config, files)
        return whole
    _raise(found, config)


def check_named_files(config: Mapping[str, Any], tomograms: Iterable[str], *paths: str | Path) -> None:
    """Raise an error if a complete configuration names files that do not exist.

    Parameters
    ----------
    config
        The complete configuration.
    tomograms
        Names of the tomograms.
    *paths
        The files of the configuration, for messages and line numbers.

    Raises
    ------
    ConfigError
        With one line per option.
    """
    mistakes = list(missing_files(config, tomograms))
    _refuse(mistakes, config, _documents(paths) if mistakes else [])


def check_or_exit(*paths: str | Path) -> None:
    """End the process with one line per mistake of those configuration files that exist.

    For a Snakefile, before the workflow engine reads the files.
    """
    for path in paths:
        if Path(path).exists():
            try:
                read_config(path)
            except ConfigError as error:
                sys.exit(f"Error: {error}")


def _documents(paths: Iterable[str | Path]) -> Files:
    return [(one, read_document(one) if Path(one).exists() else Document()) for one in paths]


def _refuse(mistakes: Iterable[Mistake], config: Mapping[str, Any], files: Files) -> None:
    found = []
    for mistake in mistakes:
        place = next((one for one in reversed(files) if _line(one[1].lines, mistake.key)), files[0])
        found.append((*place, mistake))
    if found:
        _raise(found, config)


def _raise(found: list[tuple[str | Path, Document, Mistake]], config: Any) -> NoReturn:
    found.sort(key=lambda one: _line(one[1].lines, one[2].key) or math.inf)
    messages = [_message(path, document.lines, mistake, config) for path, document, mistake in found]
    error = ConfigError(messages[0])
    if len(messages) > 1:
        block = _corrected(config, [mistake for _, _, mistake in found], load_schema())
        pasted = ["A corrected block to paste:", block] if block else []
        error.args = ("\n".join([*messages, *pasted]),)
    raise error


def defaults() -> dict[str, Any]:
    """Return the configuration with all default values."""
    return _with_defaults({}, load_schema())


def _with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, option in schema["properties"].items():
        if option.get("type") == "object":
            result[name] = _with_defaults(config.get(name) or {}, option)
        else:
            result[name] = config[name] if name in config else canonical(option["default"], option)
    return result


def _mistake(wrong: Violation, schema: Mapping[str, Any]) -> Mistake:
    if wrong.unknown:
        return _unknown(wrong, schema)
    problem = f"{one_line(inline_yaml(wrong.value))} cannot be used"
    return Mistake(wrong.key, problem, f"give {describe_allowed(wrong.schema)}", DEFAULT)


def _unknown(wrong: Violation, schema: Mapping[str, Any]) -> Mistake:
    *here, name = wrong.key
    known = list(wrong.schema["properties"])
    problem, nothing = f"unknown option {name!r}", f"known here: {', '.join(known)}"
    if isinstance(name, bool):
        problem = f"unknown option {name} (YAML reads on, off, yes and no as true or false)"
        return Mistake(wrong.key, problem, nothing, DROP)
    new = RENAMED.get(wrong.key)
    if new is not None:
        return Mistake(wrong.key, problem, f"its new name is {new!r}", Move((*here, new)))
    homes = [key for key, options in _sections(schema) if key and name in options]
    if homes:
        *others, last = (repr(".".join(home)) for home in homes)
        place = f"{', '.join(others)} or {last}" if others else last
        move = Move((*homes[0], name)) if len(homes) == 1 else DROP
        return Mistake(wrong.key, f"{problem} here", f"it belongs in section {place}", move)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if near:
        return Mistake(wrong.key, problem, f"did you mean {near[0]!r}?", Move((*here, near[0])))
    return Mistake(wrong.key, problem, nothing, DROP)


def _sections(schema: Mapping[str, Any], key: Key = ()) -> Iterator[tuple[Key, Iterable[str]]]:
    yield key, schema["properties"]
    for name, option in schema["properties"].items():
        if option.get("type") == "object":
            yield from _sections(option, (*key, name))


def _message(path: str | Path, lines: Mapping[Key, int], mistake: Mistake, config: Any) -> str:
    key = mistake.key
    line = lines.get((*key, SECOND)) if mistake.remedy == KEEP_ONE else None
    line = line or _line(lines, key)
    given = "from the command line" if _is_given(config, key) else "the default"
    where = f"line {line}" if line else given if key else "the whole file"
    dotted = ".".join(str(part) for part in key)
    named = f"{where}: {dotted}: " if dotted else f"{where}: "
    return one_line(f"{path}: {named}{mistake.problem}; {mistake.remedy}")


def _is_given(config: Any, key: Key) -> bool:
    for part in key:
        try:
            config = config[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _line(lines: Mapping[Key, int], key: Key) -> int | None:
    """Return the line of a value, or of its list if the value itself has no line; None if it is in no file."""
    return lines.get(key) or (lines.get(key[:-1]) if key and isinstance(key[-1], int) else None)


def _corrected(config: Any, mistakes: list[Mistake], schema: Mapping[str, Any]) -> str:
    """Return the corrected sections, as YAML; "" if no mistake can be corrected without the user's decision."""
    if not isinstance(config, dict) or all(mistake.correction is KEEP for mistake in mistakes):
        return ""
    corrected, touched = copy.deepcopy(config), set[Any]()
    for mistake in sorted(mistakes, key=lambda one: -len(one.key)):
        key = mistake.key
        while key and isinstance(key[-1], int):
            key = key[:-1]  # the default is that of the list, not of its values
        if key and mistake.correction is not KEEP:
            touched.add(key[0])
            with suppress(KeyError, TypeError):  # in a section that an earlier correction removed
                touched.add(_correct(corrected, key, mistake.correction, schema))
    block = {name: value for name, value in corrected.items() if name in touched}
    return textwrap.indent(yaml.safe_dump(block, sort_keys=False), "    ").rstrip()


def _correct(config: Any, key: Key, correction: Any, schema: Mapping[str, Any]) -> Any:
    """Correct the value at `key`, in place; return the section that was changed."""
    *way, name = key
    parent = functools.reduce(lambda section, part: section[part], way, config)
    if correction is DEFAULT:
        options = functools.reduce(lambda section, part: section["properties"][part], key, schema)
        parent[name] = copy.deepcopy(options.get("default", {}))
        return key[0]
    value = parent.pop(name)
    if not isinstance(correction, Move):
        return key[0]
    *way, name = correction.key
    for part in way:
        inner = config.setdefault(part, {})
        config = inner if isinstance(inner, dict) else {}
    config.setdefault(name, value)
    return correction.key[0]
