"""Checks of options against each other and of the files and folders that they name.

`cryopipe.check` checks options against the data, such as a diameter against a tomogram's voxel size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryopipe.config.reading import DEFAULT, KEEP, Mistake

Config = Mapping[str, Any]
LARGEST_BOX = 512
"""Voxels along an edge, as for `subtomograms.box_size`."""
FEWEST_VOXELS = 4
"""Smallest diameter of a particle in a box, voxels."""
BYTES_PER_VOXEL = 16
"""Memory per voxel during the extraction of a box: four copies of 4 bytes."""
FOLDERS_OF_MAPS = (("averaging", "known_maps"), ("evaluation", "maps"), ("simulation", "maps"))
MADE = "results/"
"""Folder of the workflow's own files, which do not exist before the first run."""


def contradictions(config: Config) -> Iterator[Mistake]:
    """Yield the options of a complete configuration that cannot be used together."""
    yield from _boxes(config)
    yield from _averages(config["averaging"], config["subtomograms"])
    features, edge = config["features"], config["subtomograms"]["box_size"]
    blocks = len(features["disca"]["widths"])
    yopo = features["learner"] == "disca" and features["disca"]["network"] == "yopo"
    reduced = features["disca"]["reduced_size"]
    smaller = reduced is not None and reduced < edge
    seen, name = (reduced, "features.disca.reduced_size") if smaller else (edge, "subtomograms.box_size")
    if yopo and features["weights"] in (None, "random") and seen <= 2 * blocks:
        problem = f"{blocks} blocks need boxes of more than {2 * blocks} voxels, but {name} is {seen}"
        yield Mistake(("features", "disca", "widths"), problem, "give fewer widths or larger boxes", KEEP)
    if features["learner"] == "template" and (features["template"]["maps"], features["weights"]) == (
        None,
        None,
    ):
        problem = "template matching needs density maps"
        yield Mistake(("features", "template", "maps"), problem, "name a directory of MRC maps", KEEP)
    simulation = config["simulation"]
    if simulation["resolution"] < 2 * simulation["voxel_size"]:
        problem = f"{simulation['resolution']:g} A is finer than voxels of {simulation['voxel_size']:g} A can represent"
        remedy = f"give at least {2 * simulation['voxel_size']:g}, twice the voxel size"
        yield Mistake(("simulation", "resolution"), problem, remedy, KEEP)


def _boxes(config: Config) -> Iterator[Mistake]:
    boxes, diameters = config["subtomograms"], config["pick"]["diameters"]
    voxel, edge = boxes["voxel_size"], boxes["box_size"]
    width = voxel * edge
    for index, diameter in enumerate(diameters):
        key = ("pick", "diameters", index)
        shown = f"a particle of {diameter:g} A"
        if diameter >= width:
            wanted = 2 * math.ceil(2 / 3 * diameter / voxel)
            problem = f"{shown} does not fit into boxes of {edge} voxels of {voxel:g} A, {width:.0f} A wide"
            remedy = f"give subtomograms.box_size {wanted} or more, or a coarser subtomograms.voxel_size"
            yield Mistake(key, problem, remedy, KEEP)
        elif diameter < FEWEST_VOXELS * voxel:
            problem = f"{shown} is only {diameter / voxel:.2g} voxels of {voxel:g} A wide in its box"
            remedy = f"give a subtomograms.voxel_size of {diameter / FEWEST_VOXELS:.3g} or less"
            yield Mistake(key, problem, remedy, KEEP)
    needed = BYTES_PER_VOXEL * edge**3 / 2**30
    if needed > config["memory_gb"]:
        problem = f"extracting one box of {edge} voxels takes {needed:.2g} GB, but memory_gb is {config['memory_gb']:g}"
        yield Mistake(
            ("subtomograms", "box_size"), problem, "give smaller boxes or a larger memory_gb", DEFAULT
        )


def _averages(averaging: Config, boxes: Config) -> Iterator[Mistake]:
    width = boxes["voxel_size"] * boxes["box_size"]
    voxel = averaging["voxel_size"] or boxes["voxel_size"]
    if width / voxel > LARGEST_BOX:
        problem = f"boxes of {width:.0f} A would have {width / voxel:.0f} voxels of {voxel:g} A along an edge"
        remedy = f"give at least {width / LARGEST_BOX:.3g}, or smaller boxes"
        yield Mistake(("averaging", "voxel_size"), problem, remedy, DEFAULT)
    for name, most in (("mask_diameter", width), ("max_shift", width / 2)):
        value = averaging[name]
        if value is not None and value > most:
            problem = f"{value:g} A does not fit into boxes of {width:.0f} A"
            yield Mistake(("averaging", name), problem, f"give {math.floor(most)} or less", KEEP)
    if averaging["initial_resolution"] < 2 * voxel:
        problem = f"{averaging['initial_resolution']:g} A is finer than voxels of {voxel:g} A can represent"
        yield Mistake(
            ("averaging", "initial_resolution"),
            problem,
            f"give at least {2 * voxel:g}, twice the voxel size",
            KEEP,
        )


