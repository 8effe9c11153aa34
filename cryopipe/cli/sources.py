"""Sources of a new tomogram table: MRC files, folders, and projects of other programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryopipe.cli.description import describe, of_series
from cryopipe.cli.rows import Row, find_tomograms
from cryopipe.errors import FileError
from cryopipe.files.projects import Project, Series, read_project
from cryopipe.files.projects.volumes import SUFFIXES
from cryopipe.volume_names import STACK_SUFFIXES, shorter_stems

MICROSCOPE = ("voltage", "spherical_aberration", "amplitude_contrast")
"""Properties of tilt series that are options of the section `imaging`."""


@dataclass
class Sources:
    """What the sources of a table contain.

    Attributes
    ----------
    rows
        Tomograms of projects, and the others.
    loose
        Whether each row is that of a file which belongs to no project.
    left_out
        Volumes that are left out, with the reason.
    projects
        The projects.
    """

    rows: list[Row] = field(default_factory=list)
    loose: list[bool] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    projects: list[Project] = field(default_factory=list)

    def add(self, rows: Iterable[Row], loose: bool) -> None:
        """Add rows whose files are not yet in the table."""
        known = {row.path for row in self.rows}
        for row in rows:
            if row.path not in known:
                self.rows.append(row)
                self.loose.append(loose)


def read_sources(
    paths: Sequence[Path], voxel_size: float | None, everything: bool, denoised: bool
) -> Sources:
    """Return the tomograms of files, folders and projects.

    Parameters
    ----------
    paths
        Files and folders.
    voxel_size
        Angstrom, for tomograms whose header does not state it.
    everything
        Whether every volume is taken; projects are then not recognised.
    denoised
        Whether denoised tomograms are preferred.

    Raises
    ------
    FileError, DataError
        If a project cannot be read, or has no tomograms.
    TableError
        As `find_tomograms`.
    """
    sources = Sources()
    plain: list[Path] = []
    for path in paths:
        project = None if everything else _project_of(path, denoised)
        if project is None:
            plain.append(path)
            continue
        sources.projects.append(project)
        sources.add(
            (_row(one, project, voxel_size) for one in project.series if one.volume is not None), loose=False
        )
        sources.left_out += [reason for one in project.series for reason in one.left_out]
        sources.left_out += [
            f"{one.name}: {(*one.remarks, 'no tomogram was found')[0]}"
            for one in project.series
            if one.volume is None
        ]
    found, left_out = find_tomograms(plain, everything) if plain else ([], [])
    sources.left_out += left_out
    if sources.projects:
        found = _give_to_projects(sources, found, voxel_size)
    sources.add((describe(path, voxel_size) for path in found), loose=True)
    if sources.projects and not sources.rows:
        project = sources.projects[0]
        raise FileError(
            f"has {len(project.series)} tilt series of {project.program}, but no tomograms were found"
            + (f" ({sources.left_out[0]})" if sources.left_out else ""),
            file=project.source,
            remedy="give the tomograms, too: cryopipe init DATASET PROJECT VOLUMES",
        )
    return sources


def project_settings(projects: Sequence[Project]) -> tuple[dict[str, Any], list[str]]:
    """Return the sections of the configuration that suit projects, and what is assumed.

    The export suits the program if all projects are of one; the microscope's properties are those of the tilt series if
    all agree.
    """
    series = [one for project in projects for one in project.series]
    imaging: dict[str, Any] = {}
    assumed = list(dict.fromkeys(text for project in projects for text in project.assumed))
    for name in MICROSCOPE:
        values = {getattr(one, name) for one in series} - {None}
        if len(values) == 1:
            imaging[name] = values.pop()
        elif values:
            listed = ", ".join(f"{value:g}" for value in sorted(values))
            assumed.append(f"imaging.{name}: the default for all, although the tilt series state {listed}")
    contrasts = {project.contrast for project in projects} - {None}
    if len(contrasts) == 1:
        imaging["contrast"] = contrasts.pop()
    elif contrasts:
        assumed.append("contrast of every tomogram: that of its program (column contrast, or --contrast)")
    exports = [dict(project.export) for project in projects]
    same = all(export == exports[0] for export in exports)
    if exports and not same:
        assumed.append("section export: the default, because the tomograms are from several projects")
    return {"imaging": imaging, "export": exports[0] if exports and same else {}}, assumed


def with_contrasts(rows: Sequence[Row], usual: str, given: str | None) -> list[Row]:
    """Return rows with the contrast of each where it differs from `usual`, that of the configuration.

    It is `given` for all, or otherwise that of the program that made the tomogram.
    """
    contrasts = [given or row.program_contrast for row in rows]
    return [
        replace(row, contrast=contrast) if contrast not in ("", usual) else row
        for row, contrast in zip(rows, contrasts, strict=True)
    ]


def differences(projects: Sequence[Project], options: Mapping[str, Any]) -> list[str]:
    """Return the options of a configuration that do not suit projects whose tomograms are added, in sentences."""
    settings, _ = project_settings(projects)
    return [
        f"{section}.{name} is {_shown(options[section][name])} in config.yaml, {_shown(value)} suits the added tomograms"
        for section, values in settings.items()
        for name, value in values.items()
        if name not in ("contrast", "formats") and options[section][name] != value
    ]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(series: Series, project: Project, voxel_size: float | None) -> Row:
    return replace(of_series(series, voxel_size), program_contrast=project.contrast or "")


def _project_of(path: Path, denoised: bool) -> Project | None:
    """Return the project of a source; for the MRC file of a tomogram, that of its folder with this tomogram alone."""
    if path.suffix.lower() not in (*SUFFIXES, *STACK_SUFFIXES):
        return read_project(path.absolute(), denoised)
    project = read_project(path.absolute().parent, denoised) if path.is_file() else None
    if project is None:
        return None
    absolute = path.absolute()
    mine = [one for one in project.series if one.name in shorter_stems(path)]
    if not mine or (mine[0].volume is not None and absolute.parent != mine[0].volume.absolute().parent):
        return None
    return Project(**{**vars(project), "series": (_with_volume(mine[0], absolute),)})


def _with_volume(series: Series, path: Path) -> Series:
    return Series(**{**vars(series), "volume": path, "left_out": ()})


def _give_to_projects(sources: Sources, paths: Sequence[Path], voxel_size: float | None) -> list[Path]:
    """Add the volumes that belong to tilt series without one; return the others."""
    missing = {
        one.name: (one, project)
        for project in sources.projects
        for one in project.series
        if one.volume is None
    }
    others = []
    for path in paths:
        stem = next((stem for stem in shorter_stems(path) if stem in missing), None)
        if stem is None:
            others.append(path)
        else:
            series, project = missing.pop(stem)
            sources.add([_row(_with_volume(series, path), project, voxel_size)], loose=False)
            sources.left_out = [text for text in sources.left_out if not text.startswith(f"{series.name}: ")]
    return others
