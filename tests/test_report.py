"""The report: complete, self-contained, escaped, and whole in every empty state."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import math
import os
import re
import resource
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from cryopipe import columns
from cryopipe.config import defaults
from cryopipe.curation import fingerprint
from cryopipe.errors import ConfigError, FileError
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.costs import COST_COLUMNS
from cryopipe.files.features import write_features
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles, write_star
from cryopipe.files.tables import write_table
from cryopipe.palette import cluster_colour, cluster_marker
from cryopipe.report.charts import Line, line_chart, number_axis
from cryopipe.report.content import cost_rows, page_content
from cryopipe.report.embedding_chart import embed_in_plane
from cryopipe.report.isosurface import contour_level, object_radius, render_isosurface
from cryopipe.report.options import ReportOptions
from cryopipe.report.page import page_script, render_page
from cryopipe.report.payload import pictured_particles, tomogram_payload
from cryopipe.report.pictures import central_slices
from cryopipe.report.report_files import write_report
from cryopipe.report.results import RunResults, TomogramResult, read_results
from cryopipe.report.sheet import contact_sheet
from cryopipe.report.summary import summary_text
from cryopipe.tomograms import Tomogram
from cryopipe.volume.masks import radial_profile

NASTY = "<script>alert(1)</script>'\"&{{ 7 * 7 }}"
VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture
def coarse_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cast rays in few steps, where a test looks at the page and not at the surface."""
    monkeypatch.setattr("cryopipe.report.isosurface.STEPS", 12)


class Page(HTMLParser):
    """Elements and texts of a page; fails on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]


def ball(box: int, radius: float, offset: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A ball of density 1; the offset from the centre is x, y, z."""
    grid = np.indices((box, box, box)) - box // 2 - np.array(offset[::-1]).reshape(3, 1, 1, 1)
    return 1 / (1 + np.exp(2 * (np.sqrt(np.sum(grid**2, axis=0)) - radius)))


def made_results(clusters: int = 3, name: str = "tomo_1") -> RunResults:
    rng = np.random.default_rng(0)
    count = 40
    classes = np.arange(count) % (clusters + 1)
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: name,
            columns.PARTICLE: [f"{name}/{i}" for i in range(count)],
            columns.COORDINATES[0]: rng.uniform(0, 60, count),
            columns.COORDINATES[1]: rng.uniform(0, 50, count),
            columns.COORDINATES[2]: rng.uniform(0, 20, count),
            columns.VOXEL_SIZE: 10.0,
            columns.DIAMETER: 120.0,
            columns.CLASS: classes,
            columns.POSTERIOR: 0.75,
        }
    )
    frequency = np.arange(9) / 160
    fsc = pd.DataFrame(
        {"rlnResolution": frequency, "rlnFourierShellCorrelationCorrected": 1 - frequency * 10}
    )
    average = ClusterAverage(
        ball(16, 5),
        10.0,
        {"cryopipeResolution0143": 23.4},
        fsc,
        pd.DataFrame({columns.ALIGNMENT_KEPT: [1, 0]}),
    )
    check = pd.DataFrame(
        [{"tomogram": name, "status": "warning", "problem": f"odd {NASTY}", "remedy": "fix it"}]
    )
    return RunResults(
        check=check,
        tomograms=[
            TomogramResult(name, f"/data/{NASTY}.mrc", rng.normal(size=(20, 50, 60)), 10.0, 45, count)
        ],
        particles=table,
        features=rng.normal(size=(count, 6)) + 5 * np.eye(6)[classes % 6],
        history=pd.DataFrame({"iteration": [1, 2, 3], "loss": [3.0, np.nan, 1.0]}),
        averages=dict.fromkeys(range(1, clusters + 1), average),
        selection=pd.DataFrame(
            {"clusters": [2, 3], "bic": [5e3, 4e3], "icl": [6e3, 5e3], "stability": [1, 0.5]}
        ),
        triage=pd.DataFrame(
            [
                {
                    "cluster": 2,
                    "diameter": 123.0,
                    "shell_radius": 47.0,
                    "centre_density": 0.2,
                    "half_correlation": 0.91,
                    "mirror_correlation": 0.55,
                    "best_match": NASTY,
                    "match_correlation": 0.8,
                }
            ]
        ),
        mergers=pd.DataFrame(
            {"cluster": [3, 3], "into": [1, 2], "correlation": [0.93, 0.2], "offered": [1, 0]}
        ),
        evaluation={"picking": pd.DataFrame([{"class": NASTY, "recall": 0.5, "precision": np.nan}])},
        costs=pd.DataFrame(
            [("check", 1, 0.5, 0.4, 0.5, 200.0), ("pick", 2, 6.5, float("nan"), 4.5, 300.0)],
            columns=COST_COLUMNS,
        ),
    )


