"""The bars: what a group of rows must reach together, and by which number. A bar knows results and no timing."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from results import Result
from rows import CELLS, Row


@dataclass(frozen=True)
class Bar:
    """`ratio` of the rows that `rows` chooses, joined by `joined`, against `bar` and the farther `aim`."""

    title: str
    ratio: str
    bar: float
    aim: float
    rows: Callable[[Row], bool]
    lower_is_better: bool = False
    joined: str = "geometric mean"

    def reached(self, results: list[Result]) -> tuple[float, int] | None:
        """(the number, of how many rows), or None where no such row was measured."""
        found = [
            result.ratios[self.ratio].median
            for result in results
            if self.rows(result.row) and self.ratio in result.ratios
        ]
        if not found:
            return None
        value = min(found) if self.joined == "least" else statistics.geometric_mean(found)
        return value, len(found)

    def verdict(self, value: float) -> str:
        def holds(limit: float) -> bool:
            return value <= limit if self.lower_is_better else value >= limit

        return "aim reached" if holds(self.aim) else "reached" if holds(self.bar) else "missed"


def _of(
    kind: str, mode: str | None = None, cells: tuple[str, ...] = (), width: int | None = None
) -> Callable[[Row], bool]:
    return lambda row: (
        row.kind == kind
        and (mode is None or row.mode == mode)
        and (not cells or row.cell in cells)
        and (width is None or row.width == width)
    )


def _drop_in(row: Row) -> bool:
    return row.kind in ("module", "packed", "module-step", "cell", "cell-step")


BARS = (
    Bar("training, GRU and tanh-RNN, against torch.nn", "torch", 3.0, 5.0, _of("sequence", "training", CELLS[:2])),
    Bar("training, LSTM, against torch.nn", "torch", 1.2, 1.8, _of("sequence", "training", ("lstm",))),
    Bar("inference against torch.nn", "torch", 2.5, 4.0, _of("sequence", "inference")),
    Bar("inference against ONNX Runtime", "onnx", 1.2, 1.8, _of("sequence", "inference")),
    Bar("the slowest row of both, against torch.nn", "torch", 0.95, 1.1, _of("sequence"), joined="least"),
    Bar("ragged training against packed torch", "torch", 4.0, 10.0, _of("ragged", "training")),
    Bar("ragged against our own padded pass, per valid step", "own", 1.15, 1.05, _of("ragged"), lower_is_better=True),
    Bar("resets against none", "own", 1.05, 1.02, _of("resets"), lower_is_better=True),
    Bar("Session.push, H = 64, against torch.nn", "torch", 8.0, 20.0, _of("session", width=64)),
    Bar("Session.push, H = 64, against ONNX Runtime", "onnx", 2.5, 5.0, _of("session", width=64)),
    Bar(
        "one step through the module call, B = 1, H = 64, against torch.nn", "torch", 2.5, 4.0,
        lambda row: row.kind == "step" and (row.batch, row.width) == (1, 64),
    ),
    Bar("256 sessions at once against one by one", "own", 10.0, 30.0, _of("many")),
    Bar("recurra fit against plain torch, GRU", "torch", 2.0, 3.0, _of("fit", cells=("gru",))),
    Bar("recurra fit against plain torch, LSTM", "torch", 1.3, 1.8, _of("fit", cells=("lstm",))),
    Bar("recurra.nn, training, GRU and RNN, against torch.nn", "torch", 3.0, 5.0, _of("module", "training", CELLS[:2])),
    Bar("recurra.nn, training, LSTM, against torch.nn", "torch", 1.2, 1.8, _of("module", "training", ("lstm",))),
    Bar("recurra.nn, inference, against torch.nn", "torch", 2.5, 4.0, _of("module", "inference")),
    Bar("recurra.nn, PackedSequence, training, against torch.nn", "torch", 4.0, 10.0, _of("packed", "training")),
    Bar("recurra.nn, one step, B = 1, H = 64, against torch.nn", "torch", 2.5, 4.0, _of("module-step")),
    Bar("recurra.nn, one step of a cell, B = 1, H = 64, against torch.nn", "torch", 1.0, 2.0, _of("cell-step")),
    Bar("recurra.nn, the slowest row with torch's arguments", "torch", 0.95, 1.1, _drop_in, joined="least"),
    Bar("a penalty on the gradient against torch.nn", "torch", 1.0, 1.5, _of("penalty"), joined="least"),
    Bar("layer-norm LSTM against the quickest loop in torch", "torch", 1.0, 3.0, _of("norm"), joined="least"),
    Bar("recurrent dropout against the quickest loop in torch", "torch", 1.0, 3.0, _of("dropout"), joined="least"),
    Bar("trace against the quickest loop in torch", "torch", 1.0, 3.0, _of("trace"), joined="least"),
    Bar("own cells against the loop as it stands in torch", "torch", 5.0, 10.0, _of("own"), joined="least"),
    Bar("recompute, time against without", "own", 1.5, 1.35, _of("recompute"), lower_is_better=True),
    Bar(
        "recompute, memory as a part of that without", "own", 0.5, 0.25, _of("recompute-memory"), lower_is_better=True
    ),
    Bar("memory of a training pass, as a part of torch.nn's", "torch", 1.0, 0.7, _of("memory"), lower_is_better=True),
)  # fmt: skip
