"""Benchmarks: their plans are sound, a tiny one runs, and the page holds what it should."""

from __future__ import annotations

import copy
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from benchmarks.box_sets import (
    BoxSet,
    cut_boxes,
    measure_snr,
    read_cut_boxes,
)
from benchmarks.hardware import describe_hardware, peak_memory
from benchmarks.leaderboard import Leaderboard, benchmark_phantoms, joined, run_benchmark
from benchmarks.learning_curve import LINES, curve_picture, learning_curve
from benchmarks.linear_probe import division, linear_probe
from benchmarks.pages import heading_of, rewrite_page, update_page
from benchmarks.plan import BenchmarkPlan, plan_from_mapping, read_plan
from benchmarks.plan_files import boxes_of, find_benchmarks, learners_of, weights_of
from benchmarks.result_tables import PAGE_HEADING, benchmark_section, summary_table
from cryopipe.boxes import ArrayBoxes
from cryopipe.errors import ConfigError, FileError, SimulationError
from cryopipe.files.box_stacks import BoxWriter
from cryopipe.files.mrc import write_volume
from cryopipe.files.tables import read_table, write_table
from cryopipe.simulation.box_simulator import BoxOptions
from cryopipe.simulation.phantoms import stock_phantoms

FOLDER = Path(__file__).parents[1] / "benchmarks" / "plans"
NAMES = ("alike_species", "alike_states", "averages_table", "cssl_table1", "disca_table1_40", "disca_table1_60", "leaderboard",
         "moebel_shrec", "numbers_of_classes", "practical_table1", "unseen_structures")  # fmt: skip
CPU = torch.device("cpu")
TINY_DISCA = {"iterations": 1, "steps": 5, "warm_up": 5, "widths": [4], "feature_width": 8, "batch_size": 8}


