"""The configuration: read against its schema, completed with defaults, every mistake named at once.

The schema (workflow/schemas/config.schema.yaml) is the one truth for options. config/config.yaml and
docs/options.md are rendered from it. Light on purpose: the Snakefile imports this module in every job.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import jsonschema
import yaml

from cryopipe.errors import ConfigError, one_line
from cryopipe.installation import ROOT

CHECKOUT = ROOT
"""Another name of `cryopipe.installation.ROOT`."""
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
Key = tuple[Any, ...]
Section = TypeVar("Section")
_JSON_TYPES = {"number": "a number", "integer": "a whole number", "string": "text", "array": "a list",
               "object": "a section with indented options", "boolean": "true or false", "null": "null"}  # fmt: skip


def load_schema() -> dict[str, Any]:
    """Return the configuration's JSON schema."""
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return schema


def read_config(path: str | Path) -> dict[str, Any]:
    """Read, check and complete one configuration file.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or holds mistakes (all of them in one message).
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("no such file", file=path, remedy="run `cryopipe init` to make one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", file=path, remedy="save it as UTF-8 text") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML ({_yaml_problem(error)})", file=path,
                          remedy="indent with spaces and put a space after each colon") from error  # fmt: skip
    return complete(config, path)


def complete(config: Any, path: str | Path) -> dict[str, Any]:
    """Check a configuration against the schema and fill in every default.

    Numbers that arrive as text (YAML takes `1e-4` for text, and so does the command line's --config)
    are turned into numbers where the schema wants one.

    Parameters
    ----------
    config
        The configuration as read, perhaps with options of the command line merged in.
    path
        The file that it came from, for messages and line numbers.

    Returns
    -------
    A new dictionary in which every option of the schema is present.

    Raises
    ------
    ConfigError
        With one line per mistake: file, line, key, value and remedy; where there are several, a
        corrected block to paste follows.
    """
    schema = load_schema()
    config = _normalised(copy.deepcopy(config), schema)
    validator = jsonschema.Draft202012Validator(schema)
    mistakes = [mistake for error in validator.iter_errors(config) for mistake in _explain(error, schema)]
    if mistakes:
        lines = _line_numbers(Path(path))
        mistakes.sort(key=lambda mistake: lines.get(mistake[0], math.inf))
        messages = [_message(path, key, lines, problem, remedy) for key, problem, remedy, _ in mistakes]
        error = ConfigError(messages[0])
        if len(messages) > 1:
            error.args = (
                "\n".join([*messages, "A corrected block to paste:", _corrected(config, mistakes)]),
            )
        raise error
    return _with_defaults(config, schema)


def defaults() -> dict[str, Any]:
    """Return the configuration that an empty file stands for."""
    return _with_defaults({}, load_schema())


def _normalised(value: Any, schema: Mapping[str, Any]) -> Any:
    if value is None and schema.get("type") == "object":
        return {}  # a section whose options are all commented out
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        return {key: _normalised(item, inner.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalised(item, schema.get("items", {})) for item in value]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, str) and "string" not in kinds and {"number", "integer"} & set(kinds):
        try:
            number = float(value)
        except ValueError:
            return value
        if math.isfinite(number):
            return int(number) if "integer" in kinds and number.is_integer() else number
    return value


def _with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(config)
    for name, option in schema["properties"].items():
        if option.get("type") == "object":
            result[name] = _with_defaults(result.get(name) or {}, option)
        elif name not in result:
            result[name] = copy.deepcopy(option["default"])
    return result


Mistake = tuple[Key, str, str, Any]
_DROP = object()


def _explain(error: jsonschema.ValidationError, schema: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield (key, problem, remedy, corrected value) for one violation of the schema."""
    key, value = tuple(error.absolute_path), cast(Any, error.instance)
    option = cast(dict[str, Any], error.schema)
    if error.validator == "additionalProperties":
        for name in value:
            if name not in option["properties"]:
                yield _unknown(key, name, value[name], schema, option)
        return
    default = option.get("default", _DROP)
    yield key, f"{inline_yaml(value)} cannot be used", f"give {_wish(option)}", default


def _unknown(
    key: Key, name: Any, value: Any, schema: Mapping[str, Any], option: Mapping[str, Any]
) -> Mistake:
    known = list(option["properties"])
    if isinstance(name, bool):
        problem = f"unknown option {name} (YAML reads on, off, yes and no as true or false)"
        return (*key, name), problem, f"known here: {', '.join(known)}", _DROP
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if near:
        return (*key, name), f"unknown option {name!r}", f"did you mean {near[0]!r}?", (near[0], value)
    for section, inner in schema["properties"].items():
        if name in inner.get("properties", {}):
            return (*key, name), f"unknown option {name!r} here", f"it belongs in section {section!r}", _DROP
    return (*key, name), f"unknown option {name!r}", f"known here: {', '.join(known)}", _DROP


def _wish(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return "one of " + ", ".join(inline_yaml(choice) for choice in option["enum"])
    kinds = option.get("type", "string")
    wish = " or ".join(_JSON_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if "minimum" in option and "maximum" in option:
        return f"{wish} from {option['minimum']:g} to {option['maximum']:g}"
    for rule, words in (("minimum", "of at least"), ("exclusiveMinimum", "above"), ("maximum", "of at most"),
                        ("exclusiveMaximum", "below"), ("multipleOf", "that is a multiple of")):  # fmt: skip
        if rule in option:
            wish += f" {words} {option[rule]:g}"
    if "items" in option:
        low, high = option.get("minItems"), option.get("maxItems")
        count = f"{low} " if low is not None and low == high else f"at least {low} " if low else ""
        wish += f" of {count}values, each {_wish(option['items'])}"
    return wish


def _message(path: str | Path, key: Key, lines: Mapping[Key, int], problem: str, remedy: str) -> str:
    where = f"line {lines[key]}" if key in lines else "from the command line" if key else "the whole file"
    dotted = ".".join(str(part) for part in key)
    named = f"{where}: {dotted}: " if dotted else f"{where}: "
    return one_line(f"{path}: {named}{problem}; {remedy}")


def _corrected(config: Any, mistakes: list[Mistake]) -> str:
    """Return the sections that hold mistakes, with the mistakes mended, as YAML."""
    if not isinstance(config, dict):
        return ""
    mended = copy.deepcopy(config)
    for key, _, _, correction in sorted(mistakes, key=lambda mistake: -len(mistake[0])):
        parent = mended
        for part in key[:-1]:
            parent = parent[part]
        if key and isinstance(correction, tuple):
            parent.pop(key[-1], None)
            parent[correction[0]] = correction[1]
        elif key and correction is _DROP and isinstance(parent, dict):
            parent.pop(key[-1], None)
        elif key and correction is not _DROP:
            parent[key[-1]] = correction
    touched = {mistake[3][0] if len(mistake[0]) == 1 and isinstance(mistake[3], tuple) else mistake[0][0]
               for mistake in mistakes if mistake[0]}  # fmt: skip
    block = {name: value for name, value in mended.items() if name in touched}
    return textwrap.indent(yaml.safe_dump(block, sort_keys=False), "    ").rstrip()


def _line_numbers(path: Path) -> dict[Key, int]:
    """Return the line of every key of a YAML file; empty where the file cannot be read again."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return {}
    lines: dict[Key, int] = {}

    def visit(node: yaml.Node, key: Key) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                inner = (*key, yaml.safe_load(yaml.serialize(name)))
                lines[inner] = name.start_mark.line + 1
                visit(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                lines[(*key, index)] = value.start_mark.line + 1
                visit(value, (*key, index))

    if root is not None:
        visit(root, ())
    return lines


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


def inline_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return text.removesuffix("\n...").removesuffix("...").strip()


def section_of(kind: type[Section], where: str, content: Any) -> Section:
    """Return the dataclass `kind` made of a mapping whose keys must be its fields.

    Parameters
    ----------
    kind
        A dataclass.
    where
        What the mapping is, for the message.
    content
        What a YAML file holds there.

    Raises
    ------
    ConfigError
        If it is no mapping, or keys are unknown or missing.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: {content!r} is no mapping", remedy="give keys and values")
    fields = inspect.signature(kind).parameters
    needed = [name for name, field in fields.items() if field.default is field.empty]
    wrong = [f"unknown {name!r}" for name in sorted(set(content) - set(fields))]
    wrong += [f"no {name!r}" for name in needed if name not in content]
    if wrong:
        raise ConfigError(f"{where}: {', '.join(wrong)}", remedy=f"known are {', '.join(sorted(fields))}")
    return kind(**content)
