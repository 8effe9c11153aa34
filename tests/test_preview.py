"""Proposal of picking diameters: planted sizes are proposed, noise gives none, and the page shows what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryopipe.cli import main
from cryopipe.errors import DataError
from cryopipe.files.mrc import write_volume
from cryopipe.files.opening import OpenTomogram
from cryopipe.picking import Picks
from cryopipe.picking.proposal import Proposal, chosen_tomograms, propose_diameters
from cryopipe.picking.reduction import reduced
from cryopipe.picking.size_counts import SizeCounts, count_sizes, searched_diameters
from cryopipe.report.page import render_preview_page
from cryopipe.report.preview_page import config_lines, preview_content
from tests.test_pick_sizes import plant

VOXEL = 15.0
SHAPE = (36, 100, 100)
GRID = 67 * 2 ** (np.arange(13) / 4)


def balls(diameters: list[float], deviation: float, seed: int) -> NDArray[np.float32]:
    """Return a volume of voxels of 15 A with 16 bright balls, of the diameters in turn."""
    places = [
        ((270.0, 190.0 + 375 * row, 190.0 + 375 * column), diameters[(row + column) % len(diameters)], 1.0)
        for row in range(4)
        for column in range(4)
    ]
    # `plant` counts in voxels of 10 A
    scaled = [
        (tuple(c * 10 / VOXEL for c in centre), size * 10 / VOXEL, wall) for centre, size, wall in places
    ]
    return plant(SHAPE, scaled if diameters else [], deviation, seed)  # type: ignore[arg-type]


def counted(volume: NDArray[np.float32]) -> tuple[NDArray[np.float64], SizeCounts]:
    diameters = searched_diameters([VOXEL], [volume.shape], "a")
    return diameters, count_sizes(volume, VOXEL, "bright", diameters, name="a")


def test_planted_sizes_are_proposed() -> None:
    sizes = [110.0, 270.0]
    diameters, counts = counted(balls(sizes, 0.5, 7301))
    proposal = propose_diameters(diameters, [counts])
    assert len(proposal.diameters) == len(sizes)
    np.testing.assert_allclose(proposal.diameters, sizes, rtol=0.25)
    np.testing.assert_allclose(proposal.counts, 8, atol=2)
    # objects are where the balls are, in voxels of the tomogram
    largest = counts.objects.coordinates[proposal.nearest(counts.objects.diameters) == 1]
    offset = (largest * VOXEL - 190) / 375
    assert np.abs(offset - np.rint(offset))[:, :2].max() < 0.1


def objects_at(sizes: dict[float, int], places: NDArray[np.float64]) -> SizeCounts:
    """Return counts with numbers of objects by diameter, at `places` in turn."""
    diameters = np.repeat(list(sizes), list(sizes.values()))
    picks = Picks(places[: len(diameters)], np.full(len(diameters), 9.0), diameters)
    found = np.array([sizes.get(one, 0) for one in GRID], float)
    return SizeCounts("a", 10.0, picks, found, np.zeros(len(GRID)), 5.0, 5.0)


def test_only_significant_maxima_are_proposed_and_no_parts_of_larger_objects() -> None:
    far = np.arange(400.0)[:, None] * [100, 0, 0]
    a, b, c = GRID[3], GRID[6], GRID[9]
    assert propose_diameters(GRID, [objects_at({a: 60, c: 30}, far)]).diameters == (115.0, 320.0)
    # nothing at the ends, too few, a tenth of the others, on the flank of another
    assert propose_diameters(GRID, [objects_at({GRID[0]: 90, GRID[12]: 50}, far)]).diameters == ()
    assert propose_diameters(GRID, [objects_at({b: 4}, far)]).diameters == ()
    assert propose_diameters(GRID, [objects_at({a: 100, c: 9}, far)]).diameters == (115.0,)
    assert propose_diameters(GRID, [objects_at({a: 60, GRID[4]: 50, GRID[5]: 30}, far)]).diameters == (130.0,)
    # small objects at the places of large ones are their parts
    shift = np.array([3.0, 0, 0])
    inside = np.concatenate([far[:30], far[:30] + shift])
    assert propose_diameters(GRID, [objects_at({c: 30, a: 30}, inside)]).diameters == (320.0,)


def test_too_thin_tomograms_have_no_range() -> None:
    with pytest.raises(DataError) as error:
        searched_diameters([30.0], [(8, 100, 100)], "a.mrc")
    assert str(error.value) == (
        "a.mrc: diameters from 109 A (voxels of 30 A) to 192 A (shortest edge 240 A) are too few to propose one; give "
        "pick.diameters in numbers"
    )
    np.testing.assert_allclose(searched_diameters([10.0, 13.3], [(90, 99, 99)] * 2, "a"), GRID)


def test_tomograms_are_spaced_over_the_table() -> None:
    assert chosen_tomograms(list("abcdefghi")) == ["a", "e", "i"]
    assert chosen_tomograms(["a", "b"]) == ["a", "b"]


def test_the_middle_is_averaged_and_its_positions_are_those_of_the_tomogram() -> None:
    volume = np.zeros((9, 12, 15), np.int16)
    volume[3:5, 6:8, 9:11] = 8
    part = reduced(volume, volume > 0, 2.9)
    assert part.volume.shape == (4, 6, 7)
    assert part.volume.sum() == 8
    (peak,) = np.argwhere(part.volume == part.volume.max())[:1]
    assert np.all(np.abs(part.in_tomogram(peak[None])[0] - [3.5, 6.5, 9.5]) <= 1)
    assert part.mask is not None
    assert part.mask.sum() == (part.volume == 8).sum()


def make_dataset(folder: Path, volume: NDArray[np.float32]) -> None:
    write_volume(folder / "a.mrc", volume, VOXEL)
    (folder / "config").mkdir()
    (folder / "config" / "tomograms.tsv").write_text("tomogram\tpath\tcontrast\na\ta.mrc\tbright\n")
    (folder / "config" / "config.yaml").write_text("seed: 2\n")


def test_the_page_shows_picks_of_each_size_and_escapes_names() -> None:
    sizes = {float(GRID[3]): 20, float(GRID[9]): 10}
    counts = objects_at(sizes, np.random.default_rng(1).uniform(0, 60, (30, 3)))
    proposal = Proposal((115.0, 320.0), (20.0, 10.0), GRID, counts.found, counts.expected)
    opened = OpenTomogram(np.random.default_rng(2).standard_normal((60, 60, 60)), 10.0, None)
    page = render_preview_page(preview_content("<b>data", proposal, {"a": opened}, [counts], "pick: <i>"))
    assert "<b>data" not in page
    assert "<i>" not in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert "a: 20 of about 115 Å" in page
    assert "a: 10 of about 320 Å" in page
    assert "http" not in page.replace("http-equiv", "")


def test_lines_for_the_configuration() -> None:
    boxes = {"box_size": 32, "voxel_size": 13.33}
    assert config_lines((115.0, 300.0), boxes) == "pick:\n  diameters: [115, 300]"
    wide = "pick:\n  diameters: [450]\nsubtomograms:\n  box_size: 46"
    assert config_lines((450.0,), boxes) == wide
    assert config_lines((), boxes) == ""


def test_noise_ends_with_a_line_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path, np.random.default_rng(7305).standard_normal(SHAPE, np.float32))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        main(["preview"])
    assert capsys.readouterr().err == (
        "Error: tomogram a: no diameter from 80 to 450 A has significantly more objects than the tomogram without "
        "particles; check the contrast (imaging.contrast) and voxel size, or give pick.diameters in numbers\n"
    )
    assert "No diameter is proposed" in (tmp_path / "preview.html").read_text()
    with pytest.raises(SystemExit, match="1"):
        main(["preview", "--tomogram", "b"])
    assert "no tomogram 'b'; give one of a" in capsys.readouterr().err