def content(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def tiny_plan() -> BenchmarkPlan:
    """Two classes without noise, and a linear probe on them, for a learner that starts from random weights."""
    tiny = content("cssl_table1")
    tiny["classes"].update(count=2, templates=["a", "b"], largest_radius=100)
    tiny["boxes"].update(voxel_size=20.0, resolution=45, crowding=0.0, displacement=0)
    tiny["conditions"] = [{"name": "half", "snr": math.inf, "labels": 0.5}, {"name": "noisy", "snr": 5.0}]
    tiny["clusters"] = [2, 2]
    tiny["learners"] = {"small": {"learner": "disca", "weights": "random", "disca": {"network": "yopo"}}}
    tiny["protocol"] = "clusters"
    tiny["sizes"]["reduced"] = {
        "boxes_per_class": 12,
        "box_size": 12,
        "seeds": [1, 2],
        "learners": {"small": {"disca": TINY_DISCA}},
    }
    tiny["sizes"]["full"]["learners"] = {}
    tiny["sizes"]["full"]["conditions"] = ["noisy"]
    tiny["published"] = [{"method": "MoCo", "condition": "half", "accuracy": 0.53}]
    return plan_from_mapping("tiny", tiny)


def test_every_published_table_is_there() -> None:
    assert tuple(sorted(path.stem for path in FOLDER.glob("*.yaml"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_plans_are_sound_and_their_phantoms_fit(name: str) -> None:
    plan = read_plan(FOLDER / f"{name}.yaml")
    for size in plan.sizes.values():
        assert len(size.seeds) >= 3
        room = size.box_size * plan.boxes["voxel_size"] / 2
        if plan.tomograms is None:
            assert plan.classes.largest_radius + plan.boxes["displacement"] <= room


def test_published_figures_are_those_of_the_papers() -> None:
    rows = {
        (name, row["method"], row["condition"]): row
        for name in NAMES
        for row in read_plan(FOLDER / f"{name}.yaml").published
    }
    wide = [
        rows["disca_table1_60", "DISCA", f"SNR {snr}"] for snr in ("0.1", "0.03", "0.01", "0.003", "0.001")
    ]
    assert [row["accuracy"] for row in wide] == [0.9970, 0.9780, 0.9480, 0.9425, 0.9450]
    assert [row["homogeneity"] for row in wide] == [0.988, 0.937, 0.875, 0.871, 0.872]
    narrow = [
        rows["disca_table1_40", "DISCA", f"SNR {snr}"] for snr in ("0.1", "0.03", "0.01", "0.003", "0.001")
    ]
    assert [row.get("accuracy") for row in narrow] == [0.9870, 0.9035, 0.9180, None, None]
    assert rows["moebel_shrec", "transfer encoder", "SNR 0.1"]["v_measure"] == 0.96
    table = [
        [
            rows["cssl_table1", method, f"SNR {snr}, {labels} % of labels"]["accuracy"]
            for snr in ("inf", "0.05", "0.03")
        ]
        for method in ("random start", "SimCLR", "SwAV", "MoCo")
        for labels in (100, 75, 50, 25)
    ]
    assert [row[0] for row in table[::4]] == [0.591, 0.644, 0.667, 0.686]
    assert table[3::4] == [
        [0.160, 0.129, 0.151],
        [0.374, 0.339, 0.314],
        [0.342, 0.348, 0.305],
        [0.393, 0.275, 0.301],
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("classes", "count"), 4, "5 templates for 4 classes"),
        (("clases",), {}, "unknown 'clases'"),
        (("sizes", "reduced", "box_size"), 23, "box size of 23 voxels"),
        (("sizes", "reduced", "learners", "diska"), {}, "unknown learner 'diska'"),
        (("conditions", 0, "snr"), 0, "SNR 0; give a positive number"),
        (("conditions", 0, "name"), "SNR 7", "unknown condition 'SNR 0.1'"),
        (("published", 0, "accuracy"), 99.7, "published figure accuracy: 99.7"),
        (("boxes", "voxels"), 3, "unknown 'voxels'"),
        (("sizes", "reduced", "conditions"), ["SNR 5"], "size reduced: unknown condition 'SNR 5'"),
        (("learners", "oracle", "conditions"), ["SNR 6"], "oracle: unknown condition 'SNR 6'"),
        (("learners", "disca"), {"learner": "disca", "itrations": 3}, "unknown 'itrations'"),
        (("learners", "disca", "disca"), {"itrations": 3}, "disca: unknown 'itrations'"),
        (("protocol",), "label", "plan: unknown protocol 'label'; give one of averages, clusters, labels"),
        (
            ("learners", "disca", "protocol"),
            "play",
            "disca: unknown protocol 'play'; give one of averages, clusters",
        ),
        (("learners", "disca"), {"weights": "random"}, "disca: no 'learner'"),
    ],
)
def test_mistakes_in_a_plan_are_named(path: tuple[str | int, ...], value: object, message: str) -> None:
    wrong = copy.deepcopy(content("disca_table1_60"))
    place: Any = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises((ConfigError, SimulationError), match=message):
        plan_from_mapping("wrong", wrong)


def test_files_that_a_benchmark_needs() -> None:
    plans = find_benchmarks(FOLDER)
    assert tuple(plans) == NAMES
    weights = ["encoders/source_classes/encoder.safetensors"]
    assert weights_of(plans["moebel_shrec"], "source") == weights
    assert weights_of(plans["moebel_shrec"], "transfer") == []
    assert weights_of(plans["moebel_shrec"], "oracle") == []
    assert weights_of(plans["disca_table1_60"], "disca_random") == []
    assert learners_of(plans["moebel_shrec"], ()) == ["floor", "oracle", "transfer", "source", "disca"]
    assert learners_of(plans["moebel_shrec"], ("radial",)) == ["radial"]
    assert boxes_of(plans["unseen_structures"], "h5") == ["boxes/unseen_structures.h5"]
    assert boxes_of(plans["disca_table1_60"], "h5") == []


def test_unknown_learners_are_refused_and_any_learner_of_the_pipeline_is_known() -> None:
    plan = read_plan(FOLDER / "unseen_structures.yaml")
    size = plan.sizes["reduced"]
    assert plan.feature_options("disca", size).disca.iterations == 6
    assert plan.feature_options("disca", size).clusters == (5, 5)
    tiny = tiny_plan()
    assert [one.name for one in tiny.conditions_at(tiny.sizes["reduced"])] == ["half", "noisy"]
    assert [one.name for one in tiny.conditions_at(tiny.sizes["full"])] == ["noisy"]
    assert tiny.feature_options("transfer", tiny.sizes["reduced"]).learner == "transfer"
    with pytest.raises(
        ConfigError, match=r"learner 'diska' is unknown; choose one of .*disca, .*small, .*transfer"
    ):
        tiny.feature_options("diska", tiny.sizes["reduced"])


def test_a_tiny_benchmark_runs_the_same_way_twice() -> None:
    plan = tiny_plan()
    phantoms = benchmark_phantoms(plan, None)
    boards = [run_benchmark(plan, "reduced", ["small"], phantoms, CPU) for _ in range(2)]
    runs = boards[0].runs
    assert runs[["condition", "learner", "seed"]].to_numpy().tolist() == [
        ["half", "small", 1], ["half", "small", 2], ["noisy", "small", 1], ["noisy", "small", 2],
    ]  # fmt: skip
    scores = ["accuracy", "v_measure", "clusters", "probe"]
    pd.testing.assert_frame_equal(runs[scores], boards[1].runs[scores])
    assert runs["clusters"].tolist() == [2, 2, 2, 2]
    assert runs["probe"].between(0, 1).all()
    assert (runs["seconds"] > 0).all()
    assert runs["memory_gb"].between(0.05, 64).all()
    assert math.isnan(boards[0].measured_snr["half"])
    section = benchmark_section(plan, replace(boards[0], hardware="one processor"))
    assert "*MoCo, published* | 0.530 |" in section
    assert "Size: **reduced**, 24 boxes of 12³ voxels of 20 Å; seeds 1, 2; on one processor." in section
    assert "- small: learner disca, weights random, disca.network yopo, disca.iterations 1" in section


def cut_plan() -> BenchmarkPlan:
    """Two small phantoms in two small tomograms."""
    tiny = content("unseen_structures")
    tiny["classes"].update(count=2, templates=["a", "b"], largest_radius=100)
    tiny["boxes"].update(voxel_size=20.0, resolution=45, tilt_step=10, displacement=20)
    tiny["tomograms"] = {"number": 2, "size": [64, 64, 32], "copies": 4, "vesicles": 0, "snr": 4.0}
    tiny["learners"] = {"small": {"learner": "disca", "weights": "random", "disca": {"network": "yopo"}}}
    for size in tiny["sizes"].values():
        size.update(box_size=12, seeds=[1, 2, 3])
        size["learners"] = {"small": {"disca": TINY_DISCA}}
    tiny["clusters"] = [2, 2]
    return plan_from_mapping("cut", tiny)


def test_boxes_cut_from_tomograms_come_with_their_truth(tmp_path: Path) -> None:
    plan = cut_plan()
    phantoms = benchmark_phantoms(plan, None)
    with BoxWriter(tmp_path / "a.h5", 12, 20.0, (-60, 60), "cut") as writer:
        truth = cut_boxes(plan, phantoms, writer, CPU)
    write_table(tmp_path / "a.tsv", truth)
    found = read_cut_boxes(str(tmp_path / "a.h5"), str(tmp_path / "a.tsv"))
    assert set(found.truth.tolist()) == {0, 1}
    assert 8 <= len(found.truth) <= 16
    assert found.measured_snr == pytest.approx(4.0, rel=0.01)
    # the middle is brighter than the rim, whichever way the tomogram's contrast is
    assert found.boxes[:][:, 4:8, 4:8, 4:8].mean() > 0.3
    assert found.boxes.tilt_ranges.tolist() == [[-60, 60]] * len(found.truth)
    assert found.boxes.voxel_size == 20
    write_table(tmp_path / "b.tsv", truth.iloc[::-1])
    with pytest.raises(
        FileError, match=r"the particles differ from those of .*; delete both files and repeat the run"
    ):
        read_cut_boxes(str(tmp_path / "a.h5"), str(tmp_path / "b.tsv"))


def test_learners_meet_the_same_cut_boxes_under_every_seed() -> None:
    plan = cut_plan()
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 20)
    boxes = (rng.normal(size=(40, 12, 12, 12)) + truth[:, None, None, None]).astype(np.float32)
    phantoms = benchmark_phantoms(plan, None)
    board = run_benchmark(
        plan, "reduced", ["small"], phantoms, CPU, cut=BoxSet(ArrayBoxes(boxes, (-60, 60)), truth, 0.5)
    )
    assert board.runs["condition"].tolist() == ["K given", "K estimated"] * 3
    assert board.runs.groupby("seed")["probe"].nunique().tolist() == [1, 1, 1]
    assert board.runs.loc[board.runs["condition"] == "K given", "clusters"].tolist() == [2, 2, 2]
    assert set(board.measured_snr.values()) == {0.5}
    section = benchmark_section(plan, board)
    assert "- Imaging: 2 simulated tomograms of 64 x 64 x 32 voxels, 4 copies of each class" in section
    assert "| K given | *target* |" in section
    assert "Size: **reduced**, 40 boxes of 12³ voxels" in section


def test_an_encoder_of_ones_own_replaces_the_shipped_one_and_no_other() -> None:
    plan = read_plan(FOLDER / "moebel_shrec.yaml")
    size = plan.sizes["reduced"]
    assert plan.feature_options("transfer", size).weights is None
    assert plan.feature_options("transfer", size, "own.safetensors").weights == "own.safetensors"
    assert plan.feature_options("disca", size, "own.safetensors").weights == "own.safetensors"
    source = plan.feature_options("source", size, "own.safetensors").weights
    assert source == "encoders/source_classes/encoder.safetensors"
    random = read_plan(FOLDER / "disca_table1_60.yaml")
    options = random.feature_options("disca_random", random.sizes["reduced"], "own.safetensors")
    assert options.weights == "random"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tomograms": {"size": [64, 64, 32]}}, r"tomograms\.number is missing; give 1 or more"),
        ({"tomograms": {"number": 1, "voxels": 3}}, "tomograms: unknown 'voxels'"),
        (
            {"conditions": [{"name": "K given", "snr": 1}, {"name": "K estimated", "snr": 2}]},
            "boxes cut from tomograms need one SNR in all conditions and classes.empty false",
        ),
    ],
)
def test_mistakes_about_tomograms_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_from_mapping("wrong", {**content("unseen_structures"), **changes})


