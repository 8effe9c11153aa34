"""Options common to the learners; each learner's own options are in its module NAME_options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cryopipe.config.option import Options, option
from cryopipe.features.learners.affinity_options import AffinityOptions
from cryopipe.features.learners.autoencoder_options import AutoencoderOptions
from cryopipe.features.learners.contrastive_options import ContrastiveOptions
from cryopipe.features.learners.disca_options import DiscaOptions
from cryopipe.features.learners.protonet_options import ProtonetOptions
from cryopipe.features.learners.template_options import TemplateOptions
from cryopipe.features.register import LEARNERS


@dataclass(frozen=True)
class FeatureOptions(Options):
    """Learner that computes features of the boxes, and centring of the particles."""

    SECTION: ClassVar[str] = "features"

    learner: str = option(
        "transfer",
        " ".join(f"{name}: {learner.description}." for name, learner in LEARNERS.items()),
        choices=list(LEARNERS),
    )
    weights: str | None = option(
        None,
        "Initial weights: null for the shipped weights (random ones for yopo and rb3d), random, or the path of "
        "model.safetensors of an earlier run.",
    )
    labels: str | None = option(
        None,
        "STAR, TSV or CSV file of labelled particles, at least two of each class: positions (rlnTomoName, rlnCoordinateX, "
        "Y, Z) or names (rlnTomoParticleName), and the class's name in cryopipeLabel. The particles are then assigned to "
        "these classes, or to none of them, and the section clustering is not used except for its "
        "minimum_posterior and duplicate_distance; see docs/labels.md.",
    )
    centre: bool = option(
        True,
        "Whether the particles are centred in their boxes. A mixture fitted to the features assigns them to classes, "
        "and the common radial profile of a class gives the centres. This corrects picks beside hollow or crowded "
        "particles.",
    )
    clusters: Sequence[int] = option(
        (2, 20),
        "Lowest and highest number of classes for the mixtures of centring (at most 8) and of disca's training. The "
        "final clusters have their own options in the section clustering.",
        minimum=1,
        maximum=99,
        length=(2, 2),
        order="ascending",
    )
    principal_components: int = option(
        16,
        "Number of principal components in which the mixtures of centring and of disca's training are fitted.",
        minimum=1,
        maximum=1000,
    )
    mixture_starts: int = option(
        5,
        "Random starts of these mixtures for each number of classes.",
        minimum=1,
        maximum=1000,
    )
    disca: DiscaOptions = field(default_factory=DiscaOptions)
    contrastive: ContrastiveOptions = field(default_factory=ContrastiveOptions)
    autoencoder: AutoencoderOptions = field(default_factory=AutoencoderOptions)
    affinity: AffinityOptions = field(default_factory=AffinityOptions)
    template: TemplateOptions = field(default_factory=TemplateOptions)
    protonet: ProtonetOptions = field(default_factory=ProtonetOptions)

    @property
    def candidates(self) -> range:
        """Numbers of clusters to try."""
        return range(self.clusters[0], self.clusters[1] + 1)
