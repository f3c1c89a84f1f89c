"""Series classified, told in numbers and read as they come: three small things to do with a sequence of measurements.

Run it: python examples/series.py [folder for the models]. It takes under a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import recurra


def pulses(rows: int, seed: int) -> tuple[list[np.ndarray], list[str], list[float]]:
    """Two channels of noise with a pulse, narrow or wide; now and then a sensor says nothing."""
    random = np.random.default_rng(seed)
    series, labels, heights = [], [], []
    for row in range(rows):
        steps, wide = int(random.integers(30, 50)), row % 2 == 1
        height, place = random.uniform(1, 3), random.uniform(10, steps - 10)
        time = np.arange(steps)
        pulse = height * np.exp(-(((time - place) / (5.0 if wide else 1.5)) ** 2))
        values = np.stack([pulse, 0.3 * pulse], axis=1) + 0.1 * random.normal(size=(steps, 2))
        values[random.random(values.shape) < 0.03] = np.nan
        series.append(values)
        labels.append("wide" if wide else "narrow")
        heights.append(height)
    return series, labels, heights


def main(folder: Path) -> tuple[float, float]:
    series, labels, heights = pulses(120, seed=0)
    new, truth, new_heights = pulses(60, seed=1)

    small = {"epochs": 6, "hidden": 16, "baselines": False, "quiet": True}

    classifier = recurra.fit((series, labels), out=folder / "shapes", **small)
    accuracy = classifier.evaluate((new, truth), quiet=True)["accuracy"]
    print(f"classes: {accuracy:.1%} right on new series")

    regressor = recurra.fit((series, heights), task="regress", out=folder / "heights", **small)
    explained = regressor.evaluate((new, new_heights), quiet=True)["r2"]
    print(f"numbers: {explained:.1%} of the variance explained")

    # the same answer, step by step: convolutions, filled values and counts are all in the state
    session = classifier.session()
    answers = [session.push(piece) for piece in np.array_split(new[0], 4)]
    print("piece by piece:", ", ".join(answer["label"] for answer in answers))
    assert answers[-1] == classifier.predict([new[0]])[0]
    return accuracy, explained


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made))