def made_page(results: RunResults, embedding: str = "pca", **options: int) -> tuple[str, Page]:
    content = page_content(results, ReportOptions(embedding, **options), f"path: {NASTY}", NASTY, seed=1)
    text = render_page(content)
    return text, Page(text)


EMPTY = RunResults(pd.DataFrame(), [], pd.DataFrame(), np.zeros((0, 2)), pd.DataFrame(), {})


@pytest.mark.usefixtures("coarse_surfaces")
def test_the_page_loads_nothing() -> None:
    text, page = made_page(made_results())
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            address = attributes.get(name) or ""
            assert address.startswith(("data:", "#")) or not address, (tag, address)
    assert not page.named("link")
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(|import ", text)
    policy = str(page.named("meta")[3]["content"])
    digest = base64.b64encode(hashlib.sha256(page_script().encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        == policy
    )


@pytest.mark.usefixtures("coarse_surfaces")
def test_what_users_name_cannot_become_markup() -> None:
    text, page = made_page(made_results(name=NASTY))
    assert "<script>alert" not in text
    scripts = page.named("script")
    assert [script["type"] for script in scripts[-3:]] == ["application/json", "application/json", "module"]
    assert any(f"/data/{NASTY}.mrc" in part for part in page.texts)
    assert any(f"odd {NASTY}; fix it" in part for part in page.texts)
    payload = payload_of(page)
    assert payload["tomograms"] == [NASTY]
    assert payload["run"] == fingerprint(made_results(name=NASTY).particles)
    assert text.count("</script>") == len(scripts)


def payload_of(page: Page) -> dict[str, Any]:
    """Read the particles as the page's script does."""
    payload = json.loads(next(part for part in page.texts if '"plane_scale"' in part))
    kinds = {
        "Int16Array": "<i2",
        "Uint8Array": "u1",
        "Uint16Array": "<u2",
        "Uint32Array": "<u4",
        "Float32Array": "<f4",
    }
    payload["arrays"] = {
        name: np.frombuffer(base64.b64decode(array["data"]), kinds[array["type"]])
        for name, array in payload["arrays"].items()
    }
    return payload


@pytest.mark.usefixtures("coarse_surfaces")
def test_every_cluster_has_its_card_and_every_particle_its_place() -> None:
    results = made_results()
    text, page = made_page(results)
    assert [card["data-cluster"] for card in page.named("article")] == ["1", "2", "3"]
    assert [chip["data-cluster"] for chip in page.named("button", **{"class": "chip"})] == [
        "1",
        "2",
        "3",
        "0",
    ]
    payload = payload_of(page)
    arrays = payload["arrays"]
    assert payload["count"] == 40
    assert arrays["cluster"].tolist() == results.classes.tolist()
    assert payload["names"] is None
    assert [
        f"{payload['tomograms'][t]}/{n}" for t, n in zip(arrays["tomogram"], arrays["number"], strict=True)
    ] == (results.particles[columns.PARTICLE].tolist())
    expected = results.particles[list(columns.COORDINATES)].to_numpy(copy=True)
    np.testing.assert_allclose(
        arrays["position"].reshape(-1, 3) / payload["position_steps"], expected, atol=1 / 16
    )
    assert arrays["radius"] == pytest.approx(6)
    assert arrays["posterior"] == pytest.approx(0.75)
    assert arrays["pictured"].all()
    for words in ("23.4 Å", "40 particles in 1 tomogram, 3 clusters; 25% of the particles are unassigned."):
        assert words in text
    assert "1 of 2" in text
    assert len(page.named("img")) == 3 * 3
    assert len(page.named("script", **{"class": "surface"})) == 3
    tomogram = json.loads(next(part for part in page.texts if '"strips"' in part))
    assert tomogram["name"] == "tomo_1"
    assert set(tomogram["strips"]) == {"xy", "xz"}


def test_names_that_are_not_numbers_are_kept_whole() -> None:
    results = made_results()
    results.particles[columns.PARTICLE] = [f"particle {i} </script>" for i in range(40)]
    text, page = made_page(results)
    assert payload_of(page)["names"] == results.particles[columns.PARTICLE].tolist()
    assert "particle 1 </script>" not in text


def test_positions_and_scores_are_those_of_the_averages() -> None:
    results = made_results()
    moved = results.particles.iloc[[5, 3]].assign(
        **{columns.ORIGINS[0]: [20.0, 0.0], columns.ORIGINS[1]: [0.0, -10.0], columns.ORIGINS[2]: 0.0},
        **{columns.ALIGNMENT_SCORE: [0.5, 0.25]},
    )
    average = dataclasses.replace(results.averages[1], particles=moved)
    results = dataclasses.replace(results, averages={1: average, 2: results.averages[2]})
    expected = results.particles[list(columns.COORDINATES)].to_numpy(copy=True)
    expected[5, 0] -= 2.0
    expected[3, 1] += 1.0
    np.testing.assert_allclose(results.positions, expected)
    scores = np.full(40, np.nan)
    scores[[5, 3]] = 0.5, 0.25
    np.testing.assert_array_equal(results.score(columns.ALIGNMENT_SCORE), scores)


@pytest.mark.usefixtures("coarse_surfaces")
def test_triage_and_selection_are_shown() -> None:
    verdicts = pd.DataFrame({"cluster": [2], "verdict": ["particle"], "reason": ["x"], "diameter": [156.0]})
    assert "15.6 nm" in made_page(dataclasses.replace(made_results(), verdicts=verdicts))[0]
    text, page = made_page(made_results())
    for words in (
        "12.3 nm",
        "4.7 nm",
        "0.91, 0.55",
        "Clusters 3 and 1 may be the same structure: the correlation of their averages after superposition is 0.93.",
    ):
        assert words in text
    assert text.count("may be the same structure") == 1
    assert f"{NASTY} (0.80)" in "".join(page.texts)
    assert "Criteria for the number of clusters" in text


@pytest.mark.usefixtures("coarse_surfaces")
def test_points_keep_their_particle() -> None:
    payload = payload_of(made_page(made_results())[1])
    across = payload["arrays"]["plane"][0::2] * payload["plane_scale"]
    clusters = payload["arrays"]["cluster"]
    assert np.ptp([across[clusters == number].mean() for number in range(4)]) > 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {},
            [
                "There are no tomograms.",
                "There are no features",
                "There are no clusters.",
                "No cost was recorded.",
            ],
        ),
        ({"tomograms": made_results().tomograms}, ["No particles were found in 1 tomogram."]),
    ],
)
def test_a_run_without_particles_has_a_page(change: dict[str, object], words: list[str]) -> None:
    text, _ = made_page(dataclasses.replace(EMPTY, **change))  # type: ignore[arg-type]
    for word in words:
        assert word in text


