"""cryopipe: from cryo-electron tomograms without labels to picked, clustered and averaged particles."""

__version__ = "0.1.0"
