"""Why a model answered so: each method against plain torch, or against the model itself with the step taken out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from networks import NETWORKS
from recurra.look import flow, why, words
from recurra.look.flow import flow_of, memory_of, saturation
from recurra.look.kinds import Target, asker
from recurra.look.parts import parts_of
from recurra.look.units import order_of, plane_of
from recurra.look.why import disagreeing, explain
from recurra.state import leaves
from recurra.training.memory import state_gradients
from test_look import KINDS, build


def asked(name: str, raw: Any = None) -> tuple[Any, Target]:
    """An input of a network, and the most telling answer."""
    one = asker(build(name), KINDS.get(name) if raw is None else raw)
    with torch.no_grad():
        return one, one.targets(one.run())[-1]


def logs(task: Any, raw: Any, target: Target) -> float:
    """The value of a target by way of `predict`: the logarithm of a class's or tag's probability, or a number."""
    answer = task.predict([raw], top=99)[0]
    if "probabilities" in answer:
        return float(np.log(answer["probabilities"][target.text]))
    if "next" in answer:
        return float(np.log(next(each["probability"] for each in answer["next"] if each["token"] == target.text)))
    if "mean" in answer:
        return answer["mean"][target.index]
    return answer["values"][target.text]


DELETED = (
    "language-lstm", "classify-text-mlstm", "classify-both-ways", "classify-spelled-beside-ngrams", "regress-fronted",
    "classify-ensemble-holes", "forecast-plain", "forecast-gru",
)  # fmt: skip


@pytest.mark.parametrize("name", DELETED)
def test_deletion_is_the_model_without_the_step(name: str) -> None:
    """All shortened inputs at once give what each gives alone."""
    raw = KINDS.get(name, KINDS["forecast-gru"])
    one, target = asked(name, raw)
    found = explain(one, target)
    assert found.value == pytest.approx(logs(one.task, raw, target), rel=1e-6)
    parts = raw.split() if name.startswith("classify-spelled") else list(raw)
    for step in range(len(parts)):
        left = parts[:step] + parts[step + 1 :]
        again = " ".join(left) if " " in raw else "".join(left) if isinstance(raw, str) else left
        again = np.array(again) if isinstance(raw, np.ndarray) else again
        assert found.value - found.deletion[step] == pytest.approx(logs(one.task, again, target), rel=1e-6, abs=1e-9)


def test_a_tag_is_told_by_the_other_tokens() -> None:
    """Taken out, a token moves the one that is asked about; that one itself becomes an unknown one."""
    one = asker(build("tag-both-ways"), ["abc", "def", "zz"])
    target = Target(1, 2, "O", 3)
    found = explain(one, target)

    def marginal(tokens: list[str], step: int) -> float:
        task = one.task
        with torch.no_grad():
            scores = task(task.encode([tokens]).inputs)[0][0, :, :3]
            field = task.field
            paths = torch.cartesian_prod(*[torch.arange(3)] * len(tokens)).reshape(-1, len(tokens))
            total = field["start"][paths[:, 0]] + field["end"][paths[:, -1]]
            for at in range(len(tokens)):
                total = total + scores[at, paths[:, at]]
                total = total + (field["transitions"][paths[:, at - 1], paths[:, at]] if at else 0.0)
            return float(total[paths[:, step] == 2].logsumexp(0) - total.logsumexp(0))

    assert found.value == pytest.approx(marginal(["abc", "def", "zz"], 1), rel=1e-9)
    told = {each["index"]: each["p"] for each in one.outputs(one.run().detach())[1]}
    # six digits are told
    assert told[2] == pytest.approx(np.exp(found.value), rel=1e-5) and sum(told.values()) == pytest.approx(
        1.0, rel=1e-5
    )
    assert found.value - found.deletion[0] == pytest.approx(marginal(["def", "zz"], 0), rel=1e-9)
    assert found.value - found.deletion[2] == pytest.approx(marginal(["abc", "def"], 1), rel=1e-9)


def test_gradients_are_torchs() -> None:
    """Of a text by its embedding, of numbers by themselves."""
    one, target = asked("language-lstm")
    task, tokens = one.task, one.batch.inputs
    x = task.embedding[tokens[0]].detach()[:, None].requires_grad_()
    hidden, _ = task.stack(x, task.stack.initial_state(1))
    hidden = hidden if task.narrow is None else hidden @ task.narrow.T
    value = (hidden[-1, 0] @ task.embedding.T + task.bias).log_softmax(0)[target.index]
    (gradient,) = torch.autograd.grad(value, x)
    found = explain(one, target)
    np.testing.assert_allclose(found.gradient, (gradient * x).sum(-1)[:, 0].detach().numpy(), rtol=1e-9, atol=1e-12)

    one, target = asked("regress-fronted")
    x = one.batch.inputs.clone().requires_grad_()
    value = one.value(one.task(x)[0], torch.zeros(1), target)[0]
    (gradient,) = torch.autograd.grad(value, x)
    found = explain(one, target)
    np.testing.assert_allclose(found.gradient, (gradient * x).sum(-1)[0].detach().numpy(), rtol=1e-9, atol=1e-12)


def test_a_long_input_is_explained_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches are taken out, gradients go over the last steps alone, and each says so."""
    raw = "abcdefgh" * 3
    one, target = asked("language-gru", raw)
    whole = explain(one, target)
    monkeypatch.setattr(why, "EACH", 8)
    monkeypatch.setattr(why, "WINDOW", 10)
    found = explain(one, target)
    assert found.stretch == 3 and whole.stretch == 1
    rest = logs(one.task, raw[:21], target)
    assert found.deletion[-3:].sum() == pytest.approx(found.value - rest, rel=1e-9)
    assert np.isnan(found.gradient[:14]).all() and np.isfinite(found.gradient[14:]).all()
    np.testing.assert_allclose(found.gradient[14:], whole.gradient[14:], rtol=1e-9)


