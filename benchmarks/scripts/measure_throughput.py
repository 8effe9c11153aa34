"""Measure the speed of the learners and write the section of docs/throughput.md."""

from typing import TYPE_CHECKING, Any

from benchmarks import throughput
from benchmarks.hardware import describe_hardware
from benchmarks.pages import rewrite_page
from cryopipe.features.training.devices import has_fast_bfloat16
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    device = choose_device(job.params.device)
    on_gpu = device.type == "cuda"
    table = throughput.measure_throughput(device, throughput.cases(device), compile_too=on_gpu)
    peak = throughput.peak_tflops(device, 16_384 if on_gpu else 4096)
    mixture = throughput.mixture_seconds(device)
    number_format = "bfloat16" if has_fast_bfloat16(device) else "single precision"
    section = throughput.throughput_section(table, peak, mixture, describe_hardware(device), number_format)
    rewrite_page(job.params.page, {device.type: section}, throughput.PAGE_HEADING)


run(main, snakemake)
