"""Damaged and invented input for every reader: `python -m tests.fuzz --seed 1 --count 1000 --only mrc,star`.

Each input must be read, or refused with one line that names the file, within 10 s and 2 GB. Anything else is printed
with the seed and number that make the same input again: `--seed SEED --first NUMBER --count 1 --only KIND`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from cryopipe.check import check_tomogram
from cryopipe.columns import COORDINATES, TOMOGRAM
from cryopipe.config import read_config
from cryopipe.errors import ConfigError, CryopipeError, TableError
from cryopipe.files.metadata import read_tilt_range
from cryopipe.files.mrc import open_mask, write_volume
from cryopipe.files.star import read_particles, read_star
from cryopipe.tomograms import Tomogram, read_tomogram_table

SECONDS = 10
BYTES = 2 * 2**30
EXTREMES = (
    "0", "-1", "1e400", "-1e400", "nan", "inf", ".nan", "1e-320", "2147483648", "-2147483649", "9" * 30, "0" * 40,
    "1_000", "0x10", "'", '"', "", "#", "null", "true", "[", "{", "\x00", "\u0661", "x" * 5000, "../" * 50, "%s", "{0}",
)  # fmt: skip
TOKENS = (
    "data_", "loop_", "_a", "'", '"', "' ", '" ', "#", "\n", "\t", " ", "1", "nan", "[", "]", "{", "}", "&a ", "*a ", "<<: ",
    ": ", "- ", "!!python/object:os.system ", "<a>", "</a>", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "&a;", "TiltAngle = ", "%YAML 9",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A sort of file: valid examples by name, and what reads them."""

    examples: dict[str, bytes]
    read: Callable[[Path], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzz; return 1 if an input was neither read nor refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop each kind after this time")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, separated by commas")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in KINDS]:
        parser.error(f"unknown kind {unknown[0]!r}; known: {', '.join(KINDS)}")
    failures = 0
    for name in names:
        numbers = range(options.first, options.first + options.count)
        failures += run_kind(name, options.seed, numbers, options.seconds)
    return int(failures > 0)


def run_kind(name: str, seed: int, numbers: Iterable[int], seconds: float = float("inf")) -> int:
    """Try inputs of one kind in a process of their own; print failures and a summary, return the number of failures."""
    failures, refused, done, slowest, largest = 0, 0, 0, 0.0, 0
    worker = Worker(name)
    begin = time.monotonic()
    for number in numbers:
        if time.monotonic() - begin > seconds:
            break
        outcome, took, used = worker.run(seed, number)
        done, slowest, largest = done + 1, max(slowest, took), max(largest, used)
        refused += outcome == "refused"
        if outcome not in ("read", "refused"):
            failures += 1
            print(f"{name} --seed {seed} --first {number} --count 1: {outcome}", flush=True)
    worker.stop()
    print(
        f"{name}: {done} inputs, {done - refused - failures} read, {refused} refused in one line, {failures} failures; "
        f"at most {slowest:.2f} s and {largest / 1e6:.0f} MB more than before",
        flush=True,
    )
    return failures


