"""Tilt series, half, stack and binning from the file names of volumes, as other programs write them.

RELION 5 writes `rec_NAME.mrc` and `rec_NAME_half1.mrc`, Warp `NAME_10.00Apx.mrc` (halves in the folders `even` and
`odd`), AreTomo `NAME_Vol.mrc`, `NAME_EVN_Vol.mrc` and `NAME_2ND_Vol.mrc`, IMOD `NAME_rec.mrc`, `NAME_full_rec.mrc` and
`NAME_ali.mrc`. Imports only the standard library, because the Snakefile imports this module.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

STACK_SUFFIXES = (".st", ".mrcs", ".ali", ".preali")
"""Suffixes of files that contain images, not volumes."""
WHOLE, NAMED, VARIANT, HALF, STACK = range(5)
"""What a file name indicates, in order of preference: a reconstruction, nothing, another version of the volume,
half of the data, a stack of images."""
DENOISED = re.compile(r"denois|deconv|corrected|isonet|cryocare|ddw|topaz|filt|nad", re.IGNORECASE)
"""Marks of volumes that were denoised, deconvolved or filtered."""
RELION_PREFIX = "rec_"
USUAL_VOXEL_SIZE = 13.0
"""Angstrom; of several binnings, the one nearest to this is taken: particles are visible, and computing is fast."""

_NUMBER = r"\d+(?:\.\d+)?"
_ENDINGS = [
    (HALF, r"evn|odd|even|half[_-]?[12]?|halfmap[12]"),
    (STACK, r"ali|preali|aligned|stack|proj[xyz]{2}"),
    (
        VARIANT,
        r"full_rec|full|2nd|3rd|ctf|deconv|denoised|denoise|filtered|filt|nad|flipped|corrected|isonet|cryocare|ddw|"
        r"topaz|sirt|wbp|3dctf",
    ),
    (WHOLE, rf"rec|vol|bin[_-]?\d+|{_NUMBER}Apx"),
]
_PATTERNS = [(part, re.compile(rf"[_.-](?:{ending})$", re.IGNORECASE)) for part, ending in _ENDINGS]
_FOLDERS = [
    (HALF, re.compile(r"even|odd|evn|half[_-]?[12]?|halfmap[12]", re.IGNORECASE)),
    (VARIANT, re.compile(r"deconv|denoised|corrected|filtered|isonet|cryocare", re.IGNORECASE)),
    (WHOLE, re.compile(r"bin[_-]?\d+", re.IGNORECASE)),
]
_BINNING = re.compile(r"[_.-]bin[_-]?(\d+)(?=[_.-]|$)", re.IGNORECASE)
_PIXEL = re.compile(rf"[_.-]({_NUMBER})Apx(?=[_.-]|$)", re.IGNORECASE)
_BINNED = re.compile(r"_b\d+$")
"""A binning or the second position on a grid; such a volume is not left out."""


@dataclass(frozen=True)
class VolumeName:
    """Information in the file name of a volume.

    Attributes
    ----------
    series
        Name of the tilt series.
    folder
        Folder of its volumes, above folders such as `even` and `odd`.
    part
        `WHOLE`, `NAMED`, `VARIANT`, `HALF` or `STACK`.
    mark
        The part of the path that indicates it, such as "_EVN" or "even/".
    voxel_size
        Angstrom, if the name contains it.
    binning
        Binning, if the name contains it.
    """

    series: str
    folder: Path
    part: int
    mark: str = ""
    voxel_size: float | None = None
    binning: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Identifier of the tilt series: folder and name."""
        return os.path.abspath(self.folder), self.series


