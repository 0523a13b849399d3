"""What became of the readings of a run."""

import time
from dataclasses import dataclass, field
from typing import Any

from wattstream.client import Statistics


@dataclass
class Tally:
    """Readings by what became of them, and since when they are counted (time.monotonic())."""

    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)

    def follow(self, statistics: Statistics) -> None:
        """Take a sender's figures."""
        self.stored = statistics.stored
        self.duplicates = statistics.duplicates
        self.rejected = statistics.rejected

    @property
    def readings(self) -> int:
        """How many readings are known of."""
        return self.stored + self.duplicates + self.rejected

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started

    @property
    def per_second(self) -> float:
        """How many readings a second became durable, or were found to be."""
        return (self.stored + self.duplicates) / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name, for programs."""
        return {
            "stored": self.stored,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "seconds": round(self.seconds, 3),
            "readings_per_second": round(self.per_second, 1),
        }

    def __str__(self) -> str:
        return (
            f"{self.stored:,} stored, {self.duplicates:,} duplicates, {self.rejected:,} rejected "
            f"in {self.seconds:.1f} s ({self.per_second:,.0f} readings/s)"
        )