@pytest.mark.usefixtures("coarse_surfaces")
def test_particles_without_a_cluster_have_a_page() -> None:
    results = made_results(clusters=0)
    text, page = made_page(results)
    assert "40 particles in 1 tomogram, none assigned to a cluster." in text
    assert "There are no clusters." in text
    assert len(page.named("button", **{"class": "chip"})) == 1


@pytest.mark.usefixtures("coarse_surfaces")
def test_one_cluster_without_an_average_or_a_curve_has_a_page() -> None:
    results = made_results(clusters=1)
    text, _ = made_page(dataclasses.replace(results, averages={}))
    assert "This cluster has no average." in text
    bare = ClusterAverage(ball(16, 5), 10.0, {}, pd.DataFrame(), pd.DataFrame())
    text, _ = made_page(dataclasses.replace(results, averages={1: bare}))
    assert "No FSC curve" in text
    flat = ClusterAverage(np.zeros((16, 16, 16)), 10.0, {}, pd.DataFrame(), pd.DataFrame())
    _, page = made_page(dataclasses.replace(results, averages={1: flat}))
    assert len(page.named("img")) == 3


@pytest.mark.usefixtures("coarse_surfaces")
def test_a_tomogram_that_cannot_be_read_is_listed_without_a_picture() -> None:
    results = made_results()
    unreadable = dataclasses.replace(results.tomograms[0], source=None, voxel_size=float("nan"))
    text, page = made_page(dataclasses.replace(results, tomograms=[unreadable]))
    assert not page.named("canvas", id="slices")
    assert "There are no pictures of tomograms." in text
    assert "tomo_1" in text


