"""The page about a run that goes on: jobs, time left, pictures."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cryopipe import columns
from cryopipe.config import defaults
from cryopipe.estimate import job_seconds
from cryopipe.files.opening import OpenTomogram
from cryopipe.live import monitor as monitor_module
from cryopipe.live.monitor import Monitor, expected_clusters
from cryopipe.live.progress_page import (
    ARRIVALS,
    CLUSTERED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    PAGE,
    PICTURES,
    RUNNING,
    arrivals_table,
    failure_text,
    later_tomograms,
    page_content,
    pictures,
)
from cryopipe.live.run_state import RunState, reported_seconds_left
from cryopipe.live.time_left import measured_seconds, seconds_left, time_text
from cryopipe.palette import PICK_COLOUR, cluster_colour
from cryopipe.report.first_pictures import fullest_section, write_average_picture, write_pick_picture
from cryopipe.report.page import render_progress_page
from cryopipe.tomograms import Tomogram

CLUSTER_RULES = ["average_cluster", "locate_particles"]


def message(event: str, **values: Any) -> logging.LogRecord:
    record = logging.LogRecord("workflow", logging.INFO, "", 0, "", None, None)
    vars(record).update(event=SimpleNamespace(value=event), **values)
    return record


def started(number: int, rule: str, name: str = "", threads: int = 1) -> logging.LogRecord:
    wildcards = {"tomogram": name} if name else {}
    place = f"{rule}/{name}" if name else rule
    files = {"log": [f"logs/{place}.log"], "benchmark": f"costs/{place}.tsv"}
    return message("job_info", jobid=number, rule_name=rule, wildcards=wildcards, threads=threads, **files)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def state_of(stats: dict[str, int], cores: int | None = 2) -> tuple[RunState, Clock]:
    clock = Clock()
    state = RunState(CLUSTER_RULES, clock=clock)
    if cores is not None:
        state.take(message("resources_info", cores=cores))
    state.take(message("run_info", stats={**stats, "total": sum(stats.values())}))
    return state, clock


def test_jobs_are_counted_as_they_start_finish_fail_and_are_repeated() -> None:
    state, _ = state_of({"pick_particles": 3, "report": 1})
    for number, name in enumerate(("a", "b", "c")):
        assert state.take(started(number, "pick_particles", name))
    state.take(message("job_finished", job_id=0))
    state.take(message("job_error", jobid=1, rule_name="pick_particles"))
    assert (state.finished, sorted(state.running), sorted(state.failed), state.total) == (1, [2], [1], 4)
    state.take(started(1, "pick_particles", "b"))
    assert not state.failed
    for number in (1, 2, 2):
        state.take(message("job_finished", job_id=number))
    assert state.done == {"pick_particles": 3}
    assert not state.is_complete
    state.take(started(3, "report"))
    state.take(message("job_finished", job_id=3))
    assert state.is_complete
    assert not state.take(message("shellcmd"))
    assert not state.take(logging.LogRecord("workflow", logging.INFO, "", 0, "", None, None))


def test_the_jobs_of_clusters_are_expected_before_and_counted_after_their_number_is_known() -> None:
    state, _ = state_of({"apply_curation": 1, "report": 1})
    assert state.planned_jobs(4) == {
        **{"apply_curation": 1, "report": 1},
        **{"average_cluster": 4, "locate_particles": 4},
    }
    state.take(started(0, "apply_curation"))
    state.take(message("job_finished", job_id=0))
    state.take(message("progress", done=1, total=2 + 2 * 7))
    assert state.planned_jobs(4) == {
        **{"apply_curation": 1, "report": 1},
        **{"average_cluster": 7, "locate_particles": 7},
    }
    state.take(message("progress", done=1, total=2 + 2 * 7 + 1))
    state.take(started(7, "extract_for_averaging", "a"))
    assert state.planned_jobs(4) == {
        **{"apply_curation": 1, "report": 1, "extract_for_averaging": 1},
        **{"average_cluster": 7, "locate_particles": 7},
    }
    repeated, _ = state_of({"average_cluster": 1, "report": 1})
    assert repeated.planned_jobs(4) == {"average_cluster": 1, "report": 1}


def test_the_time_left_is_that_of_the_whole_run(tmp_path: Path) -> None:
    state, clock = state_of({"pick_particles": 5, "learn_features": 1, "report": 1})
    measured, estimated = {"pick_particles": 10.0}, {"pick_particles": 5.0, "learn_features": 100.0}
    # 5 jobs of one core on two cores, one of 100 s and one of 3 s, estimates corrected by 10/5
    assert seconds_left(state, {}, estimated, 0) == pytest.approx(5 * 5 + 100 + 3)
    state.take(started(0, "pick_particles", "a"))
    state.take(started(1, "pick_particles", "b"))
    clock.now += 4
    left = (3 * 10 + 6 + 6) / 2 + 2 * 100 + 2 * 3
    assert seconds_left(state, measured, estimated, 0) == pytest.approx(left)
    # what a job's log states replaces the mean
    log = tmp_path / "logs" / "pick_particles" / "a.log"
    log.parent.mkdir(parents=True)
    log.write_text("2026-11-27 20:00:00,123 INFO picking a: 3 of 8 blocks, 2 blocks/s, 0:01:06 left\n")
    assert seconds_left(state, measured, estimated, 0, tmp_path) == pytest.approx(
        max((3 * 10 + 66 + 6) / 2, 66) + 206
    )
    assert state.running[0].last_message(tmp_path) == "picking a: 3 of 8 blocks, 2 blocks/s, 0:01:06 left"


def test_on_a_cluster_the_jobs_seen_side_by_side_count() -> None:
    state, clock = state_of({"check_tomogram": 6, "pick_particles": 12}, cores=None)
    for number in range(6):
        state.take(started(number, "check_tomogram", str(number)))
    clock.now += 10
    for number in range(6):
        state.take(message("job_finished", job_id=number))
    assert seconds_left(state, {"check_tomogram": 10, "pick_particles": 60}, {}, 0) == pytest.approx(120)


def test_the_estimates_before_any_measurement_grow_with_the_data() -> None:
    tomograms = [Tomogram(f"t{n}", "absent.mrc") for n in range(4)]
    few, many = job_seconds(defaults(), tomograms[:2], 4), job_seconds(defaults(), tomograms, 4)
    assert many["learn_features"] > few["learn_features"]
    assert many["average_cluster"] > few["average_cluster"]
    assert many["pick_particles"] == pytest.approx(few["pick_particles"])


def test_times_are_read_from_the_tables_of_the_workflow(tmp_path: Path) -> None:
    for name, seconds in (("a", "10.5"), ("b", "21.5"), ("c", None)):
        table = tmp_path / "pick_particles" / f"{name}.tsv"
        table.parent.mkdir(exist_ok=True)
        table.write_text("s\th:m:s\tcpu_time\n" + (f"{seconds}\t0:00:10\t3\n" if seconds else ""))
    (tmp_path / "report.tsv").write_text("s\th:m:s\n3.0\t0:00:03\n")
    (tmp_path / "export").mkdir()
    assert measured_seconds(tmp_path) == {"pick_particles": 16.0, "report": 3.0}
    assert measured_seconds(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "about 10 s"),
        (43, "about 40 s"),
        (61, "about 1 min"),
        (59.6 * 60, "about 1 h"),
        (7860, "about 2 h 10 min"),
        (20.2 * 3600, "about 20 h"),
        (80 * 3600, "about 3 days"),
    ],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_time_left_of_a_message() -> None:
    assert reported_seconds_left("iteration 3: 5 of 9 steps, 2 steps/s, 1:02:03 left") == 3723
    assert reported_seconds_left("done at 1:02:03") is None


def test_finished_jobs_are_found_by_their_tables_where_messages_are_left_out(tmp_path: Path) -> None:
    state, _ = state_of({"pick_particles": 2})
    state.take(started(0, "pick_particles", "a"))
    state.take(started(1, "pick_particles", "b"))
    table = tmp_path / "costs" / "pick_particles" / "a.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("s\n1\n")
    state.running[0].started = 5.0
    state.running[1].started = 5.0
    assert state.count_finished(tmp_path)
    assert (state.finished, list(state.running)) == (1, [1])
    assert not state.count_finished(tmp_path)
    state.take(message("job_finished", job_id=0))
    assert state.finished == 1


def test_every_outcome_has_its_headline_and_only_a_running_page_loads_itself(tmp_path: Path) -> None:
    state, _ = state_of({"pick_particles": 2})
    state.take(started(0, "pick_particles", "a<b"))
    words = {
        RUNNING: "0 of 2 jobs done, about 1 min left",
        FINISHED: "Finished: 0 jobs",
        FAILED: "Stopped: 0 jobs failed. Fix the problem and run the same command again; completed jobs are kept.",
        INTERRUPTED: "Interrupted after 0 of 2 jobs. Run the same command again; completed jobs are kept.",
    }
    for outcome, headline in words.items():
        content = page_content(state, outcome, 60, {}, 0, ["a"], tmp_path)
        page = render_progress_page(content)
        assert content["headline"] == headline
        assert ('id="again" data-seconds="10" checked' in page) == (outcome == RUNNING)
        assert "a&lt;b" in page
        assert f"Progress of {tmp_path.name}" in page
        assert 'href="report.html"' not in page
    (tmp_path / PAGE).parent.mkdir(parents=True)
    (tmp_path / PAGE).with_name("report.html").write_text("")
    page = render_progress_page(page_content(state, RUNNING, 60, {}, 0, ["a"], tmp_path))
    assert '<a href="report.html">The report of the last finished run</a>' in page
    # of tomograms that arrive, no new report is made, and the page says so
    assert "does not contain" not in page
    (tmp_path / ARRIVALS).mkdir()
    (tmp_path / ARRIVALS / "a.tsv").write_text("cluster\tparticles\n1\t9\n")
    page = render_progress_page(page_content(state, RUNNING, 60, {}, 0, ["a"], tmp_path))
    assert "does not contain the tomograms that arrived later and are listed below." in page
    state.done = {"assign_particles": 1}
    assert page_content(state, FINISHED, 0, {}, 0, ["a"], tmp_path)["report_words"] == "last finished run"
    state.done["report"] = 1
    assert page_content(state, FINISHED, 0, {}, 0, ["a"], tmp_path)["report_words"] == "run"


def test_the_monitor_writes_the_page_whole_and_says_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(monitor_module, "RELOAD_SECONDS", 0.02)
    monkeypatch.setattr(monitor_module, "BETWEEN_LINES", 0.0)
    tomograms = {"a": Tomogram("a", "absent.mrc")}
    for ending in (FINISHED, FAILED, INTERRUPTED):
        begun: list[str] = []
        monitor = Monitor(
            *(defaults(), tomograms, CLUSTER_RULES), begins=partial(begun.append, "once"), folder=tmp_path
        )
        monitor.handle(message("job_info", jobid=7))  # before the run begins: a list of jobs
        assert monitor.state.total == 0
        monitor.handle(message("run_info", stats={"pick_particles": 2, "total": 2}))
        for number in (0, 1):
            monitor.handle(started(number, "pick_particles", "ab"[number]))
        monitor.handle(message("job_finished", job_id=0))
        monitor.handle(message("job_finished", unknown=0))  # of another version of the engine
        seen = set()
        for _ in range(400):
            text = (tmp_path / PAGE).read_text() if (tmp_path / PAGE).is_file() else ""
            assert not text or text.endswith("</html>")
            seen.add("1 of 2 jobs done" in text)
            if True in seen:
                break
            monitor._ended.wait(0.01)
        assert True in seen
        if ending == FINISHED:
            monitor.handle(message("job_finished", job_id=1))
        if ending == FAILED:
            monitor.handle(message("job_error", jobid=1, rule_name="pick_particles"))
        monitor.finish()
        assert begun == ["once"]
        page = (tmp_path / PAGE).read_text()
        assert {
            FINISHED: "Finished: 2 jobs",
            FAILED: "1 job failed",
            INTERRUPTED: "Interrupted after 1 of 2",
        }[ending] in page
        assert 'id="again"' not in page
        said = capsys.readouterr().err
        assert "1 of 2 jobs done, about 10 s left; results/report/progress.html shows the run" in said
        told = (
            "1 job failed: pick_particles b (logs/pick_particles/b.log). The log holds the traceback. "
            "Fix the problem and run the same command again; completed jobs are kept.\n"
        )
        assert said.endswith(told) == (ending == FAILED)
        assert "failed" not in said.removesuffix(told)


def test_many_failed_jobs_are_counted() -> None:
    state, _ = state_of({"pick_particles": 7})
    for number in range(7):
        state.take(started(number, "pick_particles", f"T{number}"))
        state.take(message("job_error", jobid=number, rule_name="pick_particles"))
    text = failure_text(state)
    assert text.startswith("7 jobs failed: pick_particles T0 (logs/pick_particles/T0.log), ")
    assert "T4 (logs/pick_particles/T4.log) and 2 more. The logs hold the tracebacks. Fix the problem" in text


def test_a_dry_run_writes_no_page(tmp_path: Path) -> None:
    monitor = Monitor(defaults(), {}, CLUSTER_RULES, runs=lambda: False, folder=tmp_path)
    monitor.handle(message("run_info", stats={"pick_particles": 2, "total": 2}))
    monitor.handle(started(0, "pick_particles", "a"))
    monitor.finish()
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_clusters_is_that_of_the_last_run_or_within_the_options(tmp_path: Path) -> None:
    config: dict[str, Any] = {"clustering": {"clusters": [7, 20]}}
    assert expected_clusters(config, tmp_path) == 7
    table = tmp_path / "results" / "clusters" / "clusters.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("cluster\tparticles\n1\t9\n2\t8\n0\t1\n")
    assert expected_clusters(config, tmp_path) == 2


def test_picks_are_drawn_where_they_are(tmp_path: Path) -> None:
    volume = np.random.default_rng(1).normal(0, 1, (20, 60, 80)).astype(np.float32)
    picks = pd.DataFrame({columns.COORDINATES[0]: [20.0, 50, 60], columns.COORDINATES[1]: [15.0, 40, 20],
                          columns.COORDINATES[2]: [6.0, 7, 18], columns.DIAMETER: 100.0})  # fmt: skip
    path = tmp_path / "new" / "picks_a.jpg"
    picture = write_pick_picture(path, OpenTomogram(volume, 10.0, None), picks)
    assert picture.shape == (60, 80, 3)
    with Image.open(path) as written:
        assert written.size == (80, 60)
    colour = np.array([int(PICK_COLOUR[i : i + 2], 16) for i in (1, 3, 5)])
    drawn = np.argwhere((picture == colour).all(axis=2))
    # the two that the fullest section cuts, as circles of 5 voxels about their centres
    for x, y in ((20, 15), (50, 40)):
        near = drawn[np.hypot(drawn[:, 1] - x, drawn[:, 0] - y) < 8]
        assert len(near) > 12
        assert np.hypot(near[:, 1] - x, near[:, 0] - y).mean() == pytest.approx(5, abs=1)
    assert not np.any(np.hypot(drawn[:, 1] - 60, drawn[:, 0] - 20) < 8)
    classes = write_pick_picture(path, OpenTomogram(volume, 10.0, None), picks.assign(**{columns.CLASS: 2}))
    second = np.array([int(cluster_colour(2)[i : i + 2], 16) for i in (1, 3, 5)])
    assert np.any((classes == second).all(axis=2))
    empty = write_pick_picture(path, OpenTomogram(volume, 10.0, None), picks[:0])
    assert np.ptp(empty.astype(int), axis=2).max() == 0


def test_the_section_that_cuts_most_particles() -> None:
    assert fullest_section(30, np.array([5.0, 6, 20]), np.array([3.0, 3, 3])) == 6
    assert fullest_section(30, np.empty(0), np.empty(0)) == 15
    assert fullest_section(10, np.array([-3.0]), np.array([1.0])) == 5


def test_a_picture_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pictures").write_text("a file")
    write_average_picture(
        tmp_path / "pictures" / "cluster_01.jpg", np.eye(8, dtype=np.float32)[None].repeat(8, 0)
    )
    assert "for the progress page was not written" in caplog.text


def test_pictures_of_this_dataset_and_of_the_current_clusters_are_shown(tmp_path: Path) -> None:
    place = tmp_path / PICTURES
    place.mkdir(parents=True)
    for name in ("picks_a", "picks_gone", "cluster_01", "cluster_02"):
        (place / f"{name}.jpg").write_bytes(b"x")
    assert [picture.caption for picture in pictures(tmp_path, ["a"])] == ["Picks in a"]
    clusters = tmp_path / "results" / "clusters" / "particles.star"
    clusters.parent.mkdir(parents=True)
    clusters.write_text("")
    os.utime(clusters, (2000, 2000))
    os.utime(place / "cluster_02.jpg", (1000, 1000))
    shown = pictures(tmp_path, ["a"])
    assert [picture.caption for picture in shown] == ["Picks in a", "Average of cluster 1: xy, xz, yz"]
    assert shown[0].address.startswith("pictures/picks_a.jpg?")


def test_the_particles_of_tomograms_that_arrived_are_counted(tmp_path: Path) -> None:
    place = tmp_path / ARRIVALS
    assert arrivals_table(place, ["a"]) is None
    place.mkdir(parents=True)
    (place / "a.tsv").write_text("cluster\tparticles\n1\t1200\n0\t3\n")
    (place / "b.tsv").write_text("cluster\tparticles\n3\t5\n")
    (place / "broken.tsv").write_text("cluster\tparticles\nx\n")
    assert arrivals_table(place, ["a", "b", "broken", "absent"]) == {
        "header": ["cluster 1", "cluster 3", "unassigned"],
        "rows": [["b", "0", "5", "0"], ["a", "1,200", "0", "3"]],
        "count": 2,
    }
    assert later_tomograms(tmp_path) == 2
    (tmp_path / CLUSTERED).parent.mkdir(parents=True)
    (tmp_path / CLUSTERED).touch()
    os.utime(tmp_path / CLUSTERED, (2000, 2000))
    os.utime(place / "b.tsv", (1000, 1000))
    assert later_tomograms(tmp_path) == 1