class Worker:
    """A process that tries inputs; one that dies or hangs is replaced."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._start()

    def run(self, seed: int, number: int) -> tuple[str, float, int]:
        """Return what came of one input, seconds and bytes."""
        self.pipe.send((seed, number))
        if self.pipe.poll(SECONDS + 5):
            try:
                return self.pipe.recv()
            except (EOFError, OSError):
                self.process.join()
                outcome = f"the process died with status {self.process.exitcode}"
        else:
            outcome = f"still at work after {SECONDS + 5} s"
        self.stop()
        self._start()
        return outcome, SECONDS, 0

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.kind, other), daemon=True)
        self.process.start()
        other.close()


def _serve(name: str, pipe: Connection) -> None:
    kind = KINDS[name]()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for file, content in kind.examples.items():
            Path(file).write_bytes(content)
            kind.read(Path(file))  # whatever is loaded once is no input's memory
        warnings.simplefilter("error")  # users would see them
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress and warnings of the readers
        baseline = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (baseline + BYTES, baseline + BYTES))
        signal.signal(signal.SIGALRM, _too_slow)
        while True:
            pipe.send(_try(kind, *pipe.recv()))


def _try(kind: Kind, seed: int, number: int) -> tuple[str, float, int]:
    file, content = invent(kind.examples, seed, number)
    Path(file).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    signal.alarm(SECONDS)
    try:
        kind.read(Path(file))
        outcome = "read"
    except ConfigError as error:  # a line for each mistake, and a corrected block
        outcome = "refused" if str(error) else "no message"
    except TableError as error:  # a line for each mistake
        lines = str(error).split("\n")
        fine = all(line.startswith(f"{file}: ") and len(line) < 1000 for line in lines)
        outcome = "refused" if fine else f"message without the file, or too long: {str(error)[:300]!r}"
    except CryopipeError as error:
        outcome = (
            "refused" if "\n" not in str(error) and str(error) else f"message of several lines: {error!r}"
        )
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"{type(error).__name__} in {where.filename}:{where.lineno}: {str(error)[:200]!r}"
    finally:
        signal.alarm(0)
    used = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return outcome, time.monotonic() - begin, used


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def invent(examples: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and content of input `number`: an example with one to four faults, or nonsense."""
    rng = random.Random(f"{seed} {number}")
    file = rng.choice(sorted(examples))
    content = examples[file]
    if file.endswith(".safetensors") and rng.random() < 0.7:  # other faults seldom pass its own library
        return file, rng.choice((_change_header, _flip_data))(rng, content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(FAULTS)(rng, content)
    return file, content


def _flip_bits(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 3, 30))):
        # half of them where headers are
        at = rng.randrange(min(len(changed), 1024) if rng.random() < 0.5 else len(changed))
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_data(rng: random.Random, content: bytes) -> bytes:
    return content[:-200] + _flip_bits(rng, content[-200:])


def _set_integer(rng: random.Random, content: bytes) -> bytes:
    """Replace an aligned number of the first kilobyte by an extreme one."""
    value = rng.choice(
        (0, 1, -1, 401, 2**31 - 1, -(2**31), 2**24, 0x7F800000, 0x7FC00000, rng.randrange(2**31))
    )
    at = 4 * rng.randrange(max(1, min(len(content), 1024) // 4))
    return content[:at] + value.to_bytes(4, rng.choice(("little", "big")), signed=True) + content[at + 4 :]


def _truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _replace_word(rng: random.Random, content: bytes) -> bytes:
    """Replace a word, number or text of whatever length, by an extreme one."""
    spans, start = [], None
    head = content[:4096]
    for at, byte in enumerate([*head, 32]):
        inside = chr(byte).isalnum() or byte in b".+-"
        if inside and start is None:
            start = at
        elif not inside and start is not None:
            spans.append((start, at))
            start = None
    if not spans:
        return content
    start, end = rng.choice(spans)
    return content[:start] + rng.choice(EXTREMES).encode() + content[end:]


def _repeat_token(rng: random.Random, content: bytes) -> bytes:
    token = rng.choice(TOKENS) + rng.choice(("", "a", " "))
    at = rng.randrange(len(content) + 1)
    return content[:at] + token.encode() * rng.choice((1, 2, 100, 5000, 40_000)) + content[at:]


def _nest(rng: random.Random, content: bytes) -> bytes:
    opening, closing = rng.choice(
        (("[", "]"), ("{a: ", "}"), ("<a>", "</a>"), ('{"a":', "}"), ("'", "'"), ("- ", ""))
    )
    depth = rng.choice((10, 3000, 100_000))
    text = (opening * depth + rng.choice(("", "1")) + closing * depth).encode()
    at = rng.choice((0, len(content), rng.randrange(len(content) + 1)))
    return content[:at] + text + content[at:] if rng.random() < 0.5 else text


def _swap_lines(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one] = rng.choice((lines[other], b"", lines[one] * 2, lines[one] + b" " + lines[other]))
    times = rng.choice((1, 1, 1, 200))
    return b"\n".join(lines * (times if len(content) < 20_000 else 1))  # at most 4 MB


def _random_bytes(rng: random.Random, content: bytes) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 8, 1024, 5000)))


def _other_encoding(rng: random.Random, content: bytes) -> bytes:
    text = content.decode("latin-1")
    return rng.choice(
        (
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            text.replace("\n", "\r").encode(),
            b"\xff" + content,
        )
    )


def _change_header(rng: random.Random, content: bytes) -> bytes:
    """Change the JSON header of a safetensors file, and state its length rightly or wrongly."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        parts = [part for part in header.values() if isinstance(part, dict)]
        where = header["__metadata__"] if rng.random() < 0.6 else rng.choice(parts)
        key = rng.choice(list(where))
    except (ValueError, LookupError, AttributeError, RecursionError):
        return content
    values = ("", "{}", "[]", "nan", None, -1, 2**63, [], [2**40], [-1], {}, "F8_E4M3", "X", [0, 2**62], "disca", "2",
              '{"widths": [1000000000], "feature_width": 1000000000}', '{"widths": 3}', "[" * 5000,
              '{"widths": [65536, 65536], "feature_width": 65536}', '{"widths": [2, 3, 4], "feature_width": 4}')  # fmt: skip
    where[key] = rng.choice(values)
    text = json.dumps(header).encode()
    stated = rng.choice((len(text), len(text), len(text), 2**63 - 1, 100_000_000, 0))
    return stated.to_bytes(8, "little") + text + content[8 + length :]


FAULTS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip_bits, _set_integer, _truncate, _replace_word, _replace_word, _repeat_token, _nest, _swap_lines, _random_bytes,
    _other_encoding, _change_header,
)  # fmt: skip


def mrc() -> Kind:
    """Tomograms of several modes and their masks, read by the check."""
    rng = np.random.default_rng(0)
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, dtype in (
            ("a.mrc", "f4"),
            ("b.rec", "i1"),
            ("c.mrc", "i2"),
            ("d.mrc", "u2"),
            ("mask.mrc", "?"),
        ):
            values = rng.normal(100, 20, (16, 20, 24)).clip(0, 127)
            write_volume(Path(folder) / name, (values > 100 if dtype == "?" else values).astype(dtype), 10)
            files[name] = (Path(folder) / name).read_bytes()

    def read(path: Path) -> None:
        check_tomogram(Tomogram("a", str(path), None, (-60, 60), "dark", str(path)))
        open_mask(path)

    return Kind(files, read)


def star() -> Kind:
    """Particles with and without quotes, and blocks of single values."""
    columns = "".join(f"_{name} #{number}\n" for number, name in enumerate((TOMOGRAM, *COORDINATES), 1))
    rows = "".join(f"TS_{number:02d} {number}.5 {number * 7} -1e-05\n" for number in range(40))
    plain = f"# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\ndata_particles\n\nloop_\n{columns}{rows}\n"
    quoted = (
        plain.replace("TS_07", "'TS 07'")
        .replace("TS_08", '"it\'s"')
        .replace("TS_09", "007")
        .replace("70 -1e-05", "70 -1e-05 # last")
    )
    single = "data_general\n_rlnFinalResolution 9.5\n_rlnMaskName 'a b'\n"

    def read(path: Path) -> None:
        read_star(path)
        read_particles(path, "TS_01")

    return Kind(
        {"plain.star": plain.encode(), "quoted.star": quoted.encode(), "single.star": single.encode()},
        read_both(read),
    )


def read_both(read: Callable[[Path], None]) -> Callable[[Path], None]:
    """Let a file without a table of particles pass where the first reading went well."""

    def reading(path: Path) -> None:
        try:
            read(path)
        except CryopipeError as error:
            if "has no block data_particles" not in str(error):
                raise

    return reading


def table() -> Kind:
    """The tomogram table, plain and as a spreadsheet saves it."""
    lines = ["tomogram\tpath\tvoxel_size\ttilt_min\ttilt_max\tcontrast\tmask", "TS_01\t/data/a b.mrc\t13.48\t-52\t60\tbright\tm.mrc",
             "b\tb.mrc", "# comment", "c-3\tc.mrc\t\t\t45"]  # fmt: skip
    plain = "\n".join(lines)
    quoted = "\r\n".join(
        "\t".join(f'"{cell}"' for cell in line.split("\t")) for line in lines if line[0] != "#"
    )
    return Kind({"plain.tsv": plain.encode(), "quoted.tsv": quoted.encode()}, read_tomogram_table)


def config() -> Kind:
    """The configuration of the demo and a short one."""
    whole = (Path(__file__).resolve().parents[1] / "config" / "config.yaml").read_bytes()
    short = b"seed: 3\npick:\n  diameters: [100, 200]\n  threshold: 3.5\nimaging: {tilt_range: [-60, 60]}\nmemory_gb: 4\n"
    return Kind({"config.yaml": whole, "short.yaml": short}, read_config)


def tilt() -> Kind:
    """Tilt angles as IMOD, SerialEM, AreTomo, Warp and RELION write them."""
    angles = range(-60, 61, 3)
    marks = "\n".join("True" for _ in angles)
    numbers = "\n".join(map(str, angles))
    return Kind(
        {
            "a.tlt": "".join(f" {angle:.2f}\n" for angle in angles).encode(),
            "a.rawtlt": "".join(f"{angle} {image}\r\n" for image, angle in enumerate(angles)).encode(),
            "a.mdoc": ("PixelSpacing = 2\n\n" + "".join(f"[ZValue = {i}]\nTiltAngle = {a}\n\n" for i, a in enumerate(angles))).encode(),
            "a.aln": ("# AreTomo\n" + "".join(f"{i} 85.1 1 0 0 1 1 1 0 {a}\n" for i, a in enumerate(angles)) + "# Local Alignment\n").encode(),
            "a.xml": f'<?xml version="1.0" encoding="utf-8"?>\n<TiltSeries AreAnglesInverted="False"><Angles>{numbers}</Angles><UseTilt>{marks}</UseTilt></TiltSeries>'.encode(),
            "a.star": ("data_TS_01\n\nloop_\n_rlnTomoNominalStageTiltAngle #1\n_rlnTomoYTilt #2\n" + "".join(f"{a} {a}.25\n" for a in angles)).encode(),
        },
        read_tilt_range,
    )  # fmt: skip


def weights() -> Kind:
    """Weights of a small encoder and of a small DISCA, read as `features.weights` is."""
    import torch  # here: workers of other kinds are lighter without it

    from cryopipe.features.learners.disca_model import DiscaModel, load_model, save_model
    from cryopipe.features.learners.transfer import load_encoder, save_encoder
    from cryopipe.features.networks.encoder import TransferEncoder
    from cryopipe.features.networks.yopo import Yopo

    torch.set_num_threads(1)
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        save_encoder(Path(folder) / "encoder.safetensors", TransferEncoder((2, 3, 4), 4), {})
        save_model(Path(folder) / "disca.safetensors", DiscaModel(Yopo((2, 3), 4)))
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return Kind(
        files, lambda path: load_encoder(path) if path.stem == "encoder" else load_model(path, device)
    )


KINDS: dict[str, Callable[[], Kind]] = {
    "mrc": mrc, "star": star, "table": table, "config": config, "tilt": tilt, "weights": weights,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
