"""The report and the progress page in a real browser without a network: look, filter, decide, save, load, undo; speed, size, accessibility."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cryopipe import columns
from cryopipe.curation import Curation, apply_decisions, decision_mapping, fingerprint, parse_decision
from cryopipe.curation.curation_files import read_curation, write_curation
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.costs import COST_COLUMNS
from cryopipe.files.star import write_particles
from cryopipe.files.tables import write_table
from cryopipe.live import progress_page as progress_module
from cryopipe.live.progress_page import FINISHED, PAGE, PICTURES, RUNNING
from cryopipe.live.run_state import Job, RunState
from cryopipe.report import content as report_content
from cryopipe.report.options import ReportOptions
from cryopipe.report.page import render_page, render_progress_page
from cryopipe.report.past_decisions import read_past_decisions
from cryopipe.report.results import RunResults, TomogramResult

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is absent")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (24, 80, 100)
"""z, y, x of the tomograms, voxels."""
NASTY = "a, b]} 'c' \"d\" # é: <i>"
STATES = ("open", "accepted", "rejected")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser; skipped where none is installed."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip("no chromium is installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def made_run(count: int, names: list[str], seed: int = 0, clusters: int = 4) -> RunResults:
    """A run with particles as bright balls; features of each cluster apart from the others; class 0 is unassigned."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, clusters + 1, count)
    tomograms = rng.integers(0, len(names), count)
    coordinates = rng.uniform(6, np.array(SIZE[::-1]) - 6, (count, 3))
    table = pd.DataFrame(
        {
            columns.TOMOGRAM: np.array(names, object)[tomograms],
            columns.PARTICLE: [f"{names[t]}/{i}" for i, t in enumerate(tomograms)],
            **dict(zip(columns.COORDINATES, coordinates.T, strict=True)),
            columns.VOXEL_SIZE: 10.0,
            columns.DIAMETER: 80.0,
            columns.CLASS: classes,
            columns.POSTERIOR: rng.uniform(0.3, 1, count).round(6),
            columns.PICK_SCORE: rng.uniform(2, 30, count).round(6),
        }
    )
    volumes = []
    for number in range(len(names)):
        volume = rng.normal(size=SIZE).astype(np.float32)
        places = np.round(coordinates[tomograms == number][:200]).astype(int)
        for x, y, z in places:
            volume[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] -= 3
        volumes.append(volume)
    grid = np.indices((24, 24, 24)) - 12
    average = ClusterAverage(
        1 / (1 + np.exp(2 * (np.sqrt(np.sum(grid**2, axis=0)) - 6))).astype(np.float32),
        10.0,
        {"cryopipeResolution0143": 23.4},
        pd.DataFrame(
            {"rlnResolution": np.arange(9) / 160, "rlnFourierShellCorrelationCorrected": np.linspace(1, 0, 9)}
        ),
        pd.DataFrame(),
    )
    return RunResults(
        check=pd.DataFrame(),
        tomograms=[
            TomogramResult(name, f"/data/{name}.mrc", volume, 10.0, count, count)
            for name, volume in zip(names, volumes, strict=True)
        ],
        particles=table,
        features=rng.normal(size=(count, 8)) + 9 * np.eye(13)[classes, :8],
        history=pd.DataFrame({"iteration": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}),
        averages=dict.fromkeys(range(1, clusters + 1), average),
        verdicts=pd.DataFrame({"cluster": [2, 1], "verdict": ["particle", "noise"], "reason": ["round", NASTY]}),
        costs=pd.DataFrame([("pick", 2, 6.5, 4.0, 4.5, 300.0)], columns=COST_COLUMNS),
    )  # fmt: skip


