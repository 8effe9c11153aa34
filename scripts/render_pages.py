"""Write config/config.yaml and docs/options.md anew after a change of the schema."""

from cryopipe.config import CHECKOUT
from cryopipe.config_pages import render_config, render_options

DEMO = {
    "subtomograms": {"box_size": 24},
    "evaluation": {"truth": "results/demo/{tomogram}_truth.star"},
}
HEADING = """cryopipe: every option, with its default or the demo's value.
Edit what you need; a missing line takes its default. The same text is in docs/options.md."""

(CHECKOUT / "config" / "config.yaml").write_text(render_config(HEADING, DEMO), encoding="utf-8")
(CHECKOUT / "docs" / "options.md").write_text(render_options(), encoding="utf-8")
