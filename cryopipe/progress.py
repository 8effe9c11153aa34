"""Progress messages: units done, rate and estimated time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cryopipe.errors import rounded

Item = TypeVar("Item")
logger = logging.getLogger(__name__)


class Progress:
    """Log the progress of a task, at most once every `interval` seconds and at its end.

    Parameters
    ----------
    total
        Number of units of work.
    unit
        Plural name of the units in the message ("blocks", "boxes").
    what
        Description of the task in the message ("picking demo_01").
    interval
        Seconds between two messages.
    """

    def __init__(self, total: int, unit: str, what: str, interval: float = 10.0) -> None:
        self.total, self.unit, self.what, self.interval = total, unit, what, interval
        self.done = 0
        self._started = self._reported = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        self.done += count
        now = time.monotonic()
        if now - self._reported >= self.interval or self.done >= self.total:
            self._reported = now
            elapsed = now - self._started
            logger.info(self.message(elapsed), extra={"quick": elapsed < self.interval})

    def message(self, elapsed: float) -> str:
        """Return the progress message after `elapsed` seconds."""
        rate = self.done / max(elapsed, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else 0.0
        return (
            f"{self.what}: {self.done:,} of {self.total:,} {self.unit}, "
            f"{rounded(rate)} {self.unit}/s, {_clock(left)} left"
        )


def progress(items: Iterable[Item], total: int, unit: str, what: str) -> Iterator[Item]:
    """Yield from `items`, logging progress as `Progress` does."""
    counter = Progress(total, unit, what)
    for item in items:
        yield item
        counter.advance()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
