"""The configuration: definition of options, strict reading of YAML, and checks that report all mistakes at once.

Each section of config.yaml is a frozen dataclass of `option` fields, defined in the package that it configures;
`cryopipe.sections` lists them and generates the schema, config.yaml and docs/options.md. The workflow reads only the
schema file. Imports little, because the Snakefile imports this package in every job.
"""

from cryopipe.config.abilities import DECODING_LEARNERS
from cryopipe.config.completion import (
    CHECKOUT,
    SCHEMA,
    check_named_files,
    check_or_exit,
    complete,
    defaults,
    load_schema,
    read_config,
)
from cryopipe.config.general import GeneralOptions, ImagingOptions
from cryopipe.config.option import Options, option, section_of
from cryopipe.config.wording import inline_yaml

__all__ = [
    "CHECKOUT",
    "DECODING_LEARNERS",
    "SCHEMA",
    "GeneralOptions",
    "ImagingOptions",
    "Options",
    "check_named_files",
    "check_or_exit",
    "complete",
    "defaults",
    "inline_yaml",
    "load_schema",
    "option",
    "read_config",
    "section_of",
]
