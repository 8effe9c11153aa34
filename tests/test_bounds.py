"""What a run costs by the size of its input: the made-up datasets, the sums of costs, and the bounds themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from benchmarks.cost_tables import HEADING, scale_section
from benchmarks.made_datasets import PastedTomograms, make_dataset, write_sparse_tomogram
from benchmarks.memory_picture import memory_picture
from benchmarks.pages import heading_of, update_page
from cryopipe.check import check_tomogram
from cryopipe.config import CHECKOUT
from cryopipe.files.costs import read_costs
from cryopipe.files.mrc import open_volume, read_header
from cryopipe.tomograms import Tomogram, read_tomogram_table

PICK_AND_CUT = """
import sys
import numpy as np
from cryopipe.files.opening import open_tomogram
from cryopipe.job import limit_threads
from cryopipe.usage import peak_memory_bytes
from cryopipe.picking import PickOptions, pick_particles
from cryopipe.subtomograms import SubtomogramOptions, extract_subtomograms
from cryopipe.tomograms import Tomogram

limit_threads(2)
tomogram = open_tomogram(Tomogram("large", sys.argv[1], None, (-60.0, 60.0), "dark", None))
picks = pick_particles(tomogram.volume, tomogram.voxel_size, PickOptions(diameters=(200.0,)), "dark")
options, rng = SubtomogramOptions(24, 13.33, "fill"), np.random.default_rng(1)
boxes = extract_subtomograms(
    tomogram.volume, picks.coordinates, tomogram.voxel_size, options, "dark", rng
)
print(len(picks), sum(len(indices) for indices, _ in boxes), peak_memory_bytes() / 1e6)
"""


def pick_and_cut(path: Path) -> tuple[int, int, float]:
    """Pick in a tomogram and cut the boxes, in a process of its own: picks, boxes, most memory in MB."""
    ran = subprocess.run(
        [sys.executable, "-c", PICK_AND_CUT, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
    )
    picks, boxes, memory = ran.stdout.split()
    return int(picks), int(boxes), float(memory)


@pytest.mark.parametrize("kind", ["int8", "int16", "float32"])
def test_a_volume_of_holes_passes_the_check_and_takes_no_room(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "large.mrc"
    write_sparse_tomogram(path, (160, 500, 400), kind)
    header = read_header(path)
    assert header.shape_zyx == (160, 500, 400)
    assert header.dtype == np.dtype(kind)
    assert header.voxel_size == pytest.approx(13.33)
    assert path.stat().st_blocks * 512 < 0.4 * path.stat().st_size
    assert not check_tomogram(Tomogram("large", str(path), None, (-60.0, 60.0), "dark", None), []).bad


def test_pasted_particles_are_dark_and_stand_where_the_lattice_is() -> None:
    volume = PastedTomograms(seed=1).volume(24, 0).astype(np.float32)
    smooth = ndimage.gaussian_filter(volume, 4)
    particles = ndimage.label(smooth < -2.5 * smooth.std())[1]
    assert 12 <= particles <= 36
    np.testing.assert_array_equal(PastedTomograms(seed=1).volume(24, 0), volume)
    assert (PastedTomograms(seed=1).volume(24, 1) != volume).any()


def test_a_made_dataset_is_ready_for_the_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset("tomograms_12", tmp_path / "planned")
    assert (dataset.tomograms, dataset.empty) == (12, True)
    monkeypatch.chdir(tmp_path / "planned")
    tomograms = read_tomogram_table("config/tomograms.tsv")
    assert list(tomograms)[11] == "tomogram_0012"
    assert all(Path(tomogram.path).is_file() for tomogram in tomograms.values())
    small = make_dataset("voxels_96x80x64_int8", tmp_path / "small")
    assert small.megavoxels == pytest.approx(0.49152)
    assert open_volume(tmp_path / "small/tomograms/tomogram_0001.mrc").shape == (64, 80, 96)


def write_costs(folder: Path) -> None:
    for name, seconds, log in (
        ("pick/a", 3.0, "done: 2.5 s of processor time, at most 400 MB of memory\n"),
        ("pick/b", 5.0, "done: 4.5 s of processor time, at most 300 MB of memory\n"),
        ("gather", 1.0, "cut short"),
    ):
        benchmark, text = folder / f"costs/{name}.tsv", folder / f"logs/{name}.log"
        for path in (benchmark, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text(f"s\tmax_rss\tcpu_time\n{seconds}\t100\t0.5\n")
        text.write_text(f"2026-01-01 00:00:00,000 INFO {log}")


def test_costs_are_summed_by_rule_from_what_the_logs_end_with(tmp_path: Path) -> None:
    write_costs(tmp_path)
    table = read_costs(tmp_path).set_index("rule")
    assert table.loc["pick"].tolist() == [2, 8.0, 7.0, 5.0, 400.0]
    assert table.loc["gather"].tolist() == [1, 1.0, 0.5, 1.0, pytest.approx(104.8576)]


def test_costs_that_a_killed_driver_left_half_written_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "costs").mkdir()
    for name, text in (("empty", ""), ("cut", "s\tmax_r"), ("headed", "s\tmax_rss\tcpu_time\n")):
        (tmp_path / f"costs/{name}.tsv").write_text(text)
    assert read_costs(tmp_path).empty
    write_costs(tmp_path)
    assert set(read_costs(tmp_path)["rule"]) == {"pick", "gather"}


def cost_tables() -> dict[str, pd.DataFrame]:
    """Two sizes of either kind."""
    tables = {}
    for name, megavoxels, particles in (
        ("particles_1000", 8.0, 990),
        ("particles_4000", 32.0, 3900),
        ("voxels_256x256x128_int8", 8.4, 280),
        ("voxels_1000x1500x500_int8", 750.0, 290),
    ):
        tables[name] = pd.DataFrame(
            {
                "dataset": name, "tomograms": 1, "megavoxels": megavoxels, "particles": particles,
                "rule": ["pick_particles", "learn_features"], "jobs": 1, "wall_seconds": 2.0, "cpu_seconds": 1.0,
                "longest_seconds": 2.0, "memory_mb": [500.0, 10.0 * particles**0.5], "hardware": "a processor",
            }
        )  # fmt: skip
    return tables


def test_sections_of_the_page_are_renewed_one_by_one() -> None:
    tables = cost_tables()
    page = update_page(
        "", {"scale": scale_section("scale", {"particles_1000": tables["particles_1000"]})}, HEADING
    )
    assert "| pick_particles | 1 | 2.0 | 1.0 | 2.0 | 500 |" in page
    assert "| sum | 2 | 4 | 2 | | |" in page
    both = update_page(page + "\nWritten by hand.\n", {"bounds": scale_section("bounds", tables)}, HEADING)
    assert both.index("begin bounds") < both.index("begin scale")
    assert "| pick_particles | 500 | 500 | 500 | 500 |" in both
    assert "| maximum memory, MB | 990 particles | 3,900 particles | 256x256x128 int8 |" in both
    assert both.endswith("Written by hand.\n")
    assert update_page(both, {"bounds": scale_section("bounds", tables)}, heading_of(both)) == both


def test_the_picture_has_a_line_for_every_rule() -> None:
    colours = {colour for _, colour in memory_picture(cost_tables()).getcolors(1_000_000) or []}
    assert {(0xE6, 0x9F, 0x00), (0x33, 0x33, 0x33), (255, 255, 255)} <= colours


def test_reading_the_workflow_imports_nothing_heavy(tmp_path: Path) -> None:
    """Every job on a cluster reads the Snakefile first; torch alone would take it seconds."""
    make_dataset("tomograms_3", tmp_path)
    heavy = ["torch", "skimage", "sklearn", "h5py", "mrcfile", "umap", "openTSNE"]
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('imported:', [n for n in {heavy} if n in sys.modules]))\n"
        "from snakemake.cli import main\n"
        f"main(['-s', {str(CHECKOUT / 'Snakefile')!r}, '-d', {str(tmp_path)!r}, '-n', '--cores', '1'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"imported: (.*)", ran.stdout) == ["[]"]
    assert "pick_particles" in ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "largest"), [("int8", (500, 1500, 1000)), ("float32", (400, 1200, 800))])
def test_picking_and_cutting_stay_flat_in_the_tomogram_s_size(
    tmp_path: Path, kind: str, largest: tuple[int, int, int]
) -> None:
    memory = []
    for shape_zyx in (tuple(edge // 2 for edge in largest), largest):
        path = tmp_path / "large.mrc"
        write_sparse_tomogram(path, shape_zyx, kind)
        picks, boxes, most = pick_and_cut(path)
        assert 100 < picks == boxes
        memory.append(most)
    assert memory[1] < 1500
    assert memory[1] < 2 * memory[0]  # of eight times the voxels