def test_the_measured_snr_is_the_one_that_was_asked_for() -> None:
    phantoms = stock_phantoms(3, 15.0, 40.0, 0, 110)
    for snr in (0.03, 0.3, 3.0):
        options = BoxOptions(box_size=20, snr=(snr, snr), crowding=0.0, displacement=5.0)
        assert measure_snr(phantoms, options, CPU) == pytest.approx(snr, rel=0.15)


def test_templates_stand_in_by_name(tmp_path: Path) -> None:
    plan = tiny_plan()
    with pytest.raises(SimulationError, match=r"lacks a\.mrc, b\.mrc; add these maps, or leave"):
        benchmark_phantoms(plan, tmp_path)
    for name, radius in (("a", 3), ("b", 5)):
        grid = np.indices((24, 24, 24)) - 12
        write_volume(tmp_path / f"{name}.mrc", (np.sum(grid**2, axis=0) < radius**2).astype(np.float32), 15.0)
    maps = benchmark_phantoms(plan, tmp_path)
    assert [one.name for one in maps] == ["a", "b"]
    assert maps[1].mass > 2 * maps[0].mass


def test_the_floor_of_every_table_is_radial_statistics_and_runs_on_the_same_boxes() -> None:
    for name in NAMES:
        plan = read_plan(FOLDER / f"{name}.yaml")
        assert plan.feature_options("floor", plan.sizes["reduced"]).learner == "radial"
        assert next(iter(plan.learners)) == "floor"
    plan = tiny_plan()
    board = run_benchmark(
        replace(plan, protocol="labels"), "reduced", ["radial", "small"], benchmark_phantoms(plan, None), CPU
    )
    half = board.runs[board.runs["condition"] == "half"]
    assert half["learner"].tolist() == ["radial", "small"] * 2
    # two classes without noise: what lies in the shells tells them apart
    assert half.loc[half["learner"] == "radial", "accuracy"].min() >= 0.75
    assert half["homogeneity"].isna().all()


