"""Speed of training and embedding, compared with the peak speed of the hardware."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cryopipe.errors import rounded
from cryopipe.features.embedding import embed_all
from cryopipe.features.learners.disca_options import DiscaOptions
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.yopo import Yopo, noisy_input
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.compilation import compile_network
from cryopipe.features.training.devices import has_fast_bfloat16
from cryopipe.features.training.loop import LOSSES, rotated_classification, smoothed_targets, train_epoch
from cryopipe.mixtures.gaussian import choose_mixture

BOX_SIZE = 24
BATCH_SIZE = 64
CLUSTERS = 10
_DIFFERENT_BOXES = 256
POINTS = 200_000
"""Number of points of the timed mixture."""
PUBLISHED_BOXES, PUBLISHED_ITERATIONS = 198_715, 20
"""The run reported by DISCA's authors: under a day."""
BACKWARD = 2
"""Cost of a backward pass in forward passes: one product each for the gradients of inputs and weights."""
PAGE_HEADING = """# Throughput

`snakemake -s benchmarks/Snakefile --cores all --force benchmark_throughput` measures the speed of the learners on the
present machine and writes its section of this page: one section for processors, one for GPUs.

On a machine with a GPU, `benchmarks/gpu.sh OUT` measures this within eight minutes, compares results with those of the
processor, trains encoders and runs tables; `python -m benchmarks.gpu OUT --adopt` then writes the section here.

- *Boxes/s*: training rotates every box at random and takes a step of the published optimiser on batches of 64 (16 for the
  published network on a processor); embedding is the forward pass. Boxes have 24³ voxels and are in memory.
- *Of peak*: operations of the network per second (convolutions and matrix products, counted by torch; training is three
  times the forward pass), divided by those of one large matrix product in the same number format and run.
- *Published run*: estimated time for 198,715 boxes and 20 iterations on one such device, without the mixtures.
"""


@dataclass(frozen=True)
class Case:
    """A network to time and the number of boxes.

    Attributes
    ----------
    name
        Name in the table.
    build
        Creates the network.
    noise
        Whether training uses DISCA's noise layer.
    boxes, batch_size
        Of training; embedding uses twice as many boxes.
    """

    name: str
    build: Callable[[], nn.Module]
    noise: bool
    boxes: int
    batch_size: int


def cases(device: torch.device) -> list[Case]:
    """Return the networks to time on `device`; each takes seconds, on two cores or on one large GPU."""
    reduced, large = DiscaOptions(), device.type == "cuda"
    return [
        Case("encoder", TransferEncoder, False, 65_536 if large else 1024, BATCH_SIZE),
        Case(
            "yopo, reduced",
            lambda: Yopo(reduced.widths, reduced.feature_width),
            True,
            65_536 if large else 256,
            BATCH_SIZE,
        ),
        Case("yopo, published", Yopo, True, 16_384 if large else 32, BATCH_SIZE if large else 16),
    ]


def measure_throughput(device: torch.device, chosen: list[Case], compile_too: bool = False) -> pd.DataFrame:
    """Time training and embedding.

    Parameters
    ----------
    device
        Device of the computation.
    chosen
        See `cases`.
    compile_too
        Whether to time training of the compiled network as well.

    Returns
    -------
    One row per network and work (training, embedding): network, work, boxes_per_second, gflop_per_box, tflop_per_second.
    """
    rows = []
    for case in chosen:
        torch.manual_seed(0)
        network = case.build().to(device)
        forward = forward_flop(network, device)
        timed = {"training": _training_rate(network, case, device)}
        if compile_too:
            timed["training, compiled"] = _training_rate(network, case, device, compile_it=True)
        timed["embedding"] = _embedding_rate(network, case, device)
        for work, rate in timed.items():
            flop = forward * (1 if work == "embedding" else 1 + BACKWARD)
            rows.append(
                {
                    "network": case.name,
                    "work": work,
                    "boxes_per_second": rate,
                    "gflop_per_box": flop / 1e9,
                    "tflop_per_second": flop * rate / 1e12,
                }
            )
    return pd.DataFrame(rows)


def forward_flop(network: nn.Module, device: torch.device) -> float:
    """Return the floating-point operations of one box's forward pass; multiply-add counts as two."""
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, *(BOX_SIZE,) * 3, device=device))
    return float(counter.get_total_flops())


def peak_tflops(device: torch.device, size: int, repeats: int = 5) -> float:
    """Return the speed of a product of two (size, size) matrices in the learners' number format, TFLOP/s.

    It is the fastest of `repeats`.
    """
    dtype = torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(_seconds(device, lambda: a @ b) for _ in range(repeats)) / 1e12


