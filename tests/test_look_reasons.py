"""Reasons for every task: what integrated gradients bring adds up, of each step, each column, each network of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from networks import INPUTS
from recurra.look import look, why, words
from recurra.look.kinds import KINDS as ASKERS
from recurra.look.kinds import asker
from recurra.look.why import Why, explain
from recurra.models import WordByWord
from test_look import KINDS, ROWS, build

WAVES = np.sin(np.arange(7 * INPUTS).reshape(7, INPUTS))
ALL = {**KINDS, "regress-ensemble": WAVES, "classify-ensemble": WAVES}


def explained(name: str) -> tuple[Any, Why]:
    one = asker(build(name), ALL[name])
    with torch.no_grad():
        target = one.targets(one.run())[-1]
    return one, explain(one, target)


@pytest.mark.parametrize("name", ALL)
def test_what_the_steps_brought_is_the_whole_difference(name: str) -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1), within the error that is told, which is small."""
    _, found = explained(name)
    whole = found.value - found.without
    assert abs(found.integrated.sum() - whole) == pytest.approx(found.error, abs=1e-9)
    # beside all that the steps brought, for and against, it is little
    assert found.error <= why.EXACT * np.abs(found.integrated).sum() and np.isfinite(found.deletion).any()


def test_every_task_is_among_them() -> None:
    # one that translates word by word is built in test_look.py
    assert {type(build(name)) for name in ALL} == set(ASKERS) - {WordByWord}


SEVERAL = ("regress-fronted", "classify-fronted-both-ways", "classify-ensemble-holes", "forecast-smoothed")


@pytest.mark.parametrize("name", SEVERAL)
def test_columns_add_up_to_their_step(name: str) -> None:
    one, found = explained(name)
    columns = found.columns
    assert columns is not None and columns.names == one.told()["columns"]
    np.testing.assert_allclose(columns.integrated.sum(1), found.integrated, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(columns.gradient.sum(1), found.gradient, rtol=1e-9, atol=1e-12)


def test_a_column_that_is_deleted_stands_at_its_mean() -> None:
    one, found = explained("regress-fronted")
    assert found.columns is not None
    mean = one.first.codec.mean

    def told(changed: np.ndarray) -> float:
        return list(_numbers(one.task.predict([changed])[0]))[found.target.index]

    for column in range(INPUTS):
        changed = WAVES.copy()
        changed[:, column] = mean[column]
        assert found.columns.whole[column] == pytest.approx(found.value - told(changed), rel=1e-5, abs=1e-7)
        changed = WAVES.copy()
        changed[3, column] = mean[column]
        assert found.columns.deletion[3, column] == pytest.approx(found.value - told(changed), rel=1e-5, abs=1e-7)


def _numbers(answer: dict[str, Any]) -> list[float]:
    return [answer["value"]] if "value" in answer else list(answer["values"].values())


def test_a_forecast_is_told_by_the_columns_beside_its_series() -> None:
    one, found = explained("forecast-smoothed")
    assert found.columns is not None and found.columns.names == ["value", "p", "q", "k"]
    task, centres = one.task, one.task.codec.centres
    for place, name in enumerate("pqk"):
        level = [row | {name: centres[place]} for row in ROWS]
        lost = found.value - task.predict([level])[0]["mean"][found.target.index]
        assert found.columns.whole[1 + place] == pytest.approx(lost, rel=1e-6, abs=1e-9)


def test_long_columns_go_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = explained("regress-fronted")[1].columns
    monkeypatch.setattr(why, "EACH", 4)
    found = explained("regress-fronted")[1].columns
    assert whole is not None and found is not None and (whole.stretch, found.stretch) == (1, 2)
    np.testing.assert_allclose(found.whole, whole.whole, rtol=1e-9)
    assert np.unique(found.deletion, axis=0).shape[0] == 4


def test_members_have_reasons_of_their_own() -> None:
    one, found = explained("classify-ensemble")
    members = found.members
    assert members is not None and len(members.values) == 2
    for place, member in enumerate(one.task.members):
        alone = member.predict([WAVES], top=99)[0]["probabilities"][found.target.text]
        assert members.values[place] == pytest.approx(np.log(alone), rel=1e-6)
        gained = members.values[place] - members.withouts[place]
        assert abs(members.integrated[place].sum() - gained) == pytest.approx(members.errors[place], abs=1e-9)
    np.testing.assert_allclose(members.mean, members.integrated.mean(0))
    assert (members.spread > 0).any() and members.agreement is not None and members.agreement < 0.999
    one.task.members[1].load_state_dict(one.task.members[0].state_dict())
    again = explain(one, found.target)
    assert again.members is not None and again.members.agreement == pytest.approx(1.0)
    assert np.abs(again.members.spread).max() == pytest.approx(0.0, abs=1e-12)
    said = words.of_members(again)
    assert said is not None and "have the same reasons (mean correlation 1.00)" in said["en"]


def test_what_has_no_gradient_stands_still() -> None:
    """The convolutions of an ensemble say the same all along the way: without them the difference is the networks' alone."""
    one, found = explained("regress-ensemble")
    task = one.task
    with torch.no_grad():
        said = task.voice(one.batch.inputs.transpose(0, 1), task.voice.initial_state(1))[0]
        nothing = one.reference(one.batch.inputs)
        alone = torch.stack([member(nothing)[0] for member in task.members]).mean(0)
        mixed = (1 - task.config.share) * alone + task.config.share * said
        assert found.without == pytest.approx(float(one.value(mixed, torch.zeros(1), found.target)), rel=1e-9)


def test_they_are_told() -> None:
    told = look(build("classify-ensemble"), WAVES, why=1).to_dict()["scenes"][0]["why"][0]
    assert np.shape(told["columns"]["methods"]["integrated"]) == WAVES.shape
    assert told["columns"]["words"]["en"].endswith(".") and told["columns"]["words"]["zh"].endswith("。")
    assert np.shape(told["members"]["integrated"]) == (2, len(WAVES)) and "2 networks" in told["members"]["words"]["en"]
    plain = look(build("language-gru"), "abcad", why=1).to_dict()["scenes"][0]["why"][0]
    assert plain["columns"] is None and plain["members"] is None


@pytest.mark.parametrize("name", ["classify-ensemble-holes", "forecast-gru"])
def test_a_changed_input_is_read_once_for_all_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer is explained by what was read for the first one, and comes out as it does by itself."""
    one, alone = (asker(build(name), KINDS[name]) for _ in range(2))
    targets = one.targets(one.run().detach())
    explain(one, targets[0])
    read: list[int] = []
    answers = type(one).answers

    def noted(self: Any, inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
        if self is one and not torch.is_grad_enabled():
            read.append(len(inputs))
        return answers(self, inputs, *rest)

    monkeypatch.setattr(type(one), "answers", noted)
    found, wanted = explain(one, targets[1]), explain(alone, targets[1])
    # nothing but the input as it is, and both ends of the way to it
    assert read and set(read) == {1}
    assert found.columns is not None and wanted.columns is not None
    np.testing.assert_allclose(found.deletion, wanted.deletion, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.columns.deletion, wanted.columns.deletion, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.columns.whole, wanted.columns.whole, rtol=1e-12, atol=1e-14)
