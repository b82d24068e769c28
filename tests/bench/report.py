"""The results, as a table for people, as Markdown for docs/performance.md, as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Samples
from tests.bench.result import Bar, Grid, Row


def machine() -> dict[str, object]:
    """Return what the run stood on."""
    model = next(
        (line.split(":")[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) for line in _read("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def print_row(console: Console, row: Row) -> None:
    table = Table(title=row.title, title_justify="left", title_style="bold", expand=False, show_edge=False)
    table.add_column("measured", min_width=34)
    table.add_column("median", justify="right")
    table.add_column("spread")
    table.add_column("CPU", justify="right")
    for samples in row.samples:
        cpu = shown_seconds(samples.median_cpu) if samples.cpu else ""
        table.add_row(samples.name, shown_seconds(samples.median), samples.spread, cpu)
    console.print(table)
    if row.grid is not None:
        console.print(_rich(row.grid))
    for bar in row.bars:
        verdict = "[green]holds[/]" if bar.passed else "[bold red]MISSED[/]"
        console.print(f"  {verdict}  {bar.text}:  [bold]{bar.shown}[/]")
    for note in row.notes:
        console.print(f"  [dim]{note}[/]")
    console.print(f"  [dim]load {row.load:.1f}, took {row.seconds:.0f} s[/]\n")


def _rich(grid: Grid) -> Table:
    table = Table(expand=False, show_edge=False)
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if number else "left")
    for cells in grid.rows:
        table.add_row(*cells)
    return table


def print_summary(console: Console, rows: list[Row]) -> None:
    bars = [bar for row in rows for bar in row.bars]
    missed = [(row, bar) for row in rows for bar in row.bars if not bar.passed]
    console.print(f"[bold]{len(bars) - len(missed)} of {len(bars)} bars hold.[/]")
    for row, bar in missed:
        console.print(f"  [red]missed[/]  {row.key}: {bar.text}: {bar.shown}")


def markdown(found: dict[str, Any]) -> str:
    """Return the table of a run, read from its JSON."""
    on = found["machine"]
    lines = [
        f"Run of {found['at'][:16].replace('T', ' ')} UTC, commit `{found['commit']}`: {on['processor']}, "
        f"{on['cores']} cores, {on['memory_gib']} GiB, Linux {on['kernel']}, Python {on['python']}.",
        "",
    ]
    rows = list(map(row_from_json, found["rows"]))
    for row in rows:
        if row.grid is not None:
            lines += [*_grid_lines(row.grid), ""]
    lines += ["| work | measured (median) | bar | value | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        samples = [] if row.grid is not None else row.samples  # what it shows need not be said twice
        measured = "<br>".join(f"{one.name}: {shown_seconds(one.median)} ({one.spread})" for one in samples)
        facts = "<br>".join([f"load {row.load:.1f}", *row.notes])
        first = f"**{row.key}**: {row.title}<br><small>{facts}</small>"
        bars = [f"{bar.text} | {bar.shown} | {_verdict(bar)}" for bar in row.bars] or [" | | "]
        lines += [f"| {first} | {measured} | {bars[0]} |", *(f"| | | {bar} |" for bar in bars[1:])]
    return "\n".join(lines) + "\n"


def _grid_lines(grid: Grid) -> list[str]:
    rows = [grid.columns, ("---", *("---:" for _ in grid.columns[1:])), *grid.rows]
    return [f"| {' | '.join(row)} |" for row in rows]


def _verdict(bar: Bar) -> str:
    return "holds" if bar.passed else "**missed**"


def write_docs(page: Path, found: dict[str, Any]) -> None:
    """Replace the measured parts of a page: those for which the run has rows."""
    text = page.read_text()
    for place in ("measured", "functions"):
        rows = [row for row in found["rows"] if (row["key"] == "functions") is (place == "functions")]
        if rows:
            text = _placed(text, place, markdown({**found, "rows": rows}))
    page.write_text(text)


def _placed(text: str, place: str, table: str) -> str:
    begin, end = f"<!-- {place}: begin -->", f"<!-- {place}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no place for the results, between {begin} and {end}")
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def row_as_json(row: Row) -> dict[str, object]:
    return {
        "key": row.key,
        "title": row.title,
        "samples": [one.as_json() for one in row.samples],
        "bars": [{"text": b.text, "value": b.value, "unit": b.unit, "passed": b.passed} for b in row.bars],
        "notes": row.notes,
        "grid": None if row.grid is None else {"columns": row.grid.columns, "rows": row.grid.rows},
        "load": row.load,
        "seconds": row.seconds,
    }


def row_from_json(found: dict[str, Any]) -> Row:
    return Row(
        key=found["key"],
        title=found["title"],
        samples=[Samples(one["name"], one["seconds"], one["cpu_seconds"]) for one in found["samples"]],
        bars=[Bar(one["text"], one["value"], one["passed"], one["unit"]) for one in found["bars"]],
        notes=found["notes"],
        grid=_grid_from_json(found.get("grid")),
        load=found["load"],
        seconds=found["seconds"],
    )


def _grid_from_json(found: dict[str, Any] | None) -> Grid | None:
    return None if found is None else Grid(tuple(found["columns"]), [tuple(row) for row in found["rows"]])


def save(folder: Path, found: dict[str, Any]) -> Path:
    """Write a run's results to a new file named for its time."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{found['at'].replace(':', '').replace('-', '')[:15]}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def shown_seconds(seconds: float) -> str:
    return (
        f"{seconds * 1000:.2f} ms"
        if seconds < 0.01
        else f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )
