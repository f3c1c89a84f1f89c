"""A trained model measured as it will be streamed: the numbers against plain ones, the gradients, and what must warn."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import recurra
from networks import CODEC, HIDDEN, INPUTS, NETWORKS, Network
from own_steps import make_minimal
from recurra.data.batches import Batch
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.data.text_codec import TextCodec
from recurra.layers import Block, Stack, StackConfig
from recurra.models import LanguageModel, LanguageModelConfig, Task
from recurra.state import detach, leaves, map_state
from recurra.training import evaluate, streamed
from recurra.training.memory import context_reach, gradient_norms, gradient_reach, state_gradients
from recurra.training.streamed import TOKENS, _drawn, _parts
from recurra.training.wording import sentences_of, warnings_of
from tolerances import assert_close

# taggers and translators have sentences of their own, and tests of their own
TASKS = [network for network in NETWORKS if network.name.startswith(("language", "classify"))]
CARRYING = [network for network in TASKS if network.build().causal and "feedforward" not in network.name]
# tokens are no numbers, counts above thresholds have no slope, and no gradient goes through what keeps xLSTM in range
SMOOTH = [each for each in CARRYING if not any(part in each.name for part in ("ngrams", "ensemble", "slstm", "mlstm"))]
WHOLE_NUMBERS = [each for each in CARRYING if "ngrams" in each.name]


def by_name(name: str) -> Any:
    return next(network for network in TASKS if network.name == name).build()


def text(count: int, seed: int = 0) -> TextDataset:
    return TextDataset(["".join(random.Random(seed).choices("abcdefgh", k=count))], "letters")


def labelled(task: Any, rows: int, seed: int = 0, longest: int = 9) -> LabelledDataset:
    """Rows of unequal length that a classifier of the table reads."""
    draw = random.Random(seed)
    lengths = [draw.randint(1, longest) for _ in range(rows)]
    if getattr(task.config, "member", task.config).features is None:
        inputs: Any = ["".join(draw.choices("abcdefgh", k=length)) for length in lengths]
    else:
        inputs = [torch.randn(length, INPUTS).numpy() for length in lengths]
    return LabelledDataset(inputs, draw.choices("abc", k=rows), list(range(rows)), "rows")


def data_for(task: Task) -> Any:
    return text(600) if isinstance(task, LanguageModel) else labelled(task, 70)


# ---- gradients through time


def batch_for(task: Task, inputs: Tensor) -> Batch:
    """Rows [T, B] that end together, the second of them with one step and the third with one less than the others."""
    steps, rows = inputs.shape[:2]
    targets = torch.randint(0, CODEC.size, (rows, 1)) if isinstance(task, LanguageModel) else torch.arange(rows) % 3
    return Batch(inputs.transpose(0, 1), targets, torch.tensor([steps, 1, steps - 1]))


def loss_from(task: Task, batch: Batch, start: int, state: Any) -> Tensor:
    """The loss at the end from the state before step `start` on, in one piece a row."""
    assert batch.lengths is not None and batch.targets is not None
    steps, total = batch.inputs.shape[1], torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(batch.lengths.tolist()):
        one = slice(row, row + 1)
        own = map_state(lambda leaf, one=one: leaf[one], state)
        outputs, _ = task(batch.inputs[one, max(start, steps - length) :], own)
        outputs = outputs[:, -1:] if isinstance(task, LanguageModel) else outputs
        total = total + task.loss(outputs, Batch(batch.inputs[one, -1:], batch.targets[one]))[0]
    return total


@pytest.mark.parametrize("network", SMOOTH, ids=lambda network: network.name)
def test_gradients_of_states_are_those_of_finite_differences(network: Network) -> None:
    task, steps = network.build(torch.float64), 5
    batch = batch_for(task, network.inputs(steps, 3, torch.float64))
    begin = map_state(lambda leaf: 0.3 * torch.rand_like(leaf), task.initial_state(3))
    found = state_gradients(task, batch, begin)
    assert len(found) == steps
    assert batch.lengths is not None
    for start in range(steps):
        gradient = found[steps - 1 - start]
        done = (batch.lengths - (steps - start)).clamp(min=0)
        with torch.no_grad():
            rows = [
                task(batch.inputs[row : row + 1, steps - int(length) : start], _row(begin, row))[1]
                if count
                else _row(begin, row)
                for row, (length, count) in enumerate(zip(batch.lengths, done, strict=True))
            ]
            state = recurra.merge(rows)
            way = map_state(torch.randn_like, state)
            ahead, behind = (
                loss_from(task, batch, start, map_state(lambda s, v, e=e: s + e * v, state, way)) for e in (1e-5, -1e-5)
            )
        slope = sum(
            float((one * two).sum()) for one, two in zip(leaves(gradient).values(), leaves(way).values(), strict=True)
        )
        assert slope == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-6, abs=1e-9)


def _row(state: Any, row: int) -> Any:
    return map_state(lambda leaf: leaf[row : row + 1], state)


@pytest.mark.parametrize("network", WHOLE_NUMBERS, ids=lambda network: network.name)
def test_whole_numbers_of_a_state_have_no_gradient(network: Network) -> None:
    task = network.build(torch.float64)
    batch = batch_for(task, network.inputs(5, 3, torch.float64))
    for state in state_gradients(task, batch):
        found = leaves(state)
        assert not found["ngrams.recent"].any() and found["ngrams.sums"].abs().sum() > 0


@pytest.mark.parametrize("network", [e for e in CARRYING if e not in WHOLE_NUMBERS], ids=lambda network: network.name)
def test_the_gradient_of_the_first_state_is_that_of_the_whole_sequence(network: Network) -> None:
    task = network.build(torch.float64)
    batch = batch_for(task, network.inputs(6, 3, torch.float64))
    begin = map_state(lambda leaf: (0.3 * torch.rand_like(leaf)).requires_grad_(), task.initial_state(3))
    loss_from(task, batch, 0, begin).backward()
    found = state_gradients(task, batch, begin)
    for one, two in zip(leaves(found[-1]).values(), leaves(begin).values(), strict=True):
        assert_close(one, torch.zeros_like(two) if two.grad is None else two.grad, "gradients")
    assert all(parameter.grad is None or parameter.requires_grad for parameter in task.parameters())


def test_a_cell_of_ones_own_too() -> None:
    task = own_model().double()
    inputs = torch.randint(0, CODEC.size, (2, 7))
    batch = Batch(inputs, inputs[:, :1], torch.tensor([7, 7]))
    begin = map_state(lambda leaf: torch.rand_like(leaf).requires_grad_(), task.initial_state(2))
    loss_from(task, batch, 0, begin).backward()
    assert_close(leaves(state_gradients(task, batch, begin)[-1])["0.h"], leaves(begin)["0.h"].grad, "gradients")  # pyright: ignore[reportArgumentType]
    assert len(streamed(own_model(), text(600), 8)["sentences"]) == 4


def own_model() -> LanguageModel:
    """A language model whose stack is a cell of one's own."""
    task = LanguageModel(
        LanguageModelConfig(stack=StackConfig(hidden=HIDDEN), vocabulary=CODEC.size, embedding=INPUTS), CODEC
    )
    task.stack = Stack([Block(make_minimal(INPUTS, HIDDEN))])
    return task


def decaying(factor: float, activation: str = "tanh", hidden: int = 4) -> LanguageModel:
    """Inputs say nothing; what is in the state is multiplied by `factor` at each step."""
    stack = StackConfig(cell="elman", hidden=hidden, activation=activation)
    task = LanguageModel(LanguageModelConfig(stack=stack, vocabulary=CODEC.size, embedding=3, tied=False), CODEC).eval()
    with torch.no_grad():
        cell = next(iter(task.stack.blocks)).cell
        cell.weight_in.zero_()  # pyright: ignore
        cell.weight_state.copy_(factor * torch.eye(hidden))  # pyright: ignore
    return task


def test_the_norms_of_a_state_that_decays() -> None:
    # a hundredth is left after 6.6 halvings, which seven steps are: the first of them is the last output's own
    inputs = torch.randint(0, 8, (3, 40))
    norms = gradient_norms(decaying(0.5), Batch(inputs, inputs[:, :1]))
    assert [after / before for before, after in itertools.pairwise(norms)] == pytest.approx([0.5] * 39)
    assert gradient_reach(norms) == 7
    found = streamed(decaying(0.5), text(2000), 16)["memory"]
    assert (found["gradient"]["steps"], found["gradient"]["more"]) == (7, False)
    assert found["gradient"]["curve"][0] == [1, 1.0]
    assert found["gradient"]["curve"][-1][1] == pytest.approx(0.5**63)


