"""How often a device other than the CPU is waited for: what goes to it and comes back in a step of training and a batch.

Counted on a pretended device (`pretended.py`). What is needed: the batch goes there, the loss and the norm of its gradient
come back together. A count of losses that only the device knows is one wait more; so are words told apart by their
characters (as many as differ), and the spread of a random field's scores, which chooses how it is summed.
"""

from __future__ import annotations

from typing import Any

import pytest

from pretended import counted, pretended
from recurra.data.datasets import PairDataset
from recurra.fitting.fitted import Model, measure
from recurra.training import Recipe, train
from test_following import forecaster, table
from test_other_device import DATA, FORMS, LINES, made, there

BACK = {"down": 1}
"""Loss and norm of a step."""
STEPS: dict[str, dict[str, int]] = {
    "language-gru": {"up": 2} | BACK,
    "classify-text-gru": {"up": 2} | BACK,
    "regress-fronted": {"up": 2} | BACK,
    "classify-ensemble": {"up": 2} | BACK,
    "tag-gru": {"up": 2, "unique_dim": 1, "_local_scalar_dense": 2} | BACK,
    "translate-gru": {"up": 2, "nonzero": 1} | BACK,
    "word-by-word": {"up": 2, "_local_scalar_dense": 1} | BACK,
    # inputs, lengths, targets, and four of the forecasts' places and what is known there
    "forecast": {"up": 7, "_local_scalar_dense": 1} | BACK,
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_training_waits_once(name: str) -> None:
    data = (
        PairDataset(["a b", "d e"] * 4, ["a b", "d e"] * 4, LINES, "rows") if name == "word-by-word" else DATA[name]()
    )
    seen: list[dict[str, int]] = []
    with pretended():
        model = there(forecaster() if name == "forecast" else made(name))
        feed = model.feed(data, rows=4, steps=16, training=True)

        def on_step(event: dict[str, Any], progress: float) -> None:
            seen.append({} if "valid" in event else traffic.told())

        # some steps, of which the first is followed by no validation
        recipe = Recipe(epochs=4, evaluations=1)
        with counted() as traffic:
            train(model, feed, feed, recipe, on_step=on_step, stop=lambda: bool(seen))
    assert seen[0] == STEPS[name]


def test_parts_of_a_step_come_back_together() -> None:
    seen: list[dict[str, int]] = []
    with pretended():
        model = there(made("language-gru"))
        feed = model.feed(DATA["language-gru"](), rows=4, steps=4, training=True)
        with counted() as traffic:
            train(
                model, feed, feed, Recipe(epochs=4, accumulate=2),
                on_step=lambda event, progress: seen.append(traffic.told()), stop=lambda: bool(seen),
            )  # fmt: skip
    assert seen[0] == {"up": 4} | BACK


BATCHES: dict[str, dict[str, int]] = {
    # lengths and answers
    "language-gru": {"up": 2, "down": 2},
    "classify-text-gru": {"up": 2, "down": 2},
    "classify-fronted-gru-all": {"up": 2, "down": 2},
    "regress-fronted": {"up": 2, "down": 2},
    # lengths, tags and labels; which words differ
    "tag-softmax": {"up": 3, "down": 3, "unique_dim": 1},
    "word-by-word": {"up": 3, "down": 3},
}


@pytest.mark.parametrize("name", BATCHES)
def test_an_answered_batch_comes_back_once(name: str) -> None:
    with pretended():
        model = Model(there(made(name)))
        with counted() as traffic:
            model.predict(FORMS.get(name, ["a b c", "d"]))
    assert traffic.told() == BATCHES[name]


def test_a_token_of_a_translation_is_looked_up_here() -> None:
    """For each token of the longest: the best ways on, what they go on from, and their tokens come back, and no more."""
    with pretended():
        model = Model(there(made("translate-gru")))
        with counted() as traffic:
            model.predict(["abc"], beam=2)
        tokens = (traffic.down - 1) // 3
        assert tokens > 1
        assert traffic.told() == {"up": 1 + 4 * tokens, "down": 1 + 3 * tokens}


def test_a_row_of_series_goes_there_alone() -> None:
    with pretended():
        follower = Model(there(forecaster(beside=False))).follow(table(30, beside=False))
        follower.push([51.0, 102.0])
        with counted() as traffic:
            follower.push([52.0, 104.0])
    assert traffic.told() == {"up": 1, "down": 0}


def test_what_is_measured_comes_back_at_the_end() -> None:
    """As much for many batches as for one."""

    def told(rows: int) -> dict[str, int]:
        with pretended(), counted() as traffic:
            measure(there(made("regress-fronted")), DATA["regress-fronted"](), rows)
        return {what: count for what, count in traffic.told().items() if what != "up"}

    assert told(1) == told(8)