@pytest.mark.usefixtures("coarse_surfaces")
def test_the_number_of_pictures_is_limited() -> None:
    results = made_results()
    others = [dataclasses.replace(results.tomograms[0], name=f"other_{i}") for i in range(3)]
    text, page = made_page(
        dataclasses.replace(results, tomograms=[*others, *results.tomograms]), tomogram_pictures=2
    )
    assert [script["data-index"] for script in page.named("script", **{"class": "tomogram"})] == ["0", "3"]
    assert "Pictures of 2 of 4 tomograms" in text


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_central_slices_are_the_planes_that_they_are_called() -> None:
    volume = np.zeros((16, 16, 16))
    volume[8, 8, 12] = volume[3, 8, 8] = 1
    bright = {
        name: np.unravel_index(decoded(a).argmax(), (160, 160)) for name, a in central_slices(volume).items()
    }
    spots = {name: decoded(address) for name, address in central_slices(volume).items()}
    assert spots["xy"][85, 125] > 200  # x = 12 to the right
    assert spots["xz"][35, 85] > 200  # z = 3 near the top
    assert spots["yz"][35, 85] > 200
    assert set(bright) == {"xy", "xz", "yz"}


def test_the_isosurface_shows_the_near_side_of_the_right_side() -> None:
    near, right, below = (0, 0, -5), (5, 0, 0), (0, 5, 0)
    identity = Rotation.identity()
    covered = {}
    for name, offset in {"near": near, "right": right, "below": below}.items():
        volume = ball(24, 3, offset)
        covered[name] = render_isosurface(volume, 0.5, identity, 11.0, 60)[..., 3] > 0
    assert np.argwhere(covered["right"]).mean(axis=0)[1] == pytest.approx(29.5 + 5 / 22 * 59, abs=1)
    assert np.argwhere(covered["below"]).mean(axis=0)[0] == pytest.approx(29.5 + 5 / 22 * 59, abs=1)
    assert covered["near"].sum() == pytest.approx(np.pi * (3 / 22 * 60) ** 2, rel=0.15)
    # Behind a near ball another one is hidden; the picture is the near one's alone.
    both = render_isosurface(ball(24, 3, near) + ball(24, 3, (0, 0, 5)), 0.5, identity, 11.0, 60)
    alone = render_isosurface(ball(24, 3, near), 0.5, identity, 11.0, 60)
    assert np.abs(both.astype(int) - alone.astype(int)).max() <= 12
    turned = render_isosurface(ball(24, 3, right), 0.5, Rotation.from_euler("z", 90, degrees=True), 11.0, 60)
    assert np.argwhere(turned[..., 3] > 0).mean(axis=0) == pytest.approx([29.5 + 5 / 22 * 59, 29.5], abs=1)


def test_level_and_frame_of_a_ball() -> None:
    volume = ball(32, 8)
    assert 0.2 < contour_level(volume) < 0.8
    assert object_radius(volume, 0.5) == pytest.approx(8 * 1.12, abs=0.6)
    assert contour_level(np.zeros((8, 8, 8))) == np.inf


def test_the_profile_of_a_shell_peaks_at_its_radius() -> None:
    shell = ball(32, 10) - ball(32, 7)
    density = radial_profile(torch.from_numpy(shell)).numpy()
    assert np.argmax(density) in (8, 9)
    assert len(density) == 16
    assert density[0] == shell[16, 16, 16]


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_plane_is_repeatable_and_keeps_groups_apart(method: str) -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(20, 8)), rng.normal(size=(20, 8)) + 12])
    first, name = embed_in_plane(features, method, 3)
    again, _ = embed_in_plane(features, method, 3)
    assert np.array_equal(first, again)
    assert name == {"tsne": "t-SNE", "pca": "principal components"}[method]
    gap = np.linalg.norm(first[:20].mean(axis=0) - first[20:].mean(axis=0))
    assert gap > 2 * max(first[:20].std(), first[20:].std())


def test_umap_that_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    message = r"^report\.embedding is umap, which is not installed; install umap-learn .* set `report\.embedding` to tsne or pca"
    with pytest.raises(ConfigError, match=message):
        embed_in_plane(np.random.default_rng(0).normal(size=(40, 4)), "umap", 1)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 1), (5, 3)])
