"""The throughput table: its arithmetic, its page, and that it times what it says."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from benchmarks.pages import update_page
from benchmarks.throughput import (
    PAGE_HEADING,
    Case,
    cases,
    forward_flop,
    measure_throughput,
    peak_tflops,
    throughput_section,
)
from cryopipe.features.networks.yopo import Yopo

CPU = torch.device("cpu")


def test_operations_are_those_of_the_layers() -> None:
    network = Yopo((8, 16), 32)
    convolutions = 22**3 * 27 * 1 * 8 + 20**3 * 27 * 8 * 16
    assert forward_flop(network, CPU) == 2 * (convolutions + (8 + 16) * 32)


def test_published_network_costs_what_its_authors_network_costs() -> None:
    # 6.7 GMAC per box of 24 voxels
    assert forward_flop(cases(CPU)[2].build(), CPU) == pytest.approx(2 * 6.7e9, rel=0.02)


def test_both_kinds_of_work_are_timed() -> None:
    table = measure_throughput(CPU, [Case("tiny", lambda: Yopo((4,), 8), True, 16, 8)])
    assert list(table["work"]) == ["training", "embedding"]
    assert (table["boxes_per_second"] > 0).all()
    assert table["gflop_per_box"][0] == 3 * table["gflop_per_box"][1]
    assert peak_tflops(CPU, 256) > 0


def test_page_keeps_the_other_devices_section() -> None:
    rows = [
        {
            "network": "n",
            "work": work,
            "boxes_per_second": rate,
            "gflop_per_box": 2.0,
            "tflop_per_second": 0.25,
        }
        for work, rate in (("training", 1000.0), ("embedding", 4000.0))
    ]
    section = throughput_section(pd.DataFrame(rows), 0.5, 12.34, "a processor", "bfloat16")
    # 198,715 * (20 / 1000 + 21 / 4000) s = 83.6 min
    assert "| n | training | 1,000 | 2 | 0.25 | 50% | 84 min |" in section
    assert "| n | embedding | 4,000 | 2 | 0.25 | 50% |  |" in section
    assert "was found in 12.3 s" in section
    page = update_page(update_page("", {"cuda": "## a GPU\n"}, PAGE_HEADING), {"cpu": section}, PAGE_HEADING)
    assert page.index("## a processor") < page.index("## a GPU")
    assert update_page(page, {"cpu": section}, PAGE_HEADING) == page
