"""What is said of models as streams: the cure for one that reads both ways, and where a state goes on."""

from __future__ import annotations

import pytest

import recurra
from recurra.data.reading import read
from recurra.errors import UsageError
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.models import Task

TAGGED = {"tokens": [["a", "b"], ["c"]] * 4, "tags": [["O", "B-X"], ["B-Y"]] * 4}


def built(data: dict, **choices: object) -> Task:
    dataset, guess, _ = read(data)
    return KINDS[guess.task].build(dataset, FitOptions.from_user(hidden=4, **choices))[0]


def test_the_cure_for_a_model_that_reads_both_ways_is_the_option_that_there_is() -> None:
    task = built(TAGGED)
    for stream in (recurra.Session, lambda model: recurra.Pool(model, 2)):
        with pytest.raises(UsageError, match="fit a model with --causal, which reads forward only"):
            stream(task)
    recurra.Session(built(TAGGED, bidirectional=False))
