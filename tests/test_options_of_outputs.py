"""The sections `reembedding` and `export` of the schema and the classes that hold them agree."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from cryopipe.config import CHECKOUT
from cryopipe.export import WRITERS, ExportOptions
from cryopipe.reembedding import ReembeddingOptions

SCHEMA = yaml.safe_load((CHECKOUT / "workflow/schemas/config.schema.yaml").read_text())["properties"]


@pytest.mark.parametrize(
    ("section", "kind"), [("export", ExportOptions), ("reembedding", ReembeddingOptions)]
)
def test_fields_and_defaults_are_the_schema_s(section: str, kind: type) -> None:
    properties = SCHEMA[section]["properties"]
    defaults = {field.name: field.default for field in fields(kind)}
    assert list(properties) == list(defaults)
    for name, option in properties.items():
        default = defaults[name]
        assert option["default"] == (list(default) if isinstance(default, tuple) else default), name


def test_every_format_has_a_writer() -> None:
    assert SCHEMA["export"]["properties"]["formats"]["items"]["enum"] == list(WRITERS)