def test_a_linear_probe_learns_what_is_linear_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    apart = (rng.normal(size=(200, 8)) + 8 * np.eye(8)[truth]).astype(np.float32)
    assert linear_probe(apart, truth, 0.25, seed=1) == 1
    assert linear_probe(rng.normal(size=(200, 8)).astype(np.float32), truth, 1.0, seed=1) < 0.5
    few, test = division(truth, 0.25, seed=1)
    assert np.bincount(truth[few]).tolist() == [10] * 4
    assert np.bincount(truth[test]).tolist() == [10] * 4
    assert not set(few) & set(test)
    assert set(division(truth, 1.0, seed=1)[1]) == set(test)


def test_a_learner_may_have_conditions_of_its_own() -> None:
    plan = tiny_plan()
    plan = replace(plan, learners={**plan.learners, "other": {"learner": "radial", "conditions": ["noisy"]}})
    board = run_benchmark(plan, "reduced", ["other", "small"], benchmark_phantoms(plan, None), CPU)
    found = board.runs[["condition", "learner"]].drop_duplicates().to_numpy().tolist()
    assert found == [["half", "small"], ["noisy", "other"], ["noisy", "small"]]
    assert set(board.measured_snr) == {"half", "noisy"}
    bounds = read_plan(FOLDER / "disca_table1_60.yaml")
    reduced = bounds.sizes["reduced"]
    assert len(bounds.conditions_at(reduced, "oracle")) == 5
    assert len(bounds.conditions_at(reduced, "disca")) == 3


