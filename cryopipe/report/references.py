"""References of the methods that a run used, as BibTeX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENTRIES = {
    "zeng2023disca": """@article{zeng2023disca,
  title = {High-throughput cryo-{ET} structural pattern mining by unsupervised deep iterative subtomogram clustering},
  author = {Zeng, Xiangrui and Kahng, Anson and Xue, Liang and Mahamid, Julia and Chang, Yi-Wei and Xu, Min},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {120}, number = {15}, pages = {e2213149120}, year = {2023}
}""",
    "zeng2018autoencoder": """@article{zeng2018autoencoder,
  title = {A convolutional autoencoder approach for mining features in cellular electron cryo-tomograms and weakly
           supervised coarse segmentation},
  author = {Zeng, Xiangrui and Leung, Miguel Ricardo and Zeev-Ben-Mordehai, Tzviya and Xu, Min},
  journal = {Journal of Structural Biology},
  volume = {202}, number = {2}, pages = {150--160}, year = {2018}
}""",
    "snell2017prototypical": """@inproceedings{snell2017prototypical,
  title = {Prototypical networks for few-shot learning},
  author = {Snell, Jake and Swersky, Kevin and Zemel, Richard},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30}, year = {2017}
}""",
    "biernacki2000icl": """@article{biernacki2000icl,
  title = {Assessing a mixture model for clustering with the integrated completed likelihood},
  author = {Biernacki, Christophe and Celeux, Gilles and Govaert, G{\\'e}rard},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {22}, number = {7}, pages = {719--725}, year = {2000}
}""",
    "rosenthal2003": """@article{rosenthal2003,
  title = {Optimal determination of particle orientation, absolute hand, and contrast loss in single-particle electron
           cryomicroscopy},
  author = {Rosenthal, Peter B. and Henderson, Richard},
  journal = {Journal of Molecular Biology},
  volume = {333}, number = {4}, pages = {721--745}, year = {2003}
}""",
    "chen2013": """@article{chen2013,
  title = {High-resolution noise substitution to measure overfitting and validate resolution in {3D} structure
           determination by single particle electron cryomicroscopy},
  author = {Chen, Shaoxia and McMullan, Greg and Faruqi, Abdul R. and Murshudov, Garib N. and Short, Judith M. and
            Scheres, Sjors H. W. and Henderson, Richard},
  journal = {Ultramicroscopy},
  volume = {135}, pages = {24--35}, year = {2013}
}""",
    "molder2021snakemake": """@article{molder2021snakemake,
  title = {Sustainable data analysis with {Snakemake}},
  author = {M{\\"o}lder, Felix and Jablonski, Kim Philipp and Letcher, Brice and others},
  journal = {F1000Research},
  volume = {10}, pages = {33}, year = {2021}
}""",
}
_OF_LEARNERS = {
    "disca": ("zeng2023disca",),
    "autoencoder": ("zeng2018autoencoder",),
    "protonet": ("snell2017prototypical",),
}
_OF_EVERY_RUN = ("rosenthal2003", "chen2013", "molder2021snakemake")


def reference_keys(settings: Mapping[str, Any]) -> list[str]:
    """Return the keys of the references for a complete configuration."""
    clustering = settings["clustering"]
    by_icl = clustering["method"] == "mixtures" and clustering["criterion"] == "icl"
    icl = ("biernacki2000icl",) if by_icl else ()
    return [*_OF_LEARNERS.get(settings["features"]["learner"], ()), *icl, *_OF_EVERY_RUN]


def bibliography(settings: Mapping[str, Any]) -> str:
    """Return the references for a complete configuration as BibTeX."""
    return "\n\n".join(ENTRIES[key] for key in reference_keys(settings)) + "\n"