def read_volume_name(path: str | Path) -> VolumeName:
    """Return the information in the path of a volume, by the naming rules of the programs that write them."""
    path = Path(path)
    found: list[tuple[int, str]] = []
    if path.suffix.lower() in STACK_SUFFIXES:
        found.append((STACK, path.suffix))
    elif path.suffix.lower() == ".rec":
        found.append((WHOLE, path.suffix))
    stem = path.stem
    if stem.startswith(RELION_PREFIX) and stem != RELION_PREFIX:
        found.append((WHOLE, RELION_PREFIX))
        stem = stem.removeprefix(RELION_PREFIX)
    while (shorter := _without_ending(stem)) is not None:
        found.append((shorter[1], stem.removeprefix(shorter[0])))
        stem = shorter[0]
    folder = path.parent
    while matching := [part for part, pattern in _FOLDERS if pattern.fullmatch(folder.name)]:
        found.append((matching[0], f"{folder.name}/"))
        folder = folder.parent
    part, mark = max(found, default=(NAMED, ""), key=lambda item: item[0])
    pixel, binning = _PIXEL.search(path.stem), _BINNING.search(f"_{path.parent.name}_{path.stem}")
    return VolumeName(
        stem,
        folder,
        part,
        mark,
        float(pixel[1]) if pixel else None,
        int(binning[1]) if binning else None,
    )


def shorter_stems(path: str | Path) -> list[str]:
    """Return a volume's stem, then the stem without the last ending that programs append, and so on."""
    stems = [Path(path).stem]
    if stems[0].startswith(RELION_PREFIX):
        stems.append(stems[0].removeprefix(RELION_PREFIX))
    while True:
        shorter = _without_ending(stems[-1])
        stem = _BINNED.sub("", stems[-1]) if shorter is None else shorter[0]
        if stem in ("", stems[-1]):
            return stems
        stems.append(stem)


def choose_volumes(paths: Iterable[Path], voxel_sizes: Mapping[Path, float | None]) -> dict[Path, Path]:
    """Choose one volume of every tilt series.

    A reconstruction from all images is preferred to half of the data and to stacks of images; of several binnings, the
    voxel size nearest to `USUAL_VOXEL_SIZE` is preferred, or the highest binning if no voxel size is known.

    Parameters
    ----------
    paths
        Volumes; those in different folders, except folders such as `even`, belong to different tilt series.
    voxel_sizes
        Angstrom, from the headers, if known.

    Returns
    -------
    The chosen volume of its tilt series for each of `paths`; a chosen volume maps to itself.
    """
    series: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        series.setdefault(read_volume_name(path).key, []).append(path)
    chosen = {}
    for siblings in series.values():
        chosen.update(dict.fromkeys(siblings, preferred_volume(siblings, voxel_sizes)))
    return chosen


def preferred_volume(siblings: Iterable[Path], voxel_sizes: Mapping[Path, float | None]) -> Path:
    """Return the volume of one tilt series that `choose_volumes` chooses."""
    return min(siblings, key=lambda path: _preference(path, voxel_sizes.get(path)))


def why_left_out(path: Path, taken: Path) -> str:
    """Return the reason for leaving a volume out, with the volume of the same tilt series that is taken, if any."""
    name = read_volume_name(path)
    what = {
        HALF: f"half of the data ({name.mark})",
        STACK: f"a stack of images ({name.mark})",
        VARIANT: f"another volume of the tilt series ({name.mark})",
    }.get(name.part, "the same tilt series at another binning or under another name")
    none_taken = read_volume_name(taken).part == STACK or path == taken
    return what if none_taken else f"{what}; {taken.name} is taken"


def _preference(path: Path, voxel_size: float | None) -> tuple[int, float, int, str]:
    name = read_volume_name(path)
    size = voxel_size or name.voxel_size
    distance = math.inf if size is None else abs(math.log(size / USUAL_VOXEL_SIZE))
    return name.part, distance, -(name.binning or 0), str(path)


def _without_ending(stem: str) -> tuple[str, int] | None:
    """Return the stem without its last ending, and what the ending indicates; None if it has no ending."""
    for part, pattern in _PATTERNS:
        match = pattern.search(stem)
        if match and match.start() > 0:
            return stem[: match.start()], part
    return None
