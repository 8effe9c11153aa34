"""Projects of other programs: init takes names, volumes, tilts and frames from their files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
import yaml

from cryopipe import columns
from cryopipe.cli import main
from cryopipe.config import CHECKOUT, read_config
from cryopipe.export import export_context, export_particles, gather_particles
from cryopipe.files.metadata import read_tilt_range
from cryopipe.files.mrc import write_volume
from cryopipe.files.projects.relion_project import resolve
from cryopipe.files.star import read_star
from cryopipe.tomograms import Tomogram, read_tomogram_table
from tests.imitated_projects import IMITATIONS, Imitation

VOXEL_SIZE = 13.0


def init(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["init", *(str(argument) for argument in arguments)])
    assert int(caught.value.code or 0) == code


PAGES = {"RELION 5": "relion", "Warp": "warp", "AreTomo": "aretomo", "IMOD": "imod"}


def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(24, 48, 60)).astype(np.float32)


@pytest.fixture(params=IMITATIONS)
def imitation(request: pytest.FixtureRequest, tmp_path: Path, shared_data: Path) -> Imitation:
    return IMITATIONS[request.param](tmp_path, shared_data / "metadata", noise(), VOXEL_SIZE)


def the_row(dataset: Path) -> Tomogram:
    [row] = read_tomogram_table(dataset / "config" / "tomograms.tsv").values()
    return row


def test_init_takes_from_a_project_what_its_files_state(
    imitation: Imitation, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    init(dataset, imitation.source)
    row = the_row(dataset)
    assert (row.exported_name or row.name) == imitation.name
    assert row.path == str(imitation.volume)
    assert row.tilt_range == imitation.tilts
    assert row.tilt_axis == "y"
    assert row.tilt_series_pixel_size == pytest.approx(imitation.pixel_size, rel=1e-6)
    config = yaml.safe_load((dataset / "config" / "config.yaml").read_text())
    assert config["export"]["formats"] == imitation.formats
    assert config["imaging"]["contrast"] == imitation.contrast
    out = capsys.readouterr().out
    assert "1 tomogram in" in out
    assert "ASSUMED:" in out


def test_the_voxels_are_those_of_the_frame(imitation: Imitation, tmp_path: Path) -> None:
    init(tmp_path / "dataset", imitation.source)
    row = the_row(tmp_path / "dataset")
    shape = np.array(noise().shape[::-1])
    binning = VOXEL_SIZE / imitation.pixel_size
    size = row.unbinned_size or shape * binning
    assert np.abs(np.array(size) / binning - shape).max() < 1


@pytest.mark.parametrize("program", PAGES)
def test_the_page_of_a_program_shows_what_init_prints(
    program: str,
    tmp_path: Path,
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    page = (CHECKOUT / "docs" / "programs" / f"{PAGES[program]}.md").read_text()
    IMITATIONS[program](tmp_path, shared_data / "metadata", noise(), VOXEL_SIZE)
    folder, command = re.findall(r"```sh\ncd /data/(.*)\ncryopipe init (.*)\n```", page)[0]
    monkeypatch.chdir(tmp_path / folder)
    init(*command.split())
    printed = capsys.readouterr().out.split("\nNext:")[0].replace(str(tmp_path), "/data")
    assert printed == re.findall(r"```text\n(.*?)\n```", page, re.S)[0]


def test_denoised_volumes_are_taken_on_request(tmp_path: Path, shared_data: Path) -> None:
    project = IMITATIONS["Warp"](tmp_path, shared_data / "metadata", noise(), VOXEL_SIZE)
    init(tmp_path / "dataset", project.source, "--denoised")
    row = the_row(tmp_path / "dataset")
    assert row.path == str(project.volume.parent / "deconv" / project.volume.name)
    assert row.even == str(project.volume.parent / "even" / project.volume.name)


def test_a_file_of_a_project_has_the_projects_properties(imitation: Imitation, tmp_path: Path) -> None:
    init(tmp_path / "whole", imitation.source)
    init(tmp_path / "one", imitation.volume)
    assert the_row(tmp_path / "one") == the_row(tmp_path / "whole")
    for name in ("config.yaml", "tomograms.tsv"):
        texts = [(tmp_path / dataset / "config" / name).read_text() for dataset in ("one", "whole")]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("program", "inside"),
    [
        ("RELION 5", "Tomograms"),
        ("RELION 5", "Tomograms/job009"),
        ("RELION 5", "Tomograms/job009/tomograms"),
        ("RELION 5", "Tomograms/job009/tomograms.star"),
        ("Warp", "../.."),
        ("Warp", ".."),
        ("Warp", "../../warp_tiltseries.settings"),
        ("Warp", "../gs04_ts_003.xml"),
        ("AreTomo", "Position_1.2.aln"),
        ("AreTomo", "AreTomo3_Session.json"),
        ("IMOD", "grid1"),
        ("IMOD", "grid1/tilt.com"),
    ],
)
def test_any_file_or_folder_of_a_project_leads_to_it(
    program: str, inside: str, tmp_path: Path, shared_data: Path
) -> None:
    project = IMITATIONS[program](tmp_path, shared_data / "metadata", noise(), VOXEL_SIZE)
    init(tmp_path / "dataset", (project.source / inside).resolve())
    row = the_row(tmp_path / "dataset")
    assert (row.exported_name or row.name, row.path) == (project.name, str(project.volume))
    assert row.tilt_range == project.tilts


def test_files_of_the_project_are_not_changed(imitation: Imitation, tmp_path: Path) -> None:
    def state() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in imitation.source.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    init(tmp_path / "dataset", imitation.source)
    assert state() == before


def test_relion_4_tells_tilts_by_its_matrices_and_takes_volumes_from_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = "".join(
        f"[{np.cos(t)},0,{np.sin(t)},0] [0,1,0,0] [{-np.sin(t)},0,{np.cos(t)},0] [0,0,0,1] {number * 3.0}\n"
        for number, t in enumerate(np.radians([-50, 0, 62]))
    )
    star = tmp_path / "ImportTomo" / "job001" / "tomograms.star"
    star.parent.mkdir(parents=True)
    star.write_text(
        "data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesName\n_rlnTomoTiltSeriesPixelSize\n_rlnTomoSizeX\n"
        "_rlnTomoSizeY\n_rlnTomoSizeZ\nTS_1.5 a.st 3.25 240 192 96\n\ndata_TS_1.5\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n"
        f"_rlnTomoProjZ\n_rlnTomoProjW\n_rlnMicrographPreExposure\n{rows}\n"
    )
    init(tmp_path / "dataset", star, code=1)
    assert "has 1 tilt series of RELION 4, but no tomograms were found" in capsys.readouterr().err
    write_volume(tmp_path / "volumes" / "TS_1.5_rec.mrc", noise(), VOXEL_SIZE)
    init(tmp_path / "dataset", star, tmp_path / "volumes")
    row = the_row(tmp_path / "dataset")
    assert (row.name, row.exported_name, row.tilt_range) == ("TS_1_5", "TS_1.5", (-50, 62))
    assert (row.tilt_series_pixel_size, row.unbinned_size, row.dose) == (3.25, (240, 192, 96), 6)
    config = yaml.safe_load((tmp_path / "dataset" / "config" / "config.yaml").read_text())
    assert config["export"]["relion_tomograms"] == str(star)
    assert config["export"]["formats"] == ["relion4"]


def test_split_tomograms_of_relion_5_and_another_size_are_told(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "Tomograms" / "job006"
    (folder / "tilt_series").mkdir(parents=True)
    metadata = shared_data / "metadata" / "relion5"
    (folder / "tomograms.star").write_text((metadata / "tomograms.star").read_text())
    (folder / "tilt_series" / "TS_01.star").write_text((metadata / "relion5_TS_01_tilt.star").read_text())
    for half in (1, 2):
        write_volume(folder / "tomograms" / f"rec_TS_01_half{half}.mrc", noise(), 10.0)
    init(tmp_path / "dataset", tmp_path)
    row = the_row(tmp_path / "dataset")
    assert (row.path, row.even) == (str(folder / "tomograms/rec_TS_01_half1.mrc"),) * 2
    assert row.odd == str(folder / "tomograms/rec_TS_01_half2.mrc")
    assert row.tilt_range == (-57, 60)
    out = capsys.readouterr().out
    assert "TS_01: the project has only halves of the data; the first is used" in out
    assert (
        f"TS_01: has 60 x 48 x 24 voxels, but {folder}/tomograms.star states the size of 540 x 540 x 270 voxels"
        in out
    )


def test_imod_counts_offset_excluded_views_and_the_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "TS.7"
    write_volume(folder / "TS.7_rec.mrc", noise(), VOXEL_SIZE)
    (folder / "tilt.com").write_text(
        "$tilt -StandardInput\nInputProjections TS.7_ali.mrc\nIMAGEBINNED 4\nTILTFILE TS.7.tlt\nOFFSET 2.5\nEXCLUDELIST 1,4-5\n"
    )
    (folder / "TS.7.tlt").write_text("-60\n-40\n0\n40\n60\n")
    (folder / "TS.7.mdoc").write_text(
        "PixelSpacing = 3.3\nVoltage = 200\n[ZValue = 0]\nExposureDose = 3\nDefocus = 2\n"
    )
    with (folder / "TS.7_rec.mrc").open("r+b") as stream:
        stream.seek(224)
        stream.write(b"clip: flipyz".ljust(80))
    init(tmp_path / "dataset", folder)
    row = the_row(tmp_path / "dataset")
    assert (row.exported_name, row.tilt_range, row.tilt_axis) == ("TS.7", (-37.5, 2.5), "-y")
    assert row.tilts == (-2.5, 37.5)
    assert (row.tilt_series_pixel_size, row.dose, row.defocus) == (3.3, 3, 2)
    assert "TS_7: was flipped with trimvol -yz, which inverts the hand" in capsys.readouterr().out


def test_a_tomostar_folder_gives_tilts_to_volumes_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "tomostar").mkdir()
    (tmp_path / "tomostar" / "TS_1.tomostar").write_text(
        "data_\nloop_\n_wrpMovieName\n_wrpAngleTilt\n_wrpDose\na.eer 50 0\nb.eer -41 6\n"
    )
    write_volume(tmp_path / "TS_1_10.00Apx.mrc", noise(), 10.0)
    init(tmp_path / "dataset", tmp_path / "tomostar", tmp_path / "TS_1_10.00Apx.mrc")
    row = the_row(tmp_path / "dataset")
    assert (row.name, row.tilt_range, row.dose, row.contrast) == ("TS_1", (-50, 41), 6, "dark")


def test_a_project_goes_through_check_and_export_with_its_names_and_frames(
    imitation: Imitation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    init(dataset, imitation.source)
    monkeypatch.chdir(dataset)
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    assert not caught.value.code, capsys.readouterr().out
    row, config = the_row(dataset), read_config(dataset / "config" / "config.yaml")
    voxels = np.random.default_rng(2).uniform(4, 20, (5, 3))
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: row.name,
            columns.PARTICLE: [f"{row.name}/{number}" for number in range(5)],
            **dict(zip(columns.COORDINATES, voxels.T, strict=True)),
            columns.VOXEL_SIZE: VOXEL_SIZE,
            columns.CLASS: 1,
        }
    )
    context = export_context([row], {}, config, imitation.formats)
    export_particles(gather_particles(table, []), context, dataset)
    if imitation.formats == ["warp"]:
        exported = starfile.read(dataset / "warp" / "particles_13A.star")
        assert set(exported["rlnMicrographName"]) == {f"{imitation.name}.tomostar"}
        found = exported[[f"rlnCoordinate{axis}" for axis in "XYZ"]].to_numpy()
        np.testing.assert_allclose(found, voxels, atol=1e-4)
        return
    exported = starfile.read(dataset / "relion5" / "particles.star")["particles"]
    assert set(exported["rlnTomoName"]) == {imitation.name}
    found = exported[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy()
    binning = VOXEL_SIZE / imitation.pixel_size
    size = np.array(row.unbinned_size or [2 * np.ceil(n * binning / 2 - 1e-6) for n in noise().shape[::-1]])
    half = (binning - 1) / 2 if imitation.name.startswith("mka") else 0  # IMOD averages pixels
    expected = (voxels * binning + half - size / 2) * imitation.pixel_size
    np.testing.assert_allclose(found, expected, atol=1e-3)
    [names] = read_star(dataset / "relion5" / "optimisation_set.star")[""].to_dict("records")
    star = dataset / "relion5" / names["rlnTomoTomogramsFile"]  # that of the project is absolute
    listed = starfile.read(star, always_dict=True)["global"]
    mine = listed[listed["rlnTomoName"] == imitation.name].iloc[0]
    images = resolve(mine["rlnTomoTiltSeriesStarFile"], star)
    assert images is not None
    assert read_tilt_range(images) == imitation.tilts
    assert mine["rlnTomoTiltSeriesPixelSize"] == pytest.approx(imitation.pixel_size)
    assert mine[[f"rlnTomoSize{axis}" for axis in "XYZ"]].tolist() == size.tolist()


def damaged(content: bytes) -> list[bytes]:
    """Variants of a file as programs, disks and editors leave it."""
    text = content.decode(errors="replace")
    return [b"", content[: len(content) // 2], b"\x00\xff" * 100, re.sub(r"\d", "x", text).encode(), text.replace("\n", " ").encode()]  # fmt: skip


def test_damaged_files_of_projects_end_in_one_line_or_a_remark(
    imitation: Imitation, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / imitation.source.relative_to(tmp_path).parts[0]
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".mrc", "")]
    assert len(files) >= 2
    for number, file in enumerate(files):
        content = file.read_bytes()
        for variant, other in enumerate(damaged(content)):
            file.write_bytes(other)
            with pytest.raises(SystemExit) as caught:
                main(["init", str(tmp_path / f"dataset_{number}_{variant}"), str(imitation.source)])
            printed = capsys.readouterr()
            code = int(caught.value.code or 0)
            assert code in (0, 1), file
            assert printed.err.count("\n") == code, printed.err
        file.write_bytes(content)


def test_tomograms_of_a_project_are_added_to_a_dataset(
    imitation: Imitation, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_volume(tmp_path / "other" / "other.mrc", noise(), VOXEL_SIZE)
    init(tmp_path / "dataset", tmp_path / "other")
    for count in (1, 0):
        init(tmp_path / "dataset", imitation.source, "--add")
        assert f"{count} tomogram" in capsys.readouterr().out
    rows = read_tomogram_table(tmp_path / "dataset" / "config" / "tomograms.tsv")
    [row] = [row for row in rows.values() if row.name != "other"]
    assert (row.exported_name or row.name) == imitation.name
    assert row.tilt_range == imitation.tilts
    assert row.tilt_series_pixel_size == pytest.approx(imitation.pixel_size)


def test_tomograms_of_several_programs_keep_their_contrast(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture
) -> None:
    made = {
        name: make(tmp_path, shared_data / "metadata", noise(), VOXEL_SIZE)
        for name, make in IMITATIONS.items()
    }
    init(tmp_path / "all", *(one.source for one in made.values()))
    assert "  contrast of every tomogram: that of its program (column contrast, or --contrast)" in capsys.readouterr().out  # fmt: skip
    init(tmp_path / "added", made["RELION 5"].source)
    for program in ("Warp", "IMOD", "AreTomo"):
        init(tmp_path / "added", made[program].source, "--add")
    out = capsys.readouterr().out
    assert "  imaging.voltage is 200 in config.yaml, 300 suits the added tomograms" in out
    assert "  export.binned_by is fourier in config.yaml, averaging suits the added tomograms" in out
    for dataset in (tmp_path / "all", tmp_path / "added"):
        rows = read_tomogram_table(dataset / "config" / "tomograms.tsv").values()
        assert {row.exported_name or row.name: (row.contrast, row.tilt_range) for row in rows} == {
            one.name: (one.contrast, one.tilts) for one in made.values()
        }
        assert (
            yaml.safe_load((dataset / "config" / "config.yaml").read_text())["imaging"]["contrast"] == "dark"
        )
    init(tmp_path / "stated", *(one.source for one in made.values()), "--contrast", "dark")
    rows = read_tomogram_table(tmp_path / "stated" / "config" / "tomograms.tsv", contrast="bright").values()
    assert {row.contrast for row in rows} == {"bright"}  # blank: as in the configuration


def test_a_name_that_exports_cannot_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_volume(tmp_path / "in" / "grid 1_rec.mrc", noise(), VOXEL_SIZE)
    init(tmp_path / "dataset", tmp_path / "in")
    assert the_row(tmp_path / "dataset").exported_name is None
    remark = "grid_1: exports use the name grid_1, not grid 1: STAR files cannot contain it"
    assert remark in capsys.readouterr().out
