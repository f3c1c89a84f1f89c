"""Models on a device other than the CPU: what a person hands in goes there, and what a person gets has come back.

The device is a pretended one (`pretended.py`), so its kernels are those of the CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from networks import INPUTS, NETWORKS, Network
from pretended import THERE, pretended
from recurra.cells import CELLS
from recurra.data.datasets import LabelledDataset, PairDataset, RegressionDataset, TaggedDataset, TextDataset
from recurra.fitting.fitted import Model, measure
from recurra.fitting.forecasting import series_in
from recurra.models import Task
from recurra.models.finishing import finish
from recurra.state import leaves, map_state
from recurra.streaming import Pool
from test_following import forecaster, table
from test_translator import word_by_word
from tolerances import TOLERANCES

PLAIN = [one for one in NETWORKS if not any(name in one.name for name in set(CELLS) - {"gru"})]
"""One cell of each network: where tensors are made does not depend on the cell."""
HELD = {one.name: one for one in NETWORKS}
SERIES = [np.random.default_rng(0).normal(size=(steps, INPUTS)) for steps in (6, 4)]
SENTENCES = [["abc", "lm", "no"], ["rs"]]
TEXTS = ["abcabdac", "cd"]
FORMS: dict[str, list[Any]] = {
    "language-gru": TEXTS, "classify-text-gru": TEXTS, "classify-gru-attention": TEXTS, "classify-spelled": ["a b c", "h"],
    "classify-beside-ngrams": TEXTS, "classify-series-gru": SERIES, "classify-fronted-gru-all": SERIES,
    "regress-fronted": SERIES, "classify-ensemble": SERIES, "regress-ensemble": SERIES, "tag-gru": SENTENCES,
    "tag-softmax": SENTENCES, "tag-both-ways": SENTENCES, "translate-gru": TEXTS,
}  # fmt: skip


def made(name: str) -> Task:
    return word_by_word().eval() if name == "word-by-word" else HELD[name].build()


def there(model: Any) -> Any:
    return copy.deepcopy(model).to(THERE)


def same(found: Any, expected: Any) -> None:
    for (name, leaf), wanted in zip(leaves(found).items(), leaves(expected).values(), strict=True):
        assert leaf.device == THERE, name
        assert torch.equal(leaf.cpu().nan_to_num(), wanted.nan_to_num()), name


@pytest.mark.parametrize("network", PLAIN, ids=lambda one: one.name)
@torch.no_grad()
def test_what_a_network_makes_stands_where_its_inputs_do(network: Network) -> None:
    model, inputs = network.build(), network.inputs(6, 3)
    lengths, resets = torch.tensor([6, 0, 4]), torch.zeros(6, 3, dtype=torch.bool)
    resets[2, 0] = resets[5, 2] = True
    begun = network.begin(model, 3)
    forms = [(None, None), (lengths, None), (None, resets), (lengths, resets)]
    expected = [network.run(model, inputs, begun, *form) for form in forms]
    traced = network.trace(model, inputs, begun, lengths)
    with pretended():
        model.to(THERE)
        same(model.initial_state(3), HELD[network.name].build().initial_state(3))
        given, state = inputs.to(THERE), map_state(lambda leaf: leaf.to(THERE), begun)
        for form, (outputs, after) in zip(forms, expected, strict=True):
            found = network.run(model, given, state, *(None if one is None else one.to(THERE) for one in form))
            same(found, (outputs, after))
        outputs, after, inner = network.trace(model, given, state, lengths.to(THERE))
        same((outputs, after, tuple(inner.values())), (*traced[:2], tuple(traced[2].values())))


@pytest.mark.parametrize("name", [*FORMS, "word-by-word"])
def test_answers_are_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    raw = FORMS.get(name, ["a b c", "d"])
    here = Model(made(name))
    expected = here.predict(raw)
    pieces = in_pieces(here, raw, tmp_path) if here.task.causal else None
    with pretended():
        model = Model(there(here.task))
        assert model.fingerprint == here.fingerprint
        close(model.predict(raw), expected)
        if pieces is not None:
            close(in_pieces(model, raw, tmp_path), pieces)


def close(found: Any, expected: Any) -> None:
    """The same texts, and numbers that are equal but for last bits: the CPU has shorter ways for a few steps."""
    if isinstance(expected, float):
        rel, least = TOLERANCES[torch.float32, "values"]
        assert found == pytest.approx(expected, rel=rel, abs=least)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        close(list(found.values()), list(expected.values()))
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            close(one, other)
    else:
        assert found == expected


def in_pieces(model: Model, raw: list[Any], folder: Path) -> list[Any]:
    """What a session answers to each input, its state kept in a file between them."""
    session, answers = model.session(), []
    for one in raw:
        answers.append(session.push(one))
        session.save(folder / "state")
        session = model.resume(folder / "state").fork()
    return answers


def test_tokens_drawn_and_pools() -> None:
    here = Model(made("language-gru"))
    tokens = [1, 2, 3]

    def told(model: Model) -> tuple[Any, ...]:
        pool = Pool(model.task, 3)
        outputs = [pool.advance(tokens).cpu(), Pool.of([pool.session(2), pool.session(0)]).advance([4, 5]).cpu()]
        texts = [model.generate("ab", length=9, seed=seed, temperature=t) for seed, t in ((0, 1.0), (1, 0.5), (0, 0.0))]
        return texts, *(one.tolist() for one in outputs)

    expected = told(here)
    with pretended():
        assert told(Model(there(here.task))) == expected


BESIDE = ({}, {"beside": False}, {"smoothing": True, "beside": False}, {"lookback": 24}, {"block": 3})


@pytest.mark.parametrize("options", BESIDE, ids=str)
def test_forecasts_are_those_of_the_cpu(options: dict[str, Any], tmp_path: Path) -> None:
    here = Model(forecaster(**options))
    beside = options.get("beside", True)

    def told(model: Model) -> list[Any]:
        follower = model.follow(table(30, beside=beside))
        found = [follower.forecast().to_dict(as_series=False)]
        follower.update(table(1, first=30, beside=beside))
        follower.push([(51.0, 0.0, 20.0, 4.5), (102.0, 0.0, 21.0, 5.5)] if beside else [51.0, 102.0])
        follower.save(tmp_path / "state")
        later = model.follow(table(1, 32, "bc", beside=beside), path=tmp_path / "state")
        found += [one.forecast(horizon=8).to_dict(as_series=False) for one in (follower, later)]
        found.append(model.cross_validation(table(50, beside=beside), windows=2).to_dict(as_series=False))
        return [*found, model.evaluate(table(50, beside=beside), windows=3)]

    expected = told(here)
    with pretended():
        assert told(Model(there(here.task))) == expected


def test_what_a_forecaster_learns_of_validation_data() -> None:
    model = forecaster()
    dataset = series_in(model, table(40))
    with pretended():
        other = there(model)
        counted = finish(other, dataset)
        found = other.share.cpu(), other.offsets.cpu()
    assert finish(model, dataset) == counted > 0
    assert torch.equal(found[0], model.share)
    assert torch.equal(found[1], model.offsets)


LINES = list(range(1, 9))
DATA: dict[str, Callable[[], Any]] = {
    "language-gru": lambda: TextDataset(["abcdabdcba" * 8], "texts"),
    "classify-text-gru": lambda: LabelledDataset(TEXTS * 4, ["a", "b"] * 4, LINES, "rows"),
    "regress-fronted": lambda: RegressionDataset(SERIES * 4, [(1.0, 2.0), (0.5, 3.0)] * 4, ("a", "b"), LINES, "rows"),
    "classify-ensemble": lambda: LabelledDataset(SERIES * 4, ["a", "b"] * 4, LINES, "rows"),
    "tag-gru": lambda: TaggedDataset(SENTENCES * 4, [["B-a", "I-a", "O"], ["O"]] * 4, ["x", "y"] * 4, LINES, "rows"),
    "translate-gru": lambda: PairDataset(TEXTS * 4, ["abc", "dd"] * 4, LINES, "rows"),
    "forecast": lambda: series_in(forecaster(), table(60)),
}


@pytest.mark.parametrize("name", DATA)
@torch.no_grad()
def test_losses_and_metrics(name: str) -> None:
    """What a step of training asks for, its gradient left out, and a pass of measuring."""
    here, dataset = forecaster() if name == "forecast" else made(name), DATA[name]()

    def told(task: Task) -> tuple[float, int, dict[str, float]]:
        batch = next(iter(task.batches(task.feed(dataset, rows=4, steps=16, training=True))))
        total, count, _ = task.step_loss(batch)
        return float(total), count, measure(task, dataset)[0]

    expected = told(here)
    with pretended():
        assert told(there(here)) == expected


def test_two_devices_do_not_meet_unseen() -> None:
    """What the pretended device is for: it refuses what a real one refuses."""
    with pretended():
        far, near = torch.ones(3, device=THERE), torch.ones(3)
        with pytest.raises(RuntimeError, match="meet"):
            torch.add(far, near)
        with pytest.raises(TypeError, match="brought back"):
            far.numpy()
        with pytest.raises(TypeError, match="brought back"):
            np.asarray(far)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=THERE, generator=torch.Generator())
        assert (far * torch.tensor(2.0))[torch.tensor([0])].tolist() == [2.0]