def mixture_seconds(device: torch.device, points: int = POINTS, dimensions: int = 16) -> float:
    """Return the seconds needed to fit 2 to 20 Gaussians to `points` points of 12 groups and select one fit."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(12, dimensions, generator=generator)
    groups = torch.randint(12, (points,), generator=generator)
    values = (centres[groups] + torch.randn(points, dimensions, generator=generator)).to(device)
    return _seconds(device, lambda: choose_mixture(values, range(2, 21), 5, generator))


def throughput_section(
    table: pd.DataFrame, peak: float, mixture: float, hardware: str, number_format: str, points: int = POINTS
) -> str:
    """Return the section of docs/throughput.md for one device in Markdown.

    Parameters
    ----------
    table
        See `measure_throughput`.
    peak
        See `peak_tflops`.
    mixture
        See `mixture_seconds`.
    hardware, number_format
        Descriptions.
    points
        Number of points of the mixture.
    """
    lines = [
        f"## {hardware}",
        "",
        f"Numbers in {number_format}; a large matrix product runs at {peak:.3g} TFLOP/s. The number of clusters of",
        f"{points:,} points in 16 dimensions, 2 to 20 with five starts each, was found in {mixture:.3g} s.",
        "",
        "| network | work | boxes/s | GFLOP/box | TFLOP/s | of peak | published run |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    embedding = {row["network"]: row for row in table.to_dict("records") if row["work"] == "embedding"}
    for row in table.to_dict("records"):
        run = ""
        if row["work"] != "embedding":
            embedded = PUBLISHED_ITERATIONS + 1
            seconds = PUBLISHED_BOXES * (
                PUBLISHED_ITERATIONS / row["boxes_per_second"]
                + embedded / embedding[row["network"]]["boxes_per_second"]
            )
            run = f"{seconds / 3600:,.0f} h" if seconds > 36_000 else f"{seconds / 60:,.0f} min"
        lines.append(
            f"| {row['network']} | {row['work']} | {rounded(row['boxes_per_second'])} | {row['gflop_per_box']:.3g} "
            f"| {row['tflop_per_second']:.3g} | {row['tflop_per_second'] / peak:.0%} | {run} |"
        )
    return "\n".join([*lines, ""])


class _RecurringBoxes:
    """Many boxes of noise of which few are different."""

    def __init__(self, count: int) -> None:
        self.shape = (count, *(BOX_SIZE,) * 3)
        size = (_DIFFERENT_BOXES, *self.shape[1:])
        self._boxes = np.random.default_rng(0).standard_normal(size, np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        return self._boxes[np.arange(len(self))[indices] % _DIFFERENT_BOXES]


def _training_rate(network: nn.Module, case: Case, device: torch.device, compile_it: bool = False) -> float:
    width = network(torch.zeros(2, 1, *(BOX_SIZE,) * 3, device=device)).shape[1]
    head = nn.Linear(width, CLUSTERS, device=device)
    classifier = nn.Sequential(network, head)
    optimiser = torch.optim.NAdam(classifier.parameters(), lr=1e-5)
    body = compile_network(network, (case.batch_size, 1, *(BOX_SIZE,) * 3), device) if compile_it else network

    def forward(volumes: Tensor) -> Tensor:
        return head(body(volumes))

    def epoch(count: int) -> None:
        source = _resident(count, device)
        targets = smoothed_targets(torch.arange(count, device=device) % CLUSTERS, CLUSTERS, 0.2)
        generator = torch.Generator(device).manual_seed(0)
        noise = noisy_input if case.noise else None
        loss = rotated_classification(targets, LOSSES["hinge"], noise)
        arguments = (source, loss, case.batch_size, generator, "timing")
        spent.append(
            _seconds(device, lambda: train_epoch(classifier, optimiser, *arguments, forward=forward))
        )

    spent: list[float] = []
    epoch(case.batch_size)
    epoch(case.boxes)
    return case.boxes / spent[-1]


def _embedding_rate(network: nn.Module, case: Case, device: torch.device) -> float:
    warm, source = _resident(case.batch_size, device), _resident(2 * case.boxes, device)
    embed_all(network, warm, "timing")
    return source.count / _seconds(device, lambda: embed_all(network, source, "timing"))


def _resident(count: int, device: torch.device) -> BoxSource:
    return BoxSource(_RecurringBoxes(count), device, 8.0)


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes, including its work on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
