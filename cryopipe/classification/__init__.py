"""Classes of particles decided by the averages of the classes themselves."""

from cryopipe.classification.classify import Classification, classify_boxes
from cryopipe.classification.options import ClassificationOptions
from cryopipe.classification.particle_classes import classify_particles, many_clusters

__all__ = ["Classification", "ClassificationOptions", "classify_boxes", "classify_particles", "many_clusters"]
