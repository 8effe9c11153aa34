"""The memory limit holds, and results do not depend on it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_disca import CPU, TINY, two_classes, without_clock

from cryopipe.features import create_learner
from cryopipe.features.training.box_source import BoxSource
from cryopipe.files.box_stacks import BoxStack, BoxWriter

PROGRAM = """
import sys, torch
from pathlib import Path
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.embedding import embed_all
from cryopipe.features.networks.yopo import Yopo
from cryopipe.features.training.loop import cross_entropy, rotated_classification, smoothed_targets, train_epoch
from cryopipe.files.box_stacks import BoxStack

def peak():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
    return float(line.split()[1]) * 1024 / 1e6

def work(stack, memory_gb):
    source = BoxSource(stack, torch.device("cpu"), memory_gb)
    network = Yopo((4,), 2)
    optimiser = torch.optim.NAdam(network.parameters())
    targets = smoothed_targets(torch.arange(source.count) % 2, 2, 0.1)
    train_epoch(network, optimiser, source, rotated_classification(targets, cross_entropy), 16, torch.Generator())
    embed_all(network, source, "embedding")

torch.set_num_threads(1)
work(BoxStack([sys.argv[1]]), 0.01)  # read batch by batch, several batches: what any number of boxes takes
before = peak()
work(BoxStack([sys.argv[2]]), float(sys.argv[3]))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's account of memory")
def test_boxes_larger_than_the_ceiling_stay_below_it(tmp_path: Path) -> None:
    for name, count in (("few", 300), ("many", 2500)):
        with BoxWriter(tmp_path / f"{name}.h5", 24, 10.0, (-60, 60), name) as writer:
            writer.append(
                np.random.default_rng(0).normal(size=(count, 24, 24, 24)), [str(i) for i in range(count)]
            )

    def grown(memory_gb: float) -> float:
        files = [str(tmp_path / "few.h5"), str(tmp_path / "many.h5")]
        command = [sys.executable, "-c", PROGRAM, *files, str(memory_gb)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # 69 MB in half precision: above the limit of 40 MB, below the limit of 1 GB.
    assert grown(0.04) < 40
    assert grown(1.0) > 60


@pytest.mark.parametrize("order", [[5, 0, 6], [3], []])
def test_batches_are_the_same_from_memory_and_from_files(tmp_path: Path, order: list[int]) -> None:
    boxes, _ = two_classes(9)
    with BoxWriter(tmp_path / "b.h5", 12, 10.0, (-60, 60), "a") as writer:
        writer.append(boxes, [str(number) for number in range(9)])
    parts = [torch.tensor(order, dtype=torch.long), torch.tensor([8, 2]), torch.tensor([2])]
    found = [
        list(BoxSource(stack, CPU, memory_gb).batches(parts))
        for stack in (boxes, BoxStack([tmp_path / "b.h5"]))
        for memory_gb in (1.0, 1e-6)
    ]
    for batches in found:
        assert [len(batch) for batch in batches] == [len(order), 2, 1]
        for batch, expected in zip(batches, found[0], strict=True):
            assert torch.equal(batch, expected)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_training_is_the_same_from_memory_and_from_files(
    tmp_path: Path, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Identical in both number formats: equal batches give equal sums.
    monkeypatch.setattr("cryopipe.features.training.devices.has_fast_bfloat16", lambda device: bfloat16)
    boxes, _ = two_classes(30)
    options = replace(TINY, disca=replace(TINY.disca, iterations=1))
    with BoxWriter(tmp_path / "b.h5", 12, 10.0, (-60, 60), "a") as writer:
        writer.append(boxes, [str(number) for number in range(30)])
    resident = create_learner("disca", options, CPU, 1, memory_gb=1.0)
    streamed = create_learner("disca", options, CPU, 1, memory_gb=1e-5)
    stack = BoxStack([tmp_path / "b.h5"])
    history = without_clock(resident.fit(boxes))
    pd.testing.assert_frame_equal(without_clock(streamed.fit(stack)), history, check_exact=True)
    np.testing.assert_array_equal(streamed.embed(stack), resident.embed(boxes))


def test_an_unreadable_box_ends_the_batches_with_its_error() -> None:
    class Broken(np.ndarray):
        def __getitem__(self, indices: object) -> np.ndarray:
            raise OSError("the disk is gone")

    boxes = np.zeros((4, 8, 8, 8), np.float32).view(Broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(BoxSource(boxes, CPU, 1e-9).batches([torch.tensor([0]), torch.tensor([1])]))
