"""Fingerprint of a run's clusters."""

from __future__ import annotations

import hashlib

import pandas as pd

from cryopipe import columns


def fingerprint(particles: pd.DataFrame) -> str:
    """Return the fingerprint of the clusters that the decisions of a file refer to: 12 hexadecimal digits.

    Parameters
    ----------
    particles
        All particles with their name and cluster, as the clustering found them, in any order.

    Examples
    --------
    >>> fingerprint(pd.DataFrame({"rlnTomoParticleName": ["TS_01/1", "TS_01/2"], "rlnClassNumber": [1, 0]}))
    'cd88e53ac37a'
    """
    names, clusters = particles[columns.PARTICLE].astype(str), particles[columns.CLASS].astype(int)
    lines = sorted(f"{name}\t{cluster}\n" for name, cluster in zip(names, clusters, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