def test_lags_that_few_rows_have_are_left_out() -> None:
    inputs = torch.randint(0, 8, (21, 9))
    lengths = torch.tensor([9, 9, *[4] * 19])
    assert len(gradient_norms(decaying(0.5), Batch(inputs, inputs[:, :1], lengths))) == 4


def test_reaches_of_curves() -> None:
    assert gradient_reach([]) is None
    assert gradient_reach([0.0, 0.0]) is None
    assert gradient_reach([0.1, 1.0, 0.01, 0.009]) == 3
    assert gradient_reach([1.0, 2.0, 4.0]) == 3
    assert context_reach([3.0, 2.0, 1.015, 1.01, 1.0], 0.0) == 2
    assert context_reach([3.0, 2.0, 1.03, 1.01, 1.0], 0.0) == 3
    assert context_reach([3.0, 2.0, 1.03, 1.01, 1.0], 0.05) == 2
    # a rise at the end is no gain of more context
    assert context_reach([3.0, 1.0, 2.0], 0.0) == 1
    assert context_reach([1.0], 0.0) == 0


# ---- fresh and carried, against plain ones


def losses(task: Any, inputs: Tensor, targets: Tensor, state: Any = None) -> Tensor:
    outputs, _ = task(inputs[None], state)
    return torch.nn.functional.cross_entropy(outputs[0], targets, reduction="none").double()


@pytest.mark.parametrize("harm", [True, False])
@torch.no_grad()
def test_windows_against_plain_losses(harm: bool) -> None:
    """Against one pass over the text, and one over each window; a state that hardly stays does no harm."""
    task = by_name("language-gru") if harm else decaying(0.1)
    found = streamed(task, text(1000), 16)
    ids = task.ids(text(1000))
    # 15 windows of four chunks, of which the first chunk is looked at
    stream = losses(task, ids[:960], ids[1:961]).view(15, 64)
    fresh = torch.stack([losses(task, ids[at : at + 64], ids[at + 1 : at + 65]) for at in range(0, 960, 64)])
    assert (found["count"], found["steps"], found["stream_steps"]) == (15, 16, 960)
    assert found["carried"]["loss"] == pytest.approx(float(stream[:, :16].mean()), rel=1e-5)
    assert found["fresh"]["loss"] == pytest.approx(float(fresh[:, :16].mean()), rel=1e-5)
    gaps = (stream - fresh)[:, 8:16].mean(1)
    assert found["difference"]["value"] == pytest.approx(float(gaps.mean()), abs=1e-6)
    assert found["difference"]["noise"] == pytest.approx(float(gaps.std()) / math.sqrt(15), abs=1e-6)
    assert any("does harm" in warning for warning in found["warnings"]) == harm
    level = fresh.mean(0) if harm else float(stream.mean()) + (fresh - stream).mean(0)
    for (start, end), (context, loss) in zip(_parts(64, 16), found["memory"]["context"]["curve"], strict=True):
        assert context == (start + end + 1) // 2
        assert loss == pytest.approx(float(level[start:end].mean()), rel=1e-5)


@torch.no_grad()
def test_the_sizes_of_states_against_plain_ones() -> None:
    task = by_name("language-lstm")
    found = streamed(task, text(1000), 16)["state"]
    ids, state, seen = task.ids(text(1000)), None, []
    for start in range(0, 960, 16):
        _, state = task(ids[None, start : start + 16], state)
        seen.append(state)
    early = [task(ids[None, start : start + 16])[1] for start in range(0, 960, 64)]
    for name in ("0.h", "0.c", "1.h", "1.c"):
        every, first = (torch.stack([leaves(each)[name] for each in states]) for states in (seen, early))
        assert found[name]["end"] == pytest.approx(float(every[-15:].square().mean().sqrt()), rel=1e-5)
        assert found[name]["middle"] == pytest.approx(float(every[15:30].square().mean().sqrt()), rel=1e-5)
        assert found[name]["first"] == pytest.approx(float(first.square().mean().sqrt()), rel=1e-5)
        bounded = name.endswith("h")
        share = float((every[-15:].abs() > 0.99).double().mean())
        assert found[name]["saturated_end"] == (pytest.approx(share) if bounded else None)


