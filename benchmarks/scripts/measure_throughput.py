"""Measure the speed of the learners and write the section of docs/throughput.md."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import throughput
from benchmarks.hardware import describe_hardware
from benchmarks.pages import update_page
from cryopipe.features.training.devices import has_fast_bfloat16
from cryopipe.files.atomic import write_text
from cryopipe.job import run
from cryopipe.volume.device import choose_device

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    device, page = choose_device(job.params.device), Path(job.params.page)
    on_gpu = device.type == "cuda"
    table = throughput.measure_throughput(device, throughput.cases(device), compile_too=on_gpu)
    peak = throughput.peak_tflops(device, 16_384 if on_gpu else 4096)
    mixture = throughput.mixture_seconds(device)
    number_format = "bfloat16" if has_fast_bfloat16(device) else "single precision"
    section = throughput.throughput_section(table, peak, mixture, describe_hardware(device), number_format)
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    write_text(page, update_page(old, {device.type: section}, throughput.PAGE_HEADING))


run(main, snakemake)
