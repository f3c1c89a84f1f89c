"""What was measured, for people (one table on stdout) and for machines (one JSON file)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx_peer
from bars import BARS
from recurra.progress import table
from results import Result

COLUMNS = [
    "row", "ours", "torch.nn", "unit", "× torch (quartiles)", "ONNX RT", "× ONNX (quartiles)", "own (quartiles)",
    "share", "others",
]  # fmt: skip
LEGEND = """\
ours, torch.nn, ONNX RT: medians. × torch, × ONNX: how many times faster ours is, the median over rounds of the quotient
within a round; for memory, ours as a part of torch's. own: ours against ours; ragged: the time of a valid step against
that of the padded pass; resets: against none; many: as many single sessions against one call; penalty: ours step by step
against it; recompute: against without. In the rows norm, dropout, trace and own the column torch.nn is a loop of torch's
operations, as the notes say.
share: of the matrix-product peak of the same rounds (the steps: of the bandwidth of a copy as large as the weights).
others: the part of the machine that other programs took meanwhile; where it is more than a little, waiting at barriers
blows times up without bounds, and the row says nothing."""


def lines(results: list[Result]) -> list[list[object]]:
    missing = None if onnx_peer.installed() else "not installed"
    found: list[list[object]] = []
    for result in results:
        scale = 1e3 if result.unit == "ms" else 1.0
        medians = [
            None if (value := result.median(name)) is None else scale * value for name in ("ours", "torch", "onnx")
        ]
        ratios = [str(result.ratios[name]) if name in result.ratios else None for name in ("torch", "onnx", "own")]
        possible = result.row.mode == "inference" and result.row.kind in ("sequence", "step", "session")
        onnx = missing if possible and medians[2] is None else medians[2]
        share = None if result.share is None else f"{result.share:.0%}"
        others = None if result.others is None else f"{result.others:.0%}"
        ours, theirs = (_number(value) for value in medians[:2])
        cell = _number(onnx) if isinstance(onnx, float) else onnx
        found.append([result.row.name, ours, theirs, result.unit, ratios[0], cell, ratios[1], ratios[2], share, others])
    return found


def _number(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def bar_lines(results: list[Result]) -> list[list[object]]:
    found: list[list[object]] = []
    for bar in BARS:
        sign = "≤" if bar.lower_is_better else "≥"
        limits = [f"{sign} {bar.bar:g}", f"{sign} {bar.aim:g}"]
        reached = bar.reached(results)
        if reached is None:
            found.append([bar.title, None, None, *limits, "not measured"])
        else:
            value, rows = reached
            found.append([f"{bar.title} ({bar.joined})", f"{value:.2f}", rows, *limits, bar.verdict(value)])
    return found


def show(results: list[Result], about: dict[str, Any]) -> None:
    """Everything on stdout, the bars last, for they are what one looks for."""
    print(table([[name, _plainly(value)] for name, value in about.items()], ["machine", ""]))
    print(f"\n{table(lines(results), COLUMNS)}\n\n{LEGEND}")
    notes = [f"{result.row.name}: {result.note}" for result in results if result.note]
    if notes:
        print("\n" + "\n".join(notes))
    print("\n" + table(bar_lines(results), ["bar", "reached", "rows", "bar", "aim", ""]))


def _plainly(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plainly(part)}" for name, part in value.items())
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def write(path: Path, results: list[Result], about: dict[str, Any]) -> None:
    bars = [
        {
            "title": bar.title,
            "joined": bar.joined,
            "bar": bar.bar,
            "aim": bar.aim,
            "lower_is_better": bar.lower_is_better,
            "reached": None if (reached := bar.reached(results)) is None else reached[0],
        }
        for bar in BARS
    ]
    whole = {"machine": about, "bars": bars, "rows": [result.as_dict() for result in results]}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
