"""The verdict on a difference between classifiers agrees with McNemar's test beneath it."""

from __future__ import annotations

import numpy as np
import pytest

import recurra
from recurra.data.reading import read
from recurra.fitting import comparing
from recurra.fitting.fitted import Model
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions

ROWS = {"text": ["good", "bad"] * 150, "label": ["a", "b"] * 150}


def answers(wrong: range) -> dict[str, np.ndarray]:
    """The sums of a classifier whose answers are right but for the rows in `wrong`."""
    confusion = np.zeros((300, 2, 2))
    for row in range(300):
        confusion[row, row % 2, 1 - row % 2 if row in wrong else row % 2] = 1
    return {"nats": np.ones(300), "count": np.ones(300), "confusion": confusion}


@pytest.mark.parametrize(
    ("both", "chance", "said"),
    # 13 rows that the better one alone has wrong, and 25 or 40 of the other
    [
        (25, 0.073, "the difference from model 1 can be luck"),
        (40, 0.00027, "hardly luck"),
    ],
)
def test_what_mcnemar_takes_for_luck_is_not_called_hardly_luck(
    both: int, chance: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _ = KINDS["classify"].build(read(ROWS)[0], FitOptions(hidden=4))
    given = iter([answers(range(13)), answers(range(13, 13 + both))])
    monkeypatch.setattr(comparing, "per_row", lambda *_: next(given))
    found = recurra.compare([Model(task), Model(task)], ROWS, resamples=400, quiet=True)
    best, other = found.models
    assert best.verdict == "the best here" and said in other.verdict
    assert found.agreements[0].chance == pytest.approx(chance, rel=0.05)
    # alone the interval would have called both differences more than luck
    assert (found.agreements[0].only_one, found.agreements[0].only_other) == (both, 13)