def test_methods_that_disagree_are_marked() -> None:
    one, other = np.array([1.0, 0.0, 0.5, np.nan]), np.array([0.0, 0.1, 2.0, 3.0])
    assert disagreeing([one, one]) == []
    assert disagreeing([one, other / 3]) == [0]
    assert disagreeing([np.zeros(4), other]) == []


# ---- through time


@pytest.mark.parametrize("name", ["language-lstm", "language-mingru", "classify-text-gru"])
def test_the_flow_is_the_gradient_of_every_state(name: str) -> None:
    """Beside the exact gradients that training measures memory with: the same norms, of all layers together."""
    one, target = asked(name, "abcdab")
    answers = torch.tensor([[target.index]]) if name.startswith("language") else torch.tensor([target.index])
    batch = type(one.batch)(one.batch.inputs, answers)
    wanted = []
    for gradient in state_gradients(one.task, batch):
        squares = [leaf.square().sum() for key, leaf in leaves(gradient).items() if not key.startswith("summary")]
        wanted.append(float(torch.stack(squares).sum().sqrt()))
    found = flow_of(one, target, parts_of(one.task))
    assert found is not None
    together = np.sqrt(sum(norms**2 for norms in found.norms.values()))
    # the last of them, before the first step, is the initial state's, which no step comes to
    np.testing.assert_allclose(together[-2::-1], wanted[:-1], rtol=1e-9)
    assert together[-1] == 0


def test_both_directions_are_followed() -> None:
    one, target = asked("classify-both-ways")
    found = flow_of(one, target, parts_of(one.task))
    assert found is not None
    ahead, back = found.norms["0", "ahead"], found.norms["0", "back"]
    # the last state of each direction leads nowhere
    assert ahead[-1] == 0 and back[0] == 0 and (ahead[:-1] > 0).all() and (back[1:] > 0).all()


def test_a_long_flow_goes_over_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    one, target = asked("language-gru", "abcdefgh")
    parts = parts_of(one.task)
    whole = flow_of(one, target, parts)
    monkeypatch.setattr(flow, "MOST", 3)
    found = flow_of(one, target, parts)
    assert whole is not None and found is not None
    for key, norms in found.norms.items():
        assert np.isnan(norms[:5]).all()
        np.testing.assert_allclose(norms[5:], whole.norms[key][5:], rtol=1e-9)
    both, target = asked("classify-both-ways")
    assert flow_of(both, target, parts_of(both.task)) is None


def test_memory_and_saturation() -> None:
    assert memory_of(np.array([0.0, 0.5, 1.0, 100.0, 10.0, 0.0])) == 3
    assert memory_of(np.array([0.0, 10.0, 0.5]), reverse=True) == 2
    assert memory_of(np.zeros(3)) is None
    gates = {
        "z": np.array([[0.05, 0.95], [0.5, 1.0]]),
        "n": np.array([[-1.0, 0.0], [0.95, 0.0]]),
        "q": np.full((1, 2), 3.0),
    }
    assert saturation(gates) == {"z": {"shut": 0.25, "open": 0.5}, "n": {"low": 0.25, "high": 0.25}}


# ---- in words


def test_words_name_the_stretch_that_mattered_most() -> None:
    task = build("classify-text-gru")
    one = asker(task, "手机坏了")
    target = one.targets(one.run().detach())[-1]
    found = explain(one, target)
    said = words.of_why(one, found, ["手", "机", "坏", "了"])
    best = max(
        ((start, end) for start in range(4) for end in range(start + 1, min(4, start + 3) + 1)),
        key=lambda span: abs(found.value - why.without(one, target, [span])[0]) / np.sqrt(span[1] - span[0]),
    )
    text = "手机坏了"[best[0] : best[1]]
    rest = np.exp(why.without(one, target, [best])[0])
    if abs(np.exp(found.value) - rest) < words.LITTLE:
        assert said["en"].startswith("No short stretch") and said["zh"].startswith("没有哪")
    else:
        verb = "raised" if np.exp(found.value) > rest else "lowered"
        assert said["en"].startswith(f"“{text}” {verb} “{target.text}” from {100 * rest:.0f} %")
        assert said["zh"].startswith(f"“{text}”把“{target.text}”从 {100 * rest:.0f} %")