def test_few_particles_are_laid_out_too(shape: tuple[int, int]) -> None:
    plane, name = embed_in_plane(np.random.default_rng(0).normal(size=shape), "auto", 1)
    assert plane.shape == (shape[0], 2)
    assert np.isfinite(plane).all()
    assert name == "principal components"


def test_charts_leave_out_what_is_no_number() -> None:
    values = np.array([1.0, np.nan, 3.0])
    chart = line_chart(
        "t", [Line("a<b", np.arange(3.0), values)], number_axis("x", values), number_axis("y", values)
    )
    assert "nan" not in chart
    assert "a&lt;b" in chart
    assert len(re.findall(r"\d,\d", re.search(r'points="([^"]*)"', chart)[1])) == 2  # type: ignore[index]
    single = line_chart(
        "t", [Line("a", np.zeros(1), np.ones(1))], number_axis("x", np.zeros(1)), number_axis("y", [])
    )
    assert "<circle" in single


def test_colours_and_markers_tell_many_clusters_apart() -> None:
    looks = {(cluster_colour(n), cluster_marker(n)) for n in range(28)}
    assert len(looks) == 28


def test_costs_are_listed_in_decreasing_order() -> None:
    row, second = cost_rows(made_results().costs)
    assert (row["rule"], second["rule"]) == ("pick", "check")
    assert row["seconds"] == "6.5"
    assert row["longest"] == "4.5"
    assert row["memory"] == "300"
    assert row["cpu"] == "–"


def test_the_summary_names_clusters_problems_scores_and_the_report() -> None:
    results = dataclasses.replace(
        made_results(), evaluation={"picking": pd.DataFrame([{"recall": 0.91, "precision": 0.8}])}
    )
    text = summary_text(results, "results/report/report.html")
    assert "        2         10       0.75      23.4 Å" in text
    assert "Note: tomo_1: odd" in text
    assert "Against the truth: picking recall 0.91, precision 0.80." in text
    assert "Doubles" not in text
    doubles = pd.DataFrame({"cluster": [1, 2, 3], "doubles": [0, 1541, 2]})
    doubles = doubles.assign(symmetry=["C1", "D7", ""], symmetry_score=[math.nan, 0.912, math.nan])
    text = summary_text(dataclasses.replace(results, triage=doubles), "results/report/report.html")
    assert (
        "Doubles: 1,543 particles at the place of a better one, left out of the averages of clusters 2, 3 "
        "(cryopipeDoubleOf)." in text
    )
    line = "Symmetry: the average of cluster 2 fits D7 (score 0.91); it was not imposed (averaging.symmetry)."
    assert text.count("Symmetry") == text.count(line) == 1
    assert text.endswith("\nReport: results/report/report.html\n")
    assert "No particles were found in 0 tomograms." in summary_text(EMPTY, "r.html")


@pytest.mark.usefixtures("coarse_surfaces")
def test_the_sheet_has_a_row_per_average() -> None:
    one, two = contact_sheet({}), contact_sheet(made_results(clusters=2).averages)
    assert one.shape[2] == 3
    assert two.shape[0] > 1.8 * one.shape[0]
    assert two.std() > 10


def written_results(folder: Path) -> list[Tomogram]:
    """Write what `made_results` holds, as the rules do."""
    results = made_results()
    for name, table in {"clusters/particles": results.particles, "picks/tomo_1": results.particles}.items():
        write_particles(folder / "results" / f"{name}.star", table)
    write_particles(folder / "results/subtomograms/tomo_1.star", results.particles.iloc[:30])
    order = np.arange(40)[::-1]
    names = results.particles[columns.PARTICLE].to_numpy()[order]
    write_features(folder / "results/features/features.npz", names.tolist()[1:], results.features[order][1:])
    write_table(folder / "results/features/history.tsv", results.history)
    write_table(folder / "results/check/tomograms.tsv", results.check)
    write_table(folder / "results/clusters/selection.tsv", results.selection)
    write_table(folder / "results/averages/triage.tsv", results.triage)
    write_table(folder / "results/averages/mergers.tsv", results.mergers)
    write_table(
        folder / "results/evaluation/clusters.tsv",
        pd.DataFrame([{"scope": "matched", "accuracy": 0.5, "v_measure": 0.6}]),
    )
    write_volume(folder / "results/averages/cluster_02.mrc", ball(16, 5), 10.0)
    write_volume(folder / "results/averages/cluster_02_half1.mrc", ball(16, 5), 10.0)
    write_star(
        folder / "results/averages/cluster_02_fsc.star",
        {"general": {"cryopipeResolution0143": 23.4}, "fsc": results.averages[1].fsc},
    )
    write_volume(folder / "tomo_1.mrc", np.zeros((4, 5, 6), np.float32), 10.0)
    for place in ("pick/tomo_1", "export"):
        write_table(
            folder / f"costs/{place}.tsv",
            pd.DataFrame({"s": [1.5], "max_rss": ["-"], "cpu_time": ["NA"]}),
        )
    return [Tomogram("tomo_1", str(folder / "tomo_1.mrc"), None, (-60, 60), "dark", None),
            Tomogram("gone", str(folder / "gone.mrc"), 10.0, (-60, 60), "dark", None)]  # fmt: skip