def missing_files(config: Config, tomograms: Iterable[str]) -> Iterator[Mistake]:
    """Yield the options that name files or folders that do not exist or cannot be used.

    Parameters
    ----------
    config
        The complete configuration.
    tomograms
        Names of the tomograms; each needs a truth file if `evaluation: truth` is set.
    """
    folders: dict[tuple[str, ...], str | None] = {
        (section, name): config[section][name] for section, name in FOLDERS_OF_MAPS
    }
    for learner in ("affinity", "template"):
        folder = config["features"][learner]["maps"]
        if folder and Path(folder).resolve() == Path("results/averages").resolve():
            problem, remedy = f"{folder!r} is made by this run", "copy its maps to another directory"
            yield Mistake(("features", learner, "maps"), problem, remedy, DEFAULT)
        else:
            folders["features", learner, "maps"] = folder
    for key, folder in folders.items():
        if folder and not Path(folder).is_dir():
            yield Mistake(key, f"no directory {folder!r}", "name a directory of MRC maps", DEFAULT)
        elif folder and not any(Path(folder).glob("*.mrc")) and not any(Path(folder).glob("*.map")):
            yield Mistake(key, f"no MRC map in {folder!r}", "name a directory of MRC maps", DEFAULT)
    weights = config["features"]["weights"]
    if weights not in (None, "random") and not _exists(weights):
        remedy = "name the model.safetensors of an earlier run, or give null"
        yield Mistake(("features", "weights"), f"no file {weights!r}", remedy, DEFAULT)
    particles = config["pick"]["particles"]
    if particles is not None and not _exists(particles) and not Path(particles).is_dir():
        remedy = "name a file or folder of particles, or give null"
        yield Mistake(("pick", "particles"), f"no file {particles!r}", remedy, DEFAULT)
    labels = config["features"]["labels"]
    if labels is not None and not _exists(labels):
        remedy = "name a STAR, TSV or CSV file of labelled particles, or give null"
        yield Mistake(("features", "labels"), f"no file {labels!r}", remedy, DEFAULT)
    curation = config["curation"]
    if curation is not None and not Path(curation).is_file():
        remedy = "name the file of decisions that the report saved, or give null"
        yield Mistake(("curation",), f"no file {curation!r}", remedy, DEFAULT)
    project = config["export"]["relion_tomograms"]
    if project is not None and not _exists(project):
        remedy = "name the tomograms.star of your RELION project, or give null"
        yield Mistake(("export", "relion_tomograms"), f"no file {project!r}", remedy, DEFAULT)
    elif project is not None and "_rlnTomoName" not in _beginning(project):
        remedy = "name the tomograms.star of your RELION project, which has a column rlnTomoName"
        yield Mistake(("export", "relion_tomograms"), f"{project!r} lists no tomograms", remedy, DEFAULT)
    truth = config["evaluation"]["truth"] or ""
    files = dict.fromkeys(truth.replace("{tomogram}", name) for name in tomograms) if truth else {}
    absent = [path for path in files if not _exists(path)]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        remedy = "give the STAR files of the true particles, or null"
        yield Mistake(("evaluation", "truth"), f"no file {absent[0]!r}{more}", remedy, DEFAULT)
    yield from _missing_membranes(config["relations"]["membranes"] or "", tomograms)


def _missing_membranes(pattern: str, tomograms: Iterable[str]) -> Iterator[Mistake]:
    key, remedy = ("relations", "membranes"), "give one MRC file per tomogram, or null"
    if pattern and "{tomogram}" not in pattern:
        yield Mistake(key, f"{pattern!r} has no {{tomogram}}", remedy, DEFAULT)
    elif pattern:
        files = [pattern.replace("{tomogram}", name) for name in tomograms]
        absent = [path for path in files if not _exists(path)]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            yield Mistake(key, f"no file {absent[0]!r}{more}", remedy, DEFAULT)


def _exists(path: str) -> bool:
    return path.startswith(MADE) or Path(path).is_file()


def _beginning(path: str) -> str:
    if path.startswith(MADE) and not Path(path).is_file():
        return "_rlnTomoName"
    try:
        with open(path, "rb") as stream:
            return stream.read(100_000).decode("utf-8", "replace")
    except OSError:
        return ""