@pytest.mark.parametrize("name", ["classify-text-gru", "classify-series-lstm", "classify-elman-max"])
def test_rows_against_sessions(name: str) -> None:
    task = by_name(name)
    data = labelled(task, 70)
    found = streamed(task, data, 128)
    assert (found["unit"], found["count"]) == ("rows", 70)
    feed = task.feed(data, rows=7, steps=1, training=False)
    assert found["fresh"] == pytest.approx(evaluate(task, feed)[0])
    session, right, rows = (
        recurra.Session(task),
        0,
        _drawn(task.feed(data, rows=1, steps=1, training=False).batches(0), TOKENS),
    )
    for row, target in rows:
        raw = CODEC.decode(row.tolist()) if task.config.features is None else None
        if raw is None:
            place = next(i for i, each in enumerate(task.rows_of(data.inputs)) if torch.equal(each, row))
            raw = data.inputs[place]
        right += session.push(raw)["label"] == task.labels.decode(int(target))
    assert found["carried"]["accuracy"] == pytest.approx(right / 70)
    longest = max(len(row) for row, _ in rows)
    for context, accuracy in found["memory"]["context"]["curve"]:
        cut = [row[-context:] for row, _ in rows]
        with torch.no_grad():
            answers = torch.cat([task(row[None])[0].argmax(1) for row in cut])
        assert accuracy == pytest.approx(float((answers == torch.stack([t for _, t in rows])).double().mean()))
    assert found["memory"]["context"]["curve"][-1] == [longest, found["fresh"]["accuracy"]]


# ---- every model


@pytest.mark.parametrize("network", TASKS, ids=lambda network: network.name)
def test_every_model_is_measured_or_says_why_not(network: Network) -> None:
    task = network.build()
    data, before, drawn = data_for(task), {k: v.clone() for k, v in task.state_dict().items()}, torch.get_rng_state()
    learnt = [parameter.requires_grad for parameter in task.parameters()]
    found = streamed(task.train(), data, 8)
    assert task.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert [parameter.requires_grad for parameter in task.parameters()] == learnt
    assert all(parameter.grad is None for parameter in task.parameters())
    again = streamed(task.eval(), data, 8)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}
    carries = network in CARRYING or network.name in ("classify-feedforward-max", "classify-feedforward-attention")
    if carries:
        assert len(found["sentences"]) == 4
        assert all(sentence.endswith(".") and "nan" not in sentence for sentence in found["sentences"])
        assert found["memory"]["gradient"]["curve"][0][1] > 0
    else:
        (why,) = found["sentences"]
        both = "reads both ways" if "both-ways" in network.name else "does not depend on the state"
        assert ("has no state" if network.name == "language-feedforward" else both) in why
        assert found["warnings"] == [] and "fresh" not in found


@pytest.mark.parametrize("network", ["language-gru", "classify-text-gru"])
def test_too_little_says_so(network: str) -> None:
    task = by_name(network)
    data = text(300) if isinstance(task, LanguageModel) else labelled(task, 7)
    found = streamed(task, data, 64)
    assert set(found) == {"sentences", "warnings", "seconds"}
    assert (
        "1,024 steps of validation data, and there are 299" in found["sentences"][0]
        or "and there are 7" in found["sentences"][0]
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 33, 10**9])
def test_any_length_of_a_chunk(steps: int) -> None:
    found = streamed(by_name("language-gru"), text(3000), steps)
    assert len(found["sentences"]) == (1 if steps == 10**9 else 4)


def test_it_keeps_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen, task = torch.get_num_threads(), set(), by_name("language-gru")
    loss = LanguageModel.loss

    def watched(self: Any, *arguments: Any) -> Any:
        seen.add(torch.get_num_threads())
        return loss(self, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", watched)
    torch.set_num_threads(2)
    try:
        streamed(task, text(1000), 16)
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["language-gru", "classify-text-gru"])
def test_what_it_costs_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, read = by_name(name), 0
    run = type(task)._run

    def counted(self: Any, inputs: Tensor, *rest: Any, **named: Any) -> Any:
        nonlocal read
        read += inputs.numel()
        return run(self, inputs, *rest, **named)

    monkeypatch.setattr(type(task), "_run", counted)
    data = text(200_000) if isinstance(task, LanguageModel) else labelled(task, 10_000, longest=60)
    found = streamed(task, data, 16)
    assert 60_000 < read < 110_000
    assert len(found["sentences"]) == 4