def test_tables_of_learners_are_joined(tmp_path: Path) -> None:
    scores = dict.fromkeys(
        ("accuracy", "homogeneity", "v_measure", "least_f1", "probe", "seconds", "memory_gb"), 0.5
    )
    boards = [
        Leaderboard(
            pd.DataFrame(
                [
                    {"condition": name, "learner": learner, "seed": seed, "clusters": 2.0, **scores}
                    for name, seed in (("half", 1), ("half", 2), ("noisy", 1))
                ]
            ),
            ["a", "b"],
            {"half": math.nan, "noisy": 5.0},
            "reduced",
            True,
            (24, 12),
            hardware,
        )
        for learner, hardware in (("radial", "one"), ("small", "two"), ("transfer", "one"))
    ]
    for number, board in enumerate(boards):
        write_table(tmp_path / f"{number}.tsv", board.table())
    found = joined([read_table(tmp_path / f"{number}.tsv") for number in range(3)])
    assert found.hardware == "one and two"
    assert found.runs["learner"].tolist() == ["radial"] * 3 + ["small"] * 3 + ["transfer"] * 3
    pd.testing.assert_frame_equal(
        found.runs, pd.concat([b.runs for b in boards], ignore_index=True)[found.runs.columns]
    )
    assert (found.classes, found.size, found.maps, found.boxes) == (["a", "b"], "reduced", True, (24, 12))
    assert math.isnan(found.measured_snr["half"])
    assert found.measured_snr["noisy"] == 5