@pytest.mark.usefixtures("coarse_surfaces")
def test_decoded_maps_are_shown_of_their_cluster_only(tmp_path: Path) -> None:
    tomograms = written_results(tmp_path)
    density = ball(16, 4, (2, 0, 0))
    write_volume(tmp_path / "results/features/decoded/cluster_02.mrc", density, 10.0)
    assert not read_results(tmp_path, tomograms).decoded
    results = read_results(tmp_path, tomograms, decoded=True)
    np.testing.assert_allclose(results.decoded[2], density, atol=1e-6)
    text, page = made_page(results)
    shown = page.named("img", alt="Central xy slice of the decoded map of cluster 2")
    assert [image["src"] for image in shown] == [central_slices(density.astype(np.float32))["xy"]]
    assert text.count("What the network remembers of this cluster") == 1
    assert "decoded map" not in made_page(read_results(tmp_path, tomograms))[0]


@pytest.mark.usefixtures("coarse_surfaces")
def test_results_are_read_as_the_rules_write_them(tmp_path: Path) -> None:
    tomograms = written_results(tmp_path)
    results = read_results(tmp_path, tomograms)
    assert [(t.picks, t.boxes, t.volume is None) for t in results.tomograms] == [
        (40, 30, False),
        (0, 0, True),
    ]
    assert list(results.averages) == [2]
    assert results.averages[2].figures["cryopipeResolution0143"] == 23.4
    expected = made_results().features
    assert results.features[:-1] == pytest.approx(expected[:-1], abs=1e-5)
    assert np.isnan(results.features[-1]).all()
    assert sorted(results.costs["rule"]) == ["export", "pick"]
    assert list(results.evaluation) == ["clusters"]
    assert results.triage["best_match"].tolist() == [NASTY]
    assert results.mergers["cluster"].tolist() == [3, 3]
    assert not read_results(tmp_path, [], evaluated=False).evaluation
    out = [tmp_path / "report" / name for name in ("page.html", "averages.png", "summary.txt", "methods.txt")]
    settings = {**defaults(), "report": {"embedding": "pca"}}
    write_report(results, settings, NASTY, *out)
    page = out[0].read_text()
    assert "tomo_1" in page
    assert NASTY not in page
    with Image.open(out[1]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), contact_sheet(results.averages))
    assert out[2].read_text() == summary_text(results, str(out[0]))
    assert "@article{rosenthal2003," in out[3].read_text()


def test_nothing_at_all_is_read_too(tmp_path: Path) -> None:
    results = read_results(tmp_path, [])
    assert results.cluster_numbers == []
    assert "There are no clusters." in made_page(results)[0]


def test_view_prints_where_the_report_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from cryopipe.cli.view import view

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    app = typer.Typer()
    app.command()(view)
    outcome = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(outcome.exception, FileError)
    assert str(outcome.exception).endswith(
        "contains no report; run `snakemake --cores all report` there first"
    )
    report = tmp_path / "results" / "report" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("x")
    for place in (tmp_path, tmp_path / "results", report):
        assert CliRunner().invoke(app, [str(place)]).output.strip() == str(report)


@pytest.mark.usefixtures("coarse_surfaces")
def test_more_tomograms_than_a_process_may_open_files(tmp_path: Path) -> None:
    tomogram = written_results(tmp_path)[0]
    many = [dataclasses.replace(tomogram, name=f"tomo_{number}") for number in range(150)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, hard))
    try:
        results = read_results(tmp_path, many)
        pictures = tomogram_payload(results, *pictured_particles(results, 2, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(results.tomograms) == 150
    assert len(pictures) == 2