def test_words_claim_nothing_of_what_was_not_tried() -> None:
    """Of a single step nothing is left without it, and a number that stays the same was neither raised nor lowered."""
    one, target = asked("classify-text-gru", "坏")
    assert words.of_why(one, explain(one, target), ["坏"])["en"].startswith("Nothing of the input can be taken out")
    one, target = asked("classify-text-gru", "…，")
    assert words.of_why(one, explain(one, target), ["…", "，"])["zh"].startswith("输入中没有可以单独去掉的部分")
    place = words._place(0, 1)
    assert words._number(place, words._quoted("height"), 1.85209, 1.85211) is None
    told = words._number(place, words._quoted("height"), 1.852, 1.853)
    assert told is not None and told["en"] == "Step 1 raised “height” from 1.852 to 1.853."


def test_words_of_a_tag_say_whose_it_is() -> None:
    name = next(name for name in KINDS if name.startswith("tag"))
    raw = KINDS[name]
    one = asker(build(name), raw)
    texts = one.told()["texts"]
    for target in one.targets(one.run().detach()):
        said = words.of_why(one, explain(one, target), texts)
        own = texts[target.step]
        assert (f"“{target.text}” for “{own}”" in said["en"]) == one.moves(target), said
        assert (f"“{own}”的“{target.text}”" in said["zh"]) == one.moves(target), said


def of_layers(**layers: list[float]) -> str:
    """What is said of layers with such norms after each step."""
    norms = {(name, "ahead"): np.array(each) for name, each in layers.items()}
    memory = {key: memory_of(each) for key, each in norms.items()}
    return words.of_flow(
        flow.Flow(norms, memory, {key: flow._left(each, 1, reverse=False) for key, each in norms.items()})
    )["en"]


def test_words_of_the_flow() -> None:
    assert of_layers(a=[0.002, 0.01, 1.0, 0.0]) == (
        "From 3 steps back 0.2 % of the signal is left; a hundredth of it reaches back 2 steps."
    )
    # too little for single precision is not none: what is nearer comes back
    assert of_layers(a=[0.0, 1e-45, 0.5, 1.0]) == (
        "From 3 steps back nothing measurable of the signal is left; a hundredth of it reaches back 1 step."
    )
    assert of_layers(a=[0.0, 0.0, 0.0]) == "No signal comes back through the states."
    # a decoder has steps of its own, which are not those of the input
    assert of_layers(encoder=[0.4, 0.5, 0.6, 1.0], decoder=[0.9, 1.0]) == (
        "From 3 steps back 40 % of the signal is left; a hundredth of it reaches back 3 steps."
    )


@pytest.mark.parametrize(
    ("texts", "spans"),
    [
        (list("手机，坏"), ["坏", "手", "手机", "机"]),
        (list("an ox"), ["an", "ox"]),
        (["the", "cat", "."], ["cat", "the", "thecat"]),
    ],
)
def test_stretches_are_words_or_neighbours(texts: list[str], spans: list[str]) -> None:
    found = words._spans(texts, len(texts))
    assert sorted("".join(texts[start:end]) for start, end in found) == spans


# ---- units


def test_units_that_go_together_stand_together() -> None:
    random = np.random.default_rng(0)
    one, other = random.standard_normal((2, 50))
    noise = 0.1 * random.standard_normal((50, 6))
    states = np.stack([one, other, one, other, one, other], axis=1) + noise
    states = np.concatenate([states, np.ones((50, 1))], axis=1)
    order = order_of(states)
    assert sorted(order) == list(range(7)) and order[-1] == 6
    groups = ["".join(str(unit % 2) for unit in order[:6])]
    assert groups[0] in ("000111", "111000")


def test_the_plane_is_that_of_the_principal_components() -> None:
    states = np.random.default_rng(0).standard_normal((40, 5)) * [5, 3, 1, 0.5, 0.1]
    plane = plane_of(states)
    values, vectors = np.linalg.eigh(np.cov(states.T))
    np.testing.assert_allclose(plane.explained, values[::-1][:2] / values.sum(), rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(plane.axes * vectors.T[::-1][:2], axis=1)), 1.0, rtol=1e-9)
    np.testing.assert_allclose(plane.of(states).mean(axis=0), 0.0, atol=1e-6)
    assert plane_of(np.ones((3, 1))).of(np.ones((3, 1))).shape == (3, 2)


assert {network.name for network in NETWORKS} >= set(KINDS), "the table of networks has them all"