def written_page(results: RunResults, path: Path) -> Path:
    content = report_content.page_content(results, ReportOptions("pca"), "pick: {}", "a dataset", seed=1)
    content["made"] = {
        **{"facts": [("commit", 8 * "0a1b2c3d")], "changed": [("seed", "2", "1")], "paragraph": "Picked."},
        **{"references": "@article{a}", "next": [("set `export.subtomograms: true`", "cp a b")]},
    }
    path.write_text(render_page(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run() -> RunResults:
    return made_run(400, ["TS_01", "TS_02", NASTY])


@pytest.fixture(scope="module")
def report(run: RunResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_page(run, tmp_path_factory.mktemp("page") / "report.html")


class Opened:
    """An open page; closing it asserts that nothing was logged, failed or loaded, except files that belong to the page."""

    def __init__(
        self,
        browser: Any,
        path: Path,
        ready: str = "html[data-ready=yes]",
        own: str = "data:image/jpeg;base64,",
        **context: Any,
    ) -> None:
        self.own, self.context = own, browser.new_context(offline=True, accept_downloads=True, **context)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("requestfailed", lambda request: self.said.append(request.url[:200]))
        self.loaded: list[str] = []
        self.page.on("request", lambda request: self.loaded.append(request.url[:200]))
        self.address = path.as_uri()
        self.page.goto(self.address)
        self.page.wait_for_selector(ready, timeout=30_000)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.page.close(run_before_unload=False)
        self.context.close()
        if error is None:
            assert self.said == []
            others = [url for url in self.loaded if not url.startswith((self.own, "blob:"))]
            assert set(others) == {self.address}


def wait(page: Any, condition: str, argument: object = None) -> None:
    """Wait until a condition holds; the page's policy forbids playwright's own way, which evaluates text in it."""
    end = time.monotonic() + 15
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def labels_of(page: Any) -> list[int]:
    found: list[int] = page.evaluate("[...window.cryopipe.model.labels]")
    return found


def place_of(page: Any, particle: int) -> tuple[float, float]:
    """Place of a particle's point on the screen."""
    page.evaluate("document.getElementById('look').scrollIntoView()")
    page.wait_for_timeout(60)
    x, y = page.evaluate(f"window.cryopipe.plane.place({particle})")
    box = page.locator("#plane").bounding_box()
    return box["x"] + x, box["y"] + y


def drawn(page: Any, selector: str) -> float:
    """Standard deviation of a canvas's grey values."""
    script = """(canvas) => { const p = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let n = 0, s = 0, q = 0; for (let i = 0; i < p.length; i += 4) { n++; s += p[i]; q += p[i] * p[i]; }
        return Math.sqrt(Math.max(0, q / n - (s / n) ** 2)); }"""
    return float(page.locator(selector).first.evaluate(script))


def test_views_are_linked(browser: Any, report: Path, run: RunResults) -> None:
    with Opened(browser, report) as page:
        wait(page, "document.getElementById('slice-caption').textContent")
        target = int(np.flatnonzero((run.particles[columns.TOMOGRAM] == "TS_02") & (run.classes == 2))[0])
        page.mouse.move(*place_of(page, target))
        hovered = page.evaluate("window.cryopipe.model.hover")
        assert run.classes[hovered] == 2
        assert page.locator("#particle-name").inner_text() == run.particles[columns.PARTICLE][hovered]
        posterior = run.particles[columns.POSTERIOR][hovered]
        assert f"cluster 2, posterior {posterior:.2f}" in page.locator("#particle-facts").inner_text()
        wait(page, "window.getComputedStyle(document.getElementById('sections-note')).display === 'none'")
        assert drawn(page, "#sections") > 20
        wait(page, "!document.getElementById('tip').hidden")
        assert drawn(page, "#tip canvas") > 20
        assert (
            page.locator("#tip span").inner_text() == f"{run.particles[columns.PARTICLE][hovered]}, cluster 2"
        )
        # A click opens the particle's tomogram at its section, and a circle is drawn about it.
        page.evaluate(f"window.cryopipe.model.pin({target})")
        wait(page, "document.getElementById('slice-caption').textContent.startsWith('TS_02')")
        caption = page.locator("#slice-caption").inner_text()
        height = run.particles[columns.COORDINATES[2]][target]
        assert abs(int(caption.split("z = ")[1].split(",")[0]) - height) <= 1
        before = page.locator("#slices").evaluate("(canvas) => canvas.toDataURL()")
        page.locator("#slice").focus()
        page.keyboard.press("ArrowRight")
        wait(page, f"document.getElementById('slice-caption').textContent !== {json.dumps(caption)}")
        assert page.locator("#slices").evaluate("(canvas) => canvas.toDataURL()") != before
        page.locator("[name=slice-plane][value=xz]").check()
        wait(page, "document.getElementById('slice-caption').textContent.includes('y = ')")
        # Particles in this section, as they should be.
        section = int(page.locator("#slice-caption").inner_text().split("y = ")[1].split(",")[0])
        inside = run.particles[columns.TOMOGRAM] == "TS_02"
        cut = (np.abs(run.particles[columns.COORDINATES[1]] - section) < 4) & inside
        assert f"{cut.sum()} particles in this section" in page.locator("#slice-caption").inner_text()
        # A circle under the pointer is the particle in the embedding and in the inspector.
        member = int(np.flatnonzero(cut)[0])
        box = page.locator("#slices").bounding_box()
        x, z = (run.particles[columns.COORDINATES[axis]][member] for axis in (0, 2))
        page.mouse.move(box["x"] + (x + 0.5) / 100 * box["width"], box["y"] + (z + 0.5) / 24 * box["height"])
        found = page.evaluate("window.cryopipe.model.hover")
        assert cut[found]
        near = run.particles[[columns.COORDINATES[0], columns.COORDINATES[2]]].to_numpy()
        assert np.abs(near[found] - near[member]).max() < 1


def test_filters_and_keys(browser: Any, report: Path, run: RunResults) -> None:
    with Opened(browser, report) as page:
        count = page.locator("#shown-count")
        page.locator(".chip[data-cluster='2']").click()
        assert count.inner_text() == f"{(run.classes != 2).sum()} of 400 particles shown"
        page.locator(".chip[data-cluster='2']").click(modifiers=["Shift"])
        assert count.inner_text() == f"{(run.classes == 2).sum()} of 400 particles shown"
        page.locator("#filter-tomogram").select_option(label=NASTY)
        own = (run.particles[columns.TOMOGRAM] == NASTY).to_numpy()
        assert count.inner_text() == f"{((run.classes == 2) & own).sum()} of 400 particles shown"
        page.locator("#clear-filters").click()
        page.locator("#filter-score").select_option("pick")
        page.locator("#filter-least").fill("500")
        limit = np.sort(run.particles[columns.PICK_SCORE])[200]
        assert (
            count.inner_text()
            == f"{(run.particles[columns.PICK_SCORE] >= limit).sum()} of 400 particles shown"
        )
        assert page.locator("#filter-value").inner_text() == f"≥ {limit:.3g}"
        page.locator("#clear-filters").click()
        assert count.inner_text() == "400 of 400 particles shown"
        page.locator("#plane").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert (
            page.evaluate("window.cryopipe.model.pinned") == page.evaluate("window.cryopipe.model.hover") >= 0
        )
        small = page.locator("#slices").bounding_box()["width"]
        page.locator(".enlarge").last.click()
        wait(page, f"document.getElementById('slices').clientWidth > 1.3 * {small}")
        with page.expect_download() as download:
            page.locator(".picture").last.click()
        with Image.open(download.value.path()) as picture:
            assert picture.width == page.locator("#slices").evaluate("(canvas) => canvas.width")
        page.locator(".enlarge").last.click()
        page.locator(".turning").first.scroll_into_view_if_needed()
        page.wait_for_selector(".card .member canvas")
        page.wait_for_selector(".turning[data-drawn=yes]")
        assert drawn(page, ".turning") > 10
        picture = "document.querySelector('.turning').toDataURL()"
        seen = [page.evaluate(picture)]
        page.locator("[name=level]").first.fill("220")
        wait(page, f"(before) => {picture} !== before", seen[-1])
        seen.append(page.evaluate(picture))
        page.locator(".turning").first.focus()
        page.keyboard.press("ArrowLeft")
        wait(page, f"(before) => {picture} !== before", seen[-1])
        page.keyboard.press("ArrowRight")
        wait(page, f"(before) => {picture} === before", seen[-1])
        box = page.locator(".turning").first.bounding_box()
        draw_lasso(page, [(box["x"] + 100, box["y"] + 100), (box["x"] + 150, box["y"] + 90)])
        wait(page, f"(before) => {picture} !== before", seen[-1])
        assert page.locator("#overview tbody th").all_inner_texts() == [f"cluster {n}" for n in (2, 1, 3, 4)]
        assert page.locator(".card[data-cluster='1'] .verdict").inner_text() == f"Verdict: noise; {NASTY}"
        page.locator("#overview th:nth-child(3) button").click()
        sizes = [int(text) for text in page.locator("#overview tbody td:nth-child(3)").all_inner_texts()]
        assert sizes == sorted(sizes, reverse=True)
        page.locator("#overview th:nth-child(3) button").click()
        assert page.locator("#overview tbody td:nth-child(3)").first.inner_text() == str(min(sizes))


def draw_lasso(page: Any, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=3)
    page.mouse.up()


def decide(page: Any, cluster: int, kind: str, **fields: str) -> None:
    card = page.locator(f".card[data-cluster='{cluster}']")
    if kind not in ("accept", "reject"):
        card.locator(".decide details").evaluate("(details) => { details.open = true; }")
    for name, value in fields.items():
        field = card.locator(f"[name={name}]")
        if field.evaluate("(field) => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    card.locator(f"[data-decide={kind}]").click()


@pytest.mark.slow
def test_decisions_are_those_that_the_library_replays(
    browser: Any, report: Path, run: RunResults, tmp_path: Path
) -> None:
    with Opened(browser, report) as page:
        # A lasso around the points of cluster 3 of which the left-most few are left out.
        page.locator("#lasso").click()
        corners = [place_of(page, int(i)) for i in np.flatnonzero(run.classes == 3)]
        xs, ys = (np.array([corner[axis] for corner in corners]) for axis in (0, 1))
        left = float(np.sort(xs)[5]) + 0.5
        top, bottom, right = ys.min() - 3, ys.max() + 3, xs.max() + 3
        draw_lasso(page, [(left, top), (right, top), (right, bottom), (left, bottom)])
        chosen = int(page.locator("#selection-count").inner_text().split()[0])
        places = np.array(
            [page.evaluate("[...Array(400).keys()].map((i) => window.cryopipe.plane.place(i))")]
        )[0]
        box = page.locator("#plane").bounding_box()
        x, y = places[:, 0] + box["x"], places[:, 1] + box["y"]
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        assert chosen == inside.sum() > 70
        page.locator("#selection-name").fill(NASTY.strip())
        page.locator("[data-select=split]").click()
        labels = np.array(labels_of(page))
        assert np.array_equal(labels, np.where(inside, 5, run.classes))
        chip = page.locator(".chip[data-cluster='5']")
        assert chip.inner_text() == f"cluster 5: {NASTY}\n{chosen}"
        chip.click()
        assert page.locator("#shown-count").inner_text() == f"{400 - chosen} of 400 particles shown"
        chip.click()
        decide(page, 1, "accept")
        decide(page, 2, "reject")
        decide(page, 4, "choose", score="posterior", above="0.8")
        decide(page, 1, "merge", other="4")
        decide(page, 1, "rename", title='ribosome "80S"')
        decide(page, 1, "note", remark="looks right: 25 nm")
        page.locator(".bad-tomogram").last.click()
        assert page.locator(".decision-count").first.inner_text() == "8 decisions"
        assert page.locator("#decision-list li").count() == 8
        assert page.locator(".card[data-cluster='1'] .card-name").inner_text() == 'Cluster 1: ribosome "80S"'
        assert page.locator("#overview [data-state-of='2']").inner_text() == "rejected"
        with page.expect_download() as download:
            page.locator("#decisions .save").click()
        assert download.value.suggested_filename == "curation.yaml"
        path = tmp_path / "curation.yaml"
        download.value.save_as(path)
        curation = read_curation(path)
        assert curation.run == fingerprint(run.particles)
        assert len(curation.decisions) == 8
        curated = apply_decisions(run.particles, curation)
        assert set(curated.outcomes["outcome"]) == {"applied"}
        assert labels_of(page) == curated.particles[columns.CLASS].tolist()
        after = labels_of(page)
        # Undo everything, redo one, load the file.
        for _ in range(8):
            page.locator("#decisions .undo").click()
        assert labels_of(page) == run.classes.tolist()
        assert page.locator("#decisions .undo").is_disabled()
        assert chip.is_hidden()
        page.locator("#redo").click()
        assert labels_of(page) == labels.tolist()
        page.locator("body").press("Control+z")
        assert labels_of(page) == run.classes.tolist()
        page.set_input_files("#load", path)
        wait(page, "document.getElementById('decision-status').textContent.startsWith('Loaded 8')")
        assert labels_of(page) == after
        # A file that the library wrote, of lines longer than its width, is the same.
        write_curation(path, curation)
        page.set_input_files("#load", path)
        page.wait_for_timeout(200)
        assert labels_of(page) == after
        assert page.evaluate("window.cryopipe.decisions.list") == [
            decision_mapping(one) for one in curation.decisions
        ]
        for text, message in (
            (
                'run: "another"\ndecisions:\n  - {accept: 1}\n',
                f"Not loaded: c.yaml belongs to the clusters another, this report shows the clusters {curation.run}.",
            ),
            (
                f'run: "{curation.run}"\ndecisions:\n  - {{acept: 1}}\n',
                'line 3: “{"acept":1}” names no decision',
            ),
            (f'run: "{curation.run}"\ndecisions:\n  - {{split: 1}}\n', "line 3: split lacks the key into"),
            ("\x00\x01", "line 1: "),
        ):
            page.set_input_files(
                "#load", {"name": "c.yaml", "mimeType": "text/yaml", "buffer": text.encode()}
            )
            page.wait_for_timeout(100)
            assert message in page.locator("#decision-status").inner_text()
            assert labels_of(page) == after
        # Decisions on what is gone are listed with the reason.
        lost = [
            parse_decision({"accept": 77}),
            parse_decision({"select": "x", "particles": ["TS_09/1"], "as": "reject"}),
        ]
        write_curation(path, Curation(curation.run, (*curation.decisions, *lost)))
        page.set_input_files("#load", path)
        wait(page, "document.getElementById('decision-status').textContent.includes('2 cannot be applied')")
        failed = page.locator("#decision-list li.failed").all_inner_texts()
        assert "this run has no cluster 77" in failed[0]
        assert "such as TS_09/1" in failed[1]


def random_decisions(run: RunResults, rng: np.random.Generator) -> list[dict[str, Any]]:
    names = run.particles[columns.PARTICLE].tolist()
    found: list[dict[str, Any]] = []
    for _ in range(rng.integers(1, 12)):
        one, other = (int(n) for n in rng.choice(np.arange(1, 9), 2, replace=False))
        particles = [
            *rng.choice(names, rng.integers(1, 60), replace=False).tolist(),
            *(["gone/1"] * int(rng.integers(2))),
        ]
        found.append(
            [
                {"accept": one},
                {"reject": one},
                {"merge": [one, other]},
                {"merge": [one, other, 9]},
                {"rename": one, "name": f"name {other}"},
                {"note": one, "text": ["plain", "two\nlines", " 'q' \"d\" \\ end", "long " * 30 + "- end", "é\U0001f600: [x, {y"][other % 5]},
                {"choose": one, "above": float(np.round(rng.uniform(0.2, 1.1), 3)), "score": "posterior"},
                {"choose": one, "above": float(np.round(rng.uniform(0, 31), 3)), "score": "pick"},
                {"select": "L", "from_clusters": [one], "particles": particles, "as": str(rng.choice(["accept", "reject", "label", "split"]))},
                {"bad_tomogram": str(rng.choice(["TS_01", "TS_02", "TS_03"], p=[0.1, 0.1, 0.8]))},
            ][rng.integers(10)]
        )  # fmt: skip
    return found


def test_the_page_replays_decisions_as_the_library_does(browser: Any, report: Path, run: RunResults) -> None:
    rng = np.random.default_rng(5)
    own = fingerprint(run.particles)
    script = """([run, text]) => {
        const { data, replay, readCuration, writeCuration } = window.cryopipe, { decisions } = readCuration(text);
        const again = readCuration(writeCuration(run, decisions));
        const state = replay(data, again.decisions);
        return { decisions: again.decisions, labels: [...state.labels], outcomes: state.outcomes.map((one) => one.outcome),
            states: Object.fromEntries(state.states), names: Object.fromEntries(state.names), notes: Object.fromEntries(state.notes) };
    }"""
    with Opened(browser, report) as page:
        for _ in range(60):
            decisions = random_decisions(run, rng)
            curation = Curation(own, tuple(parse_decision(one) for one in decisions))
            expected = apply_decisions(run.particles, curation)
            found = page.evaluate(script, [own, rendered(curation)])
            assert found["decisions"] == [decision_mapping(one) for one in curation.decisions]
            assert found["labels"] == expected.particles[columns.CLASS].tolist(), decisions
            assert found["outcomes"] == expected.outcomes["outcome"].tolist(), decisions
            table = expected.clusters
            states = {
                str(n): STATES.index(state) for n, state in zip(table["cluster"], table["state"], strict=True)
            }
            assert found["states"] == states
            for row in table.to_dict("records"):
                assert found["names"].get(str(row["cluster"]), f"cluster {row['cluster']}") == row["name"]
                assert found["notes"].get(str(row["cluster"]), "") == row["note"]


def rendered(curation: Curation) -> str:
    from cryopipe.files.decision_lists import render_decision_list

    return render_decision_list(curation.run, [decision_mapping(one) for one in curation.decisions])


def halves(rows: np.ndarray, into: int) -> np.ndarray:
    """Parts of a cluster, as features would give them."""
    return np.asarray(rows) * 7 % into


def test_decisions_of_an_earlier_look_are_continued(browser: Any, tmp_path: Path) -> None:
    run = made_run(300, ["TS_01", "TS_02"], seed=1)
    path, page_path = tmp_path / "curation.yaml", tmp_path / "report.html"
    given = [
        {"split": 3, "into": 3},
        {"rename": 5, "name": "a part"},
        {"reject": 2},
        {"note": 2, "text": "ice"},
        {"accept": 9},
    ]
    curation = Curation(fingerprint(run.particles), tuple(parse_decision(one) for one in given))
    clusters = tmp_path / "clusters"
    write_curation(path, curation)
    curated = apply_decisions(run.particles, curation, halves)
    write_particles(clusters / "found.star", run.particles)
    write_table(clusters / "decisions.tsv", curated.outcomes)
    write_table(clusters / "clusters.tsv", curated.clusters)
    past = read_past_decisions(tmp_path, path)
    written_page(dataclasses.replace(run, particles=curated.particles, past=past), page_path)
    with Opened(browser, page_path) as page:
        assert labels_of(page) == curated.particles[columns.CLASS].tolist()
        assert page.locator("#decision-list li").count() == 5
        assert page.locator("#decision-list li.failed").count() == 1
        assert page.locator(".card[data-cluster='5'] .card-name").inner_text() == "Cluster 5: a part"
        assert page.locator(".card[data-cluster='2']").get_attribute("data-state") == "rejected"
        assert page.locator(".card[data-cluster='2'] .card-note").inner_text() == "ice"
        unassigned = page.locator(".chip[data-cluster='0']").inner_text()
        assert unassigned.split("\n")[0] == "unassigned"  # in the table, their class is none of these
        decide(page, 6, "merge", other="5")
        page.evaluate("window.cryopipe.model.select(window.cryopipe.model.labels.map((one) => one === 4))")
        page.locator("[data-select=split]").click()
        with page.expect_download() as download:
            page.locator("#decisions .save").click()
        download.value.save_as(path)
        after = apply_decisions(run.particles, read_curation(path), halves)
        assert len(after.outcomes) == 7
        assert labels_of(page) == after.particles[columns.CLASS].tolist()
        assert 7 in labels_of(page)
        # Without the split the page replays from the clusters that were found.
        page.locator("#decision-list button").first.click()
        without = apply_decisions(
            run.particles, Curation(curation.run, read_curation(path).decisions[1:]), halves
        )
        assert labels_of(page) == without.particles[columns.CLASS].tolist()
    # A file for other clusters: only what names particles or tomograms was followed.
    write_curation(
        path, Curation("another", (*curation.decisions, parse_decision({"bad_tomogram": "TS_01"})))
    )
    assert read_past_decisions(tmp_path, path).decisions == [{"bad_tomogram": "TS_01"}]


@pytest.mark.slow
def test_the_overview_of_clusters_is_not_cut_off(browser: Any, tmp_path: Path, run: RunResults) -> None:
    reason = "24 nm wide; the half-maps agree to 30 A (correlation 0.96)"
    verdicts = pd.DataFrame(
        {"cluster": [1, 2], "verdict": ["membrane or filament", "particle"], "reason": reason}
    )
    path = written_page(dataclasses.replace(run, verdicts=verdicts), tmp_path / "report.html")
    with Opened(browser, path, viewport={"width": 1280, "height": 850}) as page:
        width, visible = page.evaluate(
            "(() => { const table = document.querySelector('#overview');"
            " return [table.scrollWidth, table.closest('.scroll').clientWidth]; })()"
        )
    assert width <= visible


def violations(page: Any) -> list[tuple[str, ...]]:
    """What axe, the checker of accessibility, finds in a page."""
    axe = pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python is absent")
    page.evaluate((Path(axe.__path__[0]) / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => await axe.run(document, { resultTypes: ['violations'] })")
    return [
        (one["id"], one["impact"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:300])
        for one in found["violations"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")], ids=["light", "dark", "narrow"]
)
def test_the_page_is_accessible(browser: Any, report: Path, width: int, scheme: str) -> None:
    with Opened(browser, report, viewport={"width": width, "height": 850}, color_scheme=scheme) as page:
        page.locator(".card[data-cluster='1'] [data-decide=accept]").click()
        page.locator(".chip[data-cluster='2']").click()
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert "set export.subtomograms: true:" in page.locator("#made").inner_text()


def progress_page(dataset: Path, outcome: str, clock: float) -> Path:
    """The page about a run with jobs done, running and failed, pictures, and a tomogram that arrived after the report."""
    for name, text in {
        "report/report.html": "<!DOCTYPE html>",
        "clusters/particles.star": "",
        "arrivals/TS_02.tsv": "cluster\tparticles\n1\t1200\n2\t7\n0\t3\n",
    }.items():
        path = dataset / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (dataset / PICTURES).mkdir(exist_ok=True)
    grey = np.random.default_rng(1).integers(60, 200, (200, 400), np.uint8)
    for name in ("picks_TS_01", "cluster_01"):
        Image.fromarray(grey).save(dataset / PICTURES / f"{name}.jpg")
    state = RunState(["average_cluster"], clock=lambda: clock)
    state.planned, state.total = {"pick_particles": 2, "learn_features": 1, "average_cluster": 3}, 6
    state.done = {"pick_particles": 2}
    long = "/data/a_very_long_folder_name_without_any_space/" * 3
    for number, rule in enumerate(("learn_features", "average_cluster")):
        log = f"logs/{rule}.log"
        (dataset / "logs").mkdir(exist_ok=True)
        (dataset / log).write_text(
            f"2026-01-01 00:00:00,1 INFO {rule}: 3 of 9 boxes of {long}, 0:01:00 left\n"
        )
        (state.running, state.failed)[number][number] = Job(rule, "02", log, "", 1, clock - 70)
    content = progress_module.page_content(
        state, outcome, 600, {"pick_particles": 8.0}, 3, ["TS_01", "TS_02"], dataset
    )
    path = dataset / PAGE
    path.write_text(render_progress_page(content), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_progress_page_is_accessible_and_reloads_itself(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "a data set"
    path = progress_page(dataset, RUNNING, time.time())
    kept = {"ready": "#main", "own": (dataset / PICTURES).as_uri()}
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        with Opened(
            browser, path, **kept, viewport={"width": width, "height": 850}, color_scheme=scheme
        ) as page:
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every((one) => one.naturalWidth > 0)")
            assert page.locator("#age").is_hidden()
    # what is written next is shown, until the reader stops it
    monkeypatch.setattr(progress_module, "RELOAD_SECONDS", 2)
    progress_page(dataset, RUNNING, time.time())
    with Opened(browser, path, **kept) as page:
        page.locator("#again").uncheck()
        progress_page(dataset, FINISHED, time.time())
        page.wait_for_timeout(2500)
        assert page.locator(".lead").inner_text().startswith("2 of 6 jobs done, about 10 min left")
        page.locator("#again").check()
        page.wait_for_selector("text=Finished: 2 jobs")
        assert page.locator("#again").count() == 0
    # a page that is no longer written says so
    progress_page(dataset, RUNNING, time.time() - 300)
    with Opened(browser, path, **kept) as page:
        assert "The run has probably been interrupted" in page.locator("#age").inner_text()


@pytest.mark.slow
@pytest.mark.alone
def test_100_000_particles_of_100_tomograms_open_in_three_seconds(browser: Any, tmp_path: Path) -> None:
    results = made_run(100_000, [f"TS_{number:03d}" for number in range(100)], clusters=12)
    path = written_page(results, tmp_path / "report.html")
    assert path.stat().st_size < 15_000_000
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    start = time.monotonic()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-ready=yes]", timeout=30_000)
    while drawn(page, "#plane-points") < 5:
        assert time.monotonic() - start < 30
    first = time.monotonic() - start
    x, y = place_of(page, 77)
    page.mouse.move(x, y)
    wait(page, "document.getElementById('particle-name').textContent.startsWith('TS_')")
    page.locator(".chip[data-cluster='2']").click()
    assert (
        page.locator("#shown-count").inner_text()
        == f"{(results.classes != 2).sum():,} of 100,000 particles shown"
    )
    whole = time.monotonic() - start
    print(f"{path.stat().st_size / 1e6:.1f} MB, first picture {first:.2f} s, interaction {whole:.2f} s")
    context.close()
    assert whole < 3