def test_options_of_a_size_update_the_nested_ones_of_the_plan() -> None:
    plan = read_plan(FOLDER / "disca_table1_60.yaml")
    entry = plan.learner_entry("disca_random", plan.sizes["reduced"])
    assert entry["disca"]["network"] == "yopo"
    assert entry["disca"]["feature_width"] == 128
    assert plan.feature_options("disca_random", plan.sizes["full"]).disca.feature_width == 1024


def test_means_and_deviations_stand_beside_published_figures() -> None:
    plan = tiny_plan()
    runs = pd.DataFrame(
        {
            "condition": ["half"] * 3,
            "learner": ["small"] * 3,
            "seed": [1, 2, 3],
            "accuracy": [0.4, 0.5, 0.6],
            **dict.fromkeys(("homogeneity", "v_measure", "least_f1", "clusters", "probe"), np.nan),
            "seconds": 2.0,
            "memory_gb": 1.0,
        }
    )
    table = summary_table(plan, runs)
    assert table["method"].tolist() == ["MoCo", "small"]
    assert table["published"].tolist() == [True, False]
    assert table.loc[1, "accuracy"] == pytest.approx(0.5)
    assert table.loc[1, "accuracy_sd"] == pytest.approx(0.1)
    board = Leaderboard(runs, ["a", "b"], {"half": math.nan}, "reduced", False, (24, 12), "x")
    section = benchmark_section(plan, board)
    assert "| half | small | 0.500 ± 0.100 |  |  |  |  |  | 2 ± 0 | 1.00 ± 0.00 |" in section
    assert "Measured SNR: no noise." in section


def test_the_page_keeps_other_sections() -> None:
    first = update_page("", {"b_table": "## B\n\nold\n", "a_table": "## A\n"}, PAGE_HEADING)
    second = update_page(first, {"b_table": "## B\n\nnew\n"}, PAGE_HEADING)
    assert second.index("## A") < second.index("## B")
    assert "\nold\n" not in second
    assert "new" in second
    assert second.startswith("# Benchmarks\n")
    assert update_page(second, {}, PAGE_HEADING) == second


def test_targets_that_end_at_the_same_time_all_write_their_sections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> str:
        time.sleep(0.02)
        return update_page(*arguments)

    monkeypatch.setattr("benchmarks.pages.update_page", slow)
    page = tmp_path / "page.md"
    names = [f"table_{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: rewrite_page(page, {name: f"## {name}\n"}, "# Tables\n"), names))
    assert [line[3:] for line in page.read_text().splitlines() if line.startswith("## ")] == names
    assert os.listdir(tmp_path) == ["page.md"]
    for keep, heading in ((True, "# Tables"), (False, "# New")):
        rewrite_page(page, {}, "# New\n", keep_heading=keep)
        assert heading_of(page.read_text()).strip() == heading


def test_peak_memory_counts_what_was_held() -> None:
    with peak_memory(CPU) as before:
        pass
    with peak_memory(CPU) as peak:
        block = np.ones(40_000_000, dtype=np.float64)
        del block
    assert peak.gigabytes > before.gigabytes + 0.25
    assert "threads" in describe_hardware(CPU)


def test_learning_curve_scores_every_iteration_and_is_plotted() -> None:
    plan = tiny_plan()
    plan = replace(plan, sizes={"reduced": replace(plan.sizes["reduced"], seeds=[1])})
    phantoms = benchmark_phantoms(plan, None)
    curve = learning_curve(plan, "reduced", "small", "noisy", phantoms, CPU, maps=False)
    disca = curve[curve["learner"] == "disca"]
    assert disca["iteration"].tolist() == [0, 1]
    assert curve.loc[curve["learner"] == "radial", "seed"].tolist() == [1]
    assert curve[list(LINES)].min().min() >= 0.3
    assert curve[list(LINES)].max().max() <= 1
    picture = curve_picture(curve)
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 4
    with pytest.raises(
        ConfigError, match="no condition 'loud' or no row 'small' of disca; name one of the plan's"
    ):
        learning_curve(plan, "reduced", "small", "loud", phantoms, CPU, maps=False)
