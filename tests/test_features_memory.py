"""The memory limit holds, and results do not depend on it."""

from __future__ import annotations

import os
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

taken = []

def measure(*_):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("RssAnon"))
    taken.append(int(line.split()[1]) * 1024 / 1e6)

torch.set_num_threads(1)
source = BoxSource(BoxStack([sys.argv[1]]), torch.device("cpu"), float(sys.argv[2]))
network = Yopo((4,), 2)
network.register_forward_hook(measure)
optimiser = torch.optim.NAdam(network.parameters())
targets = smoothed_targets(torch.arange(source.count) % 2, 2, 0.1)
loss, some = rotated_classification(targets, cross_entropy), torch.arange(0, source.count, source.count // 80)
train_epoch(network, optimiser, source, loss, 16, torch.Generator(), members=some)
embed_all(network, source, "embedding")
print(max(taken))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's account of memory")
def test_boxes_larger_than_the_ceiling_are_not_kept_in_memory(tmp_path: Path) -> None:
    """Of two files above the ceiling the larger takes no more memory; below the ceiling it takes that of its boxes.

    Anonymous memory is counted, without pages of files, while batches of one shape are learned and embedded. Freed
    memory is given back at once, and there is one thread: the rest is the same on every machine and cancels.
    """
    counts = (400, 1600)  # 11 and 44 MB in half precision; half of the limit is 10 MB
    for count in counts:
        with BoxWriter(tmp_path / f"{count}.h5", 24, 10.0, (-60, 60), str(count)) as writer:
            for start in range(0, count, 400):
                boxes = np.random.default_rng(0).normal(size=(400, 24, 24, 24))
                writer.append(boxes, [str(start + number) for number in range(400)])
    lean = {
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }

    def more(memory_gb: float) -> float:
        few, many = (
            float(
                subprocess.run(
                    [sys.executable, "-c", PROGRAM, str(tmp_path / f"{count}.h5"), str(memory_gb)],
                    check=True, capture_output=True, text=True, env=os.environ | lean,
                ).stdout
            )
            for count in counts
        )  # fmt: skip
        return many - few

    assert more(0.02) < 10
    assert 25 < more(1.0) < 45


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
