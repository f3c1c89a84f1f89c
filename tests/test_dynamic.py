"""A language model that learns on while it is measured, and the cache beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import recurra
from recurra.baselines import NGramCache
from recurra.errors import DataError, UsageError
from recurra.fitting.fitted import Model
from recurra.models import fingerprint

TEXT = "the cat sat on the mat and the dog sat on the log; " * 60
OTHER = "zwölf boxkämpfer jagen viktor quer über den großen sylter deich. " * 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("models") / "cats"
    return recurra.fit(
        [TEXT, OTHER[:130]], valid=[TEXT[:300]], out=out, epochs=3, hidden=24, baselines=False, quiet=True
    )


def test_at_no_rate_it_is_the_plain_measure(model: Model) -> None:
    plain = model.evaluate([OTHER])
    tiny = model.evaluate([OTHER], dynamic=1e-12)
    assert tiny.keys() == plain.keys()
    for name, value in plain.items():
        assert tiny[name] == pytest.approx(value, rel=1e-5)


def test_it_learns_what_repeats_itself_and_stays_as_it_was(model: Model) -> None:
    before = fingerprint(model.task)
    plain, learnt = model.evaluate([OTHER]), model.evaluate([OTHER], dynamic=0.003)
    assert learnt["loss"] < plain["loss"] - 0.1
    assert fingerprint(model.task) == before
    assert model.evaluate([OTHER]) == plain


def test_a_cache_finds_what_stood_before(model: Model) -> None:
    plain, cached = model.evaluate([OTHER]), model.evaluate([OTHER], cache=True)
    assert cached["loss"] < plain["loss"] - 0.5
    assert cached["accuracy"] == plain["accuracy"]


def test_the_first_step_is_measured_before_it_is_learnt(model: Model) -> None:
    """No token is known before it was predicted: one segment alone costs what it costs without learning."""
    piece = [OTHER[:20]]
    assert model.evaluate(piece, dynamic=0.1)["loss"] == pytest.approx(model.evaluate(piece)["loss"], rel=1e-6)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_cache_shares_out_one(order: int) -> None:
    """Over all tokens that may come, its probabilities add up to one, and so do the mixed ones."""
    read = [0, 1, 2, 0, 1, 2, 0, 1]
    shares = [0.1, 0.2, 0.3, 0.4]
    total = 0.0
    for token in range(4):
        cache = NGramCache(4, order)
        for past in read:
            cache.mixed(past, 0.25)
        total += cache.mixed(token, shares[token])
    assert total == pytest.approx(1.0)


def test_the_cache_by_hand() -> None:
    """Order 0 after "a a b": a came twice, b once, two different tokens; escape 2 of 5 to the even share of 1/4."""
    cache = NGramCache(4, 0)
    for token in (0, 0, 1):
        cache.mixed(token, 0.5)
    found, longest = cache._of(0)
    assert longest == 0
    assert found == pytest.approx((2 + 2 * 0.25) / 5)


def test_a_probability_of_zero_is_no_end(model: Model) -> None:
    cache = NGramCache(3)
    assert math.isfinite(math.log(cache.mixed(1, 0.0)))


def test_refusals(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--dynamic is out of range. Got: 2"):
        model.evaluate([OTHER], dynamic=2.0)
    rows: Any = [("good", "a"), ("bad", "b")] * 10
    classifier = recurra.fit(rows, valid=rows, out=tmp_path / "c", epochs=1, hidden=4, baselines=False, quiet=True)
    with pytest.raises(UsageError, match="Only a language model"):
        classifier.evaluate(rows, cache=True)


def test_falling_apart_is_said(model: Model) -> None:
    broken = Model(recurra.load(model.folder).task) if model.folder else model
    with torch.no_grad():
        broken.task.bias.fill_(float("nan"))  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(DataError, match="fell apart"):
        broken.evaluate([OTHER], dynamic=0.1)
