"""What is said of models as streams: the cure for one that reads both ways, and where a state goes on."""

from __future__ import annotations

import pytest
import torch

import recurra
from recurra.data.reading import read
from recurra.errors import UsageError
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.models import Task
from recurra.state import leaves
from recurra.training import streamed

TAGGED = {"tokens": [["a", "b"], ["c"]] * 4, "tags": [["O", "B-X"], ["B-Y"]] * 4}
PAIRS = {"source": [f"a b {n}" for n in range(30)], "target": [f"A B {n}" for n in range(30)]}


def built(data: dict, **choices: object) -> Task:
    dataset, guess, _ = read(data)
    return KINDS[guess.task].build(dataset, FitOptions.from_user(hidden=4, **choices))[0]


def test_the_cure_for_a_model_that_reads_both_ways_is_the_option_that_there_is() -> None:
    task = built(TAGGED)
    for stream in (recurra.Session, lambda model: recurra.Pool(model, 2)):
        with pytest.raises(UsageError, match="fit a model with --causal, which reads forward only"):
            stream(task)
    recurra.Session(built(TAGGED, bidirectional=False))


def test_word_by_word_the_state_goes_on_and_nothing_else_is_said() -> None:
    dataset, _, _ = read(PAIRS)
    task = built(PAIRS, form="word-by-word")
    whole, parts = recurra.Session(task), recurra.Session(task)
    whole.push("a b a b")
    parts.push("a b")
    parts.push("a b")
    for one, other in zip(leaves(whole.state).values(), leaves(parts.state).values(), strict=True):
        assert torch.equal(one, other)
    [said] = streamed(task, dataset, 16)["sentences"]
    assert "begins anew" not in said and "sentences that stand by themselves" in said
    [said] = streamed(built(PAIRS), dataset, 16)["sentences"]
    assert "begins anew" in said
