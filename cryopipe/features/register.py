"""The register of the learners.

A new learner is a module in `cryopipe.features.learners` with a subclass of `Learner`, and its entry in `LEARNERS`.
"""

from __future__ import annotations

from typing import NamedTuple


class Registered(NamedTuple):
    """A learner that `features.learner` can name.

    Attributes
    ----------
    place
        Module and class; imported when the learner is asked for.
    meaning
        What it does, for the option's description.
    """

    place: str
    meaning: str


_LEARNERS = "cryopipe.features.learners"
LEARNERS = {
    "transfer": Registered(f"{_LEARNERS}.transfer:Transfer", "the encoder as it ships; nothing is trained"),
    "disca": Registered(f"{_LEARNERS}.disca:Disca", "clustering and training in turns on your own boxes"),
    "radial": Registered(
        f"{_LEARNERS}.radial:RadialStatistics", "mean and deviation of each shell, a baseline"
    ),
}
