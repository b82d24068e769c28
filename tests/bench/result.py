"""What a row of the report holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.bench.measure import Samples


@dataclass(frozen=True)
class Bar:
    """A promise, and what was measured."""

    text: str
    value: float
    passed: bool
    unit: str

    @property
    def shown(self) -> str:
        number = f"{self.value:.0f}" if self.unit in ("", "MB/s", "MiB") or self.value >= 100 else f"{self.value:.2f}"
        return f"{number} {self.unit}".strip() if self.unit != "x" else f"{number}x"


@dataclass
class Grid:
    """Figures that belong side by side, as they are shown."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


@dataclass
class Row:
    key: str
    title: str
    samples: list[Samples] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Facts measured beside the times: requests, bytes, what else was tried."""
    grid: Grid | None = None
    load: float = 0.0
    """The machine's load average (1 minute) when the row was done."""
    seconds: float = 0.0
    """What measuring the row took, preparation included."""

    def at_most(self, text: str, value: float, limit: float, unit: str = "x") -> None:
        self.bars.append(Bar(text, value, value <= limit, unit))

    def at_least(self, text: str, value: float, limit: float, unit: str = "x") -> None:
        self.bars.append(Bar(text, value, value >= limit, unit))

    def exactly(self, text: str, value: float, wanted: float, unit: str = "") -> None:
        self.bars.append(Bar(text, value, value == wanted, unit))