# ---- what must warn


def rhymes(lines: int) -> str:
    """Lines of which the second half repeats the first: a state from the line before is of no use."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcd", k=3)) for _ in range(lines)]
    return "".join(f"{word}|{word}\n" for word in words)


def trained(cell: str, carry: bool) -> tuple[LanguageModel, TextDataset]:
    """A language model trained on chunks that are lines, from the initial state or with the state carried on."""
    whole = rhymes(2400)
    codec = TextCodec.learn([whole], "characters")
    stack = StackConfig(cell=cell, hidden=24)
    task = LanguageModel(LanguageModelConfig(stack=stack, vocabulary=codec.size, embedding=8, tied=False), codec)
    ids = task.ids(TextDataset([whole], "rhymes"))[: 64 * 240 + 1]
    inputs, targets = ids[:-1].view(64, 240), ids[1:].view(64, 240)
    optimiser, state = torch.optim.Adam(task.parameters(), lr=2e-2), None
    for step in range(150):
        start = 8 * step % 240
        batch = Batch(inputs[:, start : start + 8], targets[:, start : start + 8])
        total, count, state = task.step_loss(batch, state if carry and start else None)
        state = detach(state)
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
    return task.eval(), TextDataset([rhymes(2400)[-3200:]], "rhymes")


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_short_chunks_without_a_carried_state_warn(cell: str) -> None:
    task, data = trained(cell, carry=False)
    found = streamed(task, data, 8)
    assert found["carried"]["loss"] > 1.5 * found["fresh"]["loss"]
    assert "does harm" in found["warnings"][0]
    assert (
        "Train with longer --steps or more --minutes, or reset the session at document borders." in found["warnings"][0]
    )
    assert min(loss for _, loss in found["memory"]["context"]["curve"]) >= 0


def test_a_carried_state_does_not_warn() -> None:
    task, data = trained("gru", carry=True)
    found = streamed(task, data, 8)
    assert found["carried"]["loss"] < found["fresh"]["loss"]
    assert found["warnings"] == []


def test_a_state_carried_from_row_to_row_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is the first letter, so whoever does not reset answers for the first row of all."""
    draw = random.Random(0)
    texts = ["".join(draw.choices("ab", k=6)) + "".join(draw.choices("xyz", k=6)) for _ in range(400)]
    model = recurra.fit(
        [(text, text[0].upper()) for text in texts], level="characters", hidden=16, rate=0.02, dropout=0.0, epochs=15,
        baselines=False, out=tmp_path / "model",
    )  # fmt: skip
    found = model.record["streaming"]
    assert found["fresh"]["accuracy"] > 0.95 > 0.8 > found["carried"]["accuracy"]
    (warning,) = [text for text in found["warnings"] if "spoils" in text]
    assert warning.endswith("Start a new session for each input.")
    told = capsys.readouterr().err
    for text in (*found["sentences"], f"warning: {warning}"):
        assert text in told
    assert recurra.load(tmp_path / "model").record["streaming"] == found
    # all but the first of twelve letters say nothing
    assert found["memory"]["context"]["steps"] == 12
    assert max(accuracy for _, accuracy in found["memory"]["context"]["curve"][:-1]) < 0.8


def test_a_state_that_grows_is_named() -> None:
    task = decaying(1.002, "relu")
    with torch.no_grad():
        next(iter(task.stack.blocks)).cell.bias.fill_(0.01)  # pyright: ignore
    found = streamed(task, text(2000), 16)
    (warning,) = [text for text in found["warnings"] if "drifts" in text]
    assert "The state 0.h drifts: its norm goes from 0.16" in warning and "grows on" in warning
    assert found["state"]["0.h"]["saturated_end"] is None
    assert found["memory"]["gradient"]["more"]


