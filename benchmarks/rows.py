"""What is measured: every row by name, with the arithmetic and the weights it stands for. Nothing here runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CELLS = ("elman", "gru", "lstm")
OWN = ("minimal", "rivals")
GATES = {"elman": 1, "gru": 3, "lstm": 4, "minimal": 2, "rivals": 2}
TITLES = {"elman": "tanh-RNN", "gru": "GRU", "lstm": "LSTM"}

# (B, T, I = H)
SEQUENCES = (
    (1, 100, 128), (8, 100, 128), (32, 100, 128), (128, 35, 64),
    (4, 1000, 32), (32, 100, 256), (64, 128, 512), (16, 50, 1024),
)  # fmt: skip
RAGGED = ((32, 100, 128), (128, 35, 64), (16, 1000, 64), (32, 100, 256))
RESETS = ((128, 128, 256),)
STEPS = tuple((batch, 1, width) for width in (64, 256, 512) for batch in (1, 256))
SESSIONS = ((1, 1, 64),)
MANY = ((256, 1, 64),)
MEMORY = ((32, 100, 256), (64, 128, 512))
FITS = (("gru", 1), ("lstm", 2))
MODULES = ((32, 100, 128),)
WIDER = ((32, 100, 128), (32, 100, 256))
LONG = ((1, 100_000, 64),)

BOTH, TRAINING, INFERENCE = ("inference", "training"), ("training",), ("inference",)

_QUICK = {
    "sequence": ((8, 100, 128), (128, 35, 64)),
    "ragged": ((32, 100, 128),),
    "resets": ((64, 32, 64),),
    "step": ((1, 1, 64),),
    "memory": ((32, 100, 256),),
    "norm": MODULES,
    "dropout": MODULES,
    "recompute": ((1, 10_000, 64),),
    "recompute-memory": ((1, 10_000, 64),),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: `kind` says what is compared; layers of `cell` with I = H = `width`.

    Kinds: sequence (whole sequences), ragged (unequal lengths), resets, step (the module call with T = 1), session
    (`Session.push`), many (256 sessions), memory (of a training pass), fit (`recurra fit`).
    Of `recurra.nn`: module, packed, module-step, cell, cell-step (torch's own calls), penalty (backward through backward),
    norm, dropout, trace (what torch.nn lacks), recompute and recompute-memory (one long sequence). own (`recurra.OwnCell`).
    """

    kind: str
    mode: str
    cell: str
    batch: int
    steps: int
    width: int
    layers: int = 1

    @property
    def name(self) -> str:
        shape = f"{self.layers}x{self.width}" if self.kind == "fit" else f"{self.batch},{self.steps},{self.width}"
        return f"{self.kind} {self.mode} {self.cell} {shape}"

    @property
    def weights(self) -> int:
        """The numbers in the weight matrices."""
        return GATES[self.cell] * self.width * 2 * self.width

    def flops(self, valid: int | None = None) -> float:
        """Multiplications and additions of the matrix products, for `valid` of the steps (all of them if None)."""
        passes = 3 if self.mode == "training" else 1
        steps = self.batch * self.steps if valid is None else valid
        return 2.0 * passes * self.weights * steps


def rows(quick: bool, only: str | None) -> list[Row]:
    """All rows, or a few (`quick`), whose name fits the regular expression `only`."""
    chosen = [row for row in _all(quick) if only is None or re.search(only, row.name)]
    return list(dict.fromkeys(chosen))


def _all(quick: bool) -> Iterator[Row]:
    def shapes(kind: str, everything: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
        return _QUICK.get(kind, everything) if quick else everything

    for kind, modes, cells, everything in (
        ("sequence", BOTH, CELLS, SEQUENCES),
        ("ragged", BOTH, CELLS, RAGGED),
        ("resets", BOTH, CELLS, RESETS),
        ("step", INFERENCE, CELLS, STEPS),
        ("session", INFERENCE, CELLS, SESSIONS),
        ("many", INFERENCE, CELLS, MANY),
        ("memory", TRAINING, CELLS, MEMORY),
        ("module", BOTH, CELLS, MODULES),
        ("packed", BOTH, CELLS, MODULES),
        ("module-step", INFERENCE, CELLS, SESSIONS),
        ("cell", TRAINING, CELLS, MODULES),
        ("cell-step", INFERENCE, CELLS, SESSIONS),
        ("penalty", TRAINING, ("gru", "lstm"), MODULES),
        ("norm", BOTH, ("lstm",), WIDER),
        ("dropout", TRAINING, ("gru", "lstm"), WIDER),
        ("trace", BOTH, ("gru", "lstm"), MODULES),
        ("own", TRAINING, OWN, MODULES),
        ("recompute", TRAINING, ("gru", "lstm"), LONG),
        ("recompute-memory", TRAINING, ("gru", "lstm"), LONG),
    ):
        for mode in modes:
            for cell in cells:
                for shape in shapes(kind, everything):
                    yield Row(kind, mode, cell, *shape)
    for cell, layers in FITS:
        yield Row("fit", "training", cell, 32, 128, 256, layers)
