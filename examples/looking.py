"""Looking inside: which column at which step decided, whether the networks of an ensemble agree, and a page of all of it.

Run it: python examples/looking.py [folder]. It takes some seconds and needs no file and no network.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars

import recurra
from recurra.look import Look

STEPS = 20


def readings(series: int, seed: int) -> polars.DataFrame:
    """A table with a row a step: somewhere the heat rises or falls for four steps, and a second column means nothing."""
    drawn = np.random.default_rng(seed)
    parts = []
    for number in range(series):
        label, begin = ("falls", "rises")[number % 2], int(drawn.integers(3, STEPS - 6))
        heat = 0.2 * drawn.standard_normal(STEPS)
        heat[begin : begin + 4] += 2.0 if label == "rises" else -2.0
        columns = {"unique_id": [f"s{number}"] * STEPS, "ds": list(range(STEPS)), "heat": heat}
        parts.append(polars.DataFrame({**columns, "noise": drawn.standard_normal(STEPS), "label": [label] * STEPS}))
    return polars.concat(parts)


def main(folder: Path) -> Look:
    model = recurra.fit(
        readings(100, seed=0), out=folder / "model", epochs=4, hidden=12, members=2, probes=False, baselines=False,
        quiet=True,
    )  # fmt: skip
    new = readings(2, seed=1).filter(polars.col("unique_id") == "s1").select("heat", "noise").to_numpy()
    found = model.look(new, titles=["a new reading"])

    why = found.scenes[0].why[-1]  # of the answer itself
    assert why.columns is not None and why.members is not None
    print(f"{why.target.text}: {why.probability:.1%}")
    print("what integrated gradients give adds up to the difference, but for", f"{why.error:.2g} nats")
    for name, whole in zip(why.columns.names, why.columns.whole, strict=True):
        print(f"without {name} the answer is {np.exp(-whole):.3g} times as likely")
    step, column = np.unravel_index(why.columns.integrated.argmax(), why.columns.integrated.shape)
    print(f"what spoke for it most: {why.columns.names[column]} at step {step + 1}")
    print(f"the reasons of the two networks correlate by {why.members.agreement:.2f}")

    found.save(folder / "look.html")  # every state, gate and formula, in one file
    found.save(folder / "look.svg")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made))