def test_a_state_that_saturates_is_named() -> None:
    task = decaying(1.0)
    with torch.no_grad():
        cell = next(iter(task.stack.blocks)).cell
        cell.weight_state.mul_(1.2)  # pyright: ignore
        cell.weight_state[:2, :2].mul_(5)  # pyright: ignore
        cell.weight_in[0, 0] = 1e-7  # pyright: ignore
        cell.bias[:2].fill_(1e-30)  # pyright: ignore
    found = streamed(task, text(2000), 16)
    assert found["state"]["0.h"]["saturated_end"] == pytest.approx(0.5)
    (warning,) = [text for text in found["warnings"] if "saturates" in text]
    assert "50 % of its units are beyond 0.99" in warning


# ---- words


def measured(**changed: Any) -> dict[str, Any]:
    found = {
        "unit": "windows", "count": 100, "steps": 64, "stream_steps": 6400, "measure": "loss", "more_is_better": False,
        "fresh": {"loss": 1.5}, "carried": {"loss": 1.4}, "difference": {"value": -0.1, "noise": 0.01},
        "state": {
            "0.h": {"first": 0.5, "middle": 0.5, "end": 0.5, "saturated_first": 0.02, "saturated_end": 0.02},
            "0.c": {"first": 1.0, "middle": 1.2, "end": 1.3, "saturated_first": None, "saturated_end": None},
        },
        "memory": {
            "context": {"steps": 40, "more": False, "first": 3.0, "last": 1.4, "curve": [[1, 3.0], [40, 1.4]]},
            "gradient": {"steps": 40, "more": False, "curve": [[1, 1.0], [128, 1e-6]]},
        },
    }  # fmt: skip
    return {**found, **changed}


def test_each_number_is_told() -> None:
    assert sentences_of(measured()) == [
        "Windows of 64 steps from the initial state: loss 1.500; the same steps in a stream of 6,400 with the state carried "
        "on: 1.400.",
        "The norm of the state (0.c, which changes most) is 1 a unit after a chunk of 64 steps, and 1.3 at the end of 6,400 "
        "steps; saturated units 2 % and 2 %.",
        "Memory by behaviour: context takes the loss from 3.000 to 1.400; after 40 steps less than 1 % of that is left to "
        "gain.",
        "Memory by gradient: further back than 40 steps less than 1 % of the signal is left, from 128 steps back 1e-06.",
    ]
    assert warnings_of(measured()) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"difference": {"value": 0.1, "noise": 0.01}}, "does harm: where a window of 64 steps has caught up, the loss of "
         "the stream is 0.100 higher"),
        ({"carried": {"loss": math.nan}}, "no longer a number"),
        ({"unit": "rows", "measure": "accuracy", "more_is_better": True, "fresh": {"accuracy": 0.97},
          "carried": {"accuracy": 0.54}, "difference": {"value": 0.43, "noise": 0.05}},
         "spoils the answers: accuracy 54.0 % instead of 97.0 %. Start a new session for each input."),
        ({"state": {"stack.0.c": {"first": 1.0, "middle": 1.4, "end": 1.6, "saturated_first": None, "saturated_end": None}}},
         "The state 0.c drifts: its norm goes from 1 a unit to 1.6 in 6,400 steps, and grows on. Reset the session"),
        ({"state": {"0.c": {"first": 1.0, "middle": 5.0, "end": 5.0, "saturated_first": None, "saturated_end": None}}},
         "goes from 1 a unit to 5 in 6,400 steps. Reset"),
        ({"state": {"0.c": {"first": 1.0, "middle": 1.0, "end": math.inf, "saturated_first": None, "saturated_end": None}}},
         "to inf"),
        ({"state": {"0.h": {"first": 0.9, "middle": 0.9, "end": 0.9, "saturated_first": 0.1, "saturated_end": 0.3}}},
         "saturates: 30 % of its units are beyond 0.99, 10 % at first"),
    ],
)  # fmt: skip
def test_where_they_disagree_it_warns(changed: dict[str, Any], words: str) -> None:
    (warning,) = warnings_of(measured(**changed))
    assert words in warning


@pytest.mark.parametrize("changed", [
    {"difference": {"value": 0.019, "noise": 0.01}},
    {"difference": {"value": 0.007, "noise": 0.001}},
    {"state": {"0.c": {"first": 1.0, "middle": 3.0, "end": 3.0, "saturated_first": None, "saturated_end": None}}},
])  # fmt: skip
def test_accidents_do_not_warn(changed: dict[str, Any]) -> None:
    assert warnings_of(measured(**changed)) == []
