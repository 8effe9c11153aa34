"""Register of the learners.

To add a learner, write a module in `cryopipe.features.learners` with a subclass of `Learner` and add it to `LEARNERS`.
"""

from __future__ import annotations

from typing import NamedTuple


class LearnerEntry(NamedTuple):
    """Entry of a learner.

    Attributes
    ----------
    location
        Module and class; imported when the learner is created.
    description
        What it does, for the description of the option `features.learner`.
    """

    location: str
    description: str


_LEARNERS = "cryopipe.features.learners"
LEARNERS = {
    "transfer": LearnerEntry(f"{_LEARNERS}.transfer:Transfer", "the shipped encoder, without training"),
    "disca": LearnerEntry(f"{_LEARNERS}.disca:Disca", "alternate clustering and training on your own boxes"),
    "autoencoder": LearnerEntry(
        f"{_LEARNERS}.autoencoder:AutoencoderLearner",
        "a network compresses every box and reconstructs it; weak, but its clusters can be drawn",
    ),
    "template": LearnerEntry(
        f"{_LEARNERS}.template:TemplateMatching",
        "scores of your own density maps in their best poses; particles are assigned to maps",
    ),
    "contrastive": LearnerEntry(
        f"{_LEARNERS}.contrastive:Contrastive",
        "train a network such that two views of a particle have similar features, then on labels if there are any",
    ),
    "protonet": LearnerEntry(
        f"{_LEARNERS}.protonet:ProtonetLearner", "few-shot: classes from a few labelled particles of each"
    ),
    "affinity": LearnerEntry(
        f"{_LEARNERS}.affinity:AffinityLearner",
        "a latent space spanned by known structures, in which your particles are placed",
    ),
    "radial": LearnerEntry(
        f"{_LEARNERS}.radial:RadialStatistics", "mean and standard deviation of each shell, a baseline"
    ),
}
