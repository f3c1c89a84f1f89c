"""Writes the page of results: for each row the recurrent model, its feed-forward twin and the strongest simple baseline."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.quality.rows import LOWER, SHARES, SPLITS, TITLES, Goal, Row
from benchmarks.quality.running import TWIN, Result

HEAD = """# Quality

Text at published quality, each row by one command, with nothing chosen by hand. This page is written by

    python -m benchmarks.quality --data FOLDER [ROW ...]

which runs a row again and keeps each run in `benchmarks/quality/results.jsonl`. A figure is the mean over the seeds; where
there are several, the least and the greatest stand beside it. The bar is what has to be reached, the aim what is hoped for.
The feed-forward twin has the same recipe and no state; it gets a fifth of the time. The strongest simple baseline is the best
of those measured in the same run and of those measured before. Each run is shown with the code that it was made with.
"5 of 20" minutes are 5 where 20 are allowed.
"""


def page(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """The page in Markdown. Of each row and seed the last run counts."""
    table = [
        "| data | minutes | seeds | metric | recurrent | bar | aim | feed-forward twin | strongest simple baseline |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    below: list[str] = []
    for row in rows:
        runs, peers = (_last(results, row, kind) for kind in ("fit", "peer"))
        for goal in row.goals:
            table.append(_line(row, goal, runs))
        below += _told(row, runs, peers)
    return "\n".join([HEAD, *table, "", *below]).rstrip() + "\n"


def _last(results: Sequence[Result], row: Row, kind: str) -> list[Result]:
    """The last run of each seed of a row, for its minutes and options."""
    same = [r for r in results if r["row"] == row.name and r["kind"] == kind and r["minutes"] == row.minutes]
    found = {result["seed"]: result for result in same if result["options"] == list(row.options)}
    return [found[seed] for seed in row.seeds if seed in found]


def _line(row: Row, goal: Goal, runs: list[Result]) -> str:
    values = [value for run in runs if (value := run["metrics"].get(goal.split, {}).get(goal.metric)) is not None]
    seeds = f"{len(values)} of {len(row.seeds)}" if len(values) < len(row.seeds) else str(len(row.seeds))
    minutes = f"{row.minutes:g}" if row.within is None else f"{row.minutes:g} of {row.within:g}"
    start = f"| {row.name} | {minutes} | {seeds} | {SPLITS[goal.split]} {TITLES[goal.metric]} |"
    if not values:
        return f"{start} not run | {_show(goal, goal.bar)} | {_show(goal, goal.aim)} | | {_simple(goal, runs)} |"
    value = mean(values)
    spread = f" ({_show(goal, min(values))} to {_show(goal, max(values))})" if len(values) > 1 else ""
    judged = [
        f"{_show(goal, wanted)} {'reached' if goal.reaches(value, wanted) else '**missed**'}"
        for wanted in (goal.bar, goal.aim)
    ]
    return f"{start} **{_show(goal, value)}**{spread} | {' | '.join(judged)} | {_twin(goal, runs)} | {_simple(goal, runs)} |"


def _figures(goal: Goal, runs: list[Result]) -> dict[str, list[float]]:
    """The figures of the baselines in the runs, by name."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for baseline in run["baselines"]:
            if baseline["split"] == goal.split and goal.metric in baseline["metrics"]:
                found.setdefault(baseline["name"], []).append(baseline["metrics"][goal.metric])
    return found


def _twin(goal: Goal, runs: list[Result]) -> str:
    values = _figures(goal, runs).get(TWIN)
    return _show(goal, mean(values)) if values else "–"


def _simple(goal: Goal, runs: list[Result]) -> str:
    named = {name: mean(values) for name, values in _figures(goal, runs).items() if name != TWIN}
    named |= {f"{name}, before": value for name, value in goal.simple}
    if not named:
        return "–"
    best = (min if goal.metric in LOWER else max)(named, key=lambda name: named[name])
    return f"{_show(goal, named[best])}, {best}"


def _told(row: Row, runs: list[Result], peers: list[Result]) -> list[str]:
    """What was run, and what the same minutes give another kind of network."""
    if not runs and not peers:
        return []
    lines = [f"## {row.name}", ""]
    for run in runs:
        about: dict[str, Any] = run["model"]
        lines.append(
            f"- `{run['command']}`: {about['cell']} {about['layers']}×{about['hidden']}, {about['parameters']:,} parameters; "
            f"trained {run['seconds']:.0f} s, {run['total_seconds']:.0f} s with all measuring; {_by(run)}"
        )
    for peer in peers:
        figures = ", ".join(
            f"{SPLITS[goal.split]} {TITLES[goal.metric]} {_show(goal, peer['metrics'][goal.split][goal.metric])}"
            for goal in row.goals
        )
        lines.append(
            f"- The same minutes for {peer['name']}: **{figures}**. `{peer['command']}`: {peer['parameters']:,} parameters; "
            f"trained {peer['seconds']:.0f} s; {_by(peer)}"
        )
    return [*lines, ""]


def _by(run: Result) -> str:
    threads = "1 thread" if run["threads"] == 1 else f"{run['threads']} threads"
    return f"{threads}, torch {run['torch']}, code {run['code']}, {run['date'][:10]}"


def _show(goal: Goal, value: float) -> str:
    if goal.metric in SHARES:
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if goal.metric in ("loss", "mse", "owa") else f"{value:.1f}"
