"""The fuzz target itself: faulty readers are found, inputs can be made again, and every reader stands a thousand of them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from cryopipe.errors import DataError
from tests import fuzz


def _read(path: Path) -> object:
    """Do what a faulty reader does, as the first byte tells."""
    first = path.read_bytes()[:1]
    if first == b"h":
        time.sleep(60)
    if first == b"m":
        return bytearray(3 * 2**30)
    if first == b"l":
        raise DataError("fine") from None
    return [][1] if first == b"t" else None


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"h", "TimeoutError in .*: 'more than 1 s'"),
        (b"m", "MemoryError in "),
        (b"t", "IndexError in .*test_fuzz.py.*: 'list index out of range'"),
        (b"l", "refused$"),
        (b"", "read$"),
    ],
)
def test_what_a_reader_must_not_do_is_found(
    monkeypatch: pytest.MonkeyPatch, content: bytes, outcome: str
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setitem(fuzz.KINDS, "faulty", lambda: fuzz.Kind({"a": b""}, _read))
    monkeypatch.setattr(fuzz, "invent", lambda examples, seed, number: ("a", content))
    worker = fuzz.Worker("faulty")
    found, _, _ = worker.run(1, 0)
    worker.stop()
    assert re.match(outcome, found)


def test_a_seed_and_a_number_make_the_same_input_again() -> None:
    examples = fuzz.star().examples
    made = [fuzz.invent(examples, 1, number) for number in range(50)]
    assert made == [fuzz.invent(examples, 1, number) for number in range(50)]
    assert len(set(made)) > 45
    assert made != [fuzz.invent(examples, 2, number) for number in range(50)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_every_reader_stands_a_thousand_faulty_files(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The number of files, not the time, ends it: every machine tries the same files."""
    assert fuzz.main(["--seed", "1", "--count", "1000", "--only", kind]) == 0
    assert re.match(f"{kind}: 1000 inputs, .*, 0 failures", capsys.readouterr().out)
