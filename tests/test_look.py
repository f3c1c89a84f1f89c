"""A look records what the model computed, for every task, and leaves the model as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from networks import HIDDEN, INPUTS, NETWORKS
from recurra.data.text_codec import TextCodec
from recurra.errors import DataError, UsageError
from recurra.fitting import Model
from recurra.layers import StackConfig
from recurra.look import look
from recurra.look.packing import unpack
from recurra.look.parts import parts_of, watched
from recurra.models import Translator, WordByWord, WordByWordConfig
from recurra.state import leaves

BY_NAME = {network.name: network for network in NETWORKS}
ROWS = [{"y": float(at % 4), "p": 1.0, "q": 2.0, "k": at / 9} for at in range(9)]
KINDS: dict[str, Any] = {
    "language-gru": "abcad",
    "language-lstm": "abcad",
    "classify-text-mlstm": "abcdea",
    "classify-both-ways": "abcdea",
    "classify-gru-attention": "abcdea",
    "classify-spelled-beside-ngrams": "a b c",
    "classify-fronted-both-ways": np.sin(np.arange(7 * INPUTS).reshape(7, INPUTS)),
    "classify-ensemble-holes": np.sin(np.arange(7 * INPUTS).reshape(7, INPUTS)),
    "regress-fronted": np.sin(np.arange(7 * INPUTS).reshape(7, INPUTS)),
    "tag-both-ways": ["abc", "def", "zz"],
    "tag-lstm": ["abc", "def", "zz"],
    "tag-softmax": ["abc", "def", "zz"],
    "translate-gru": "abcd",
    "translate-one-block": "abcd",
    "forecast-gru": ROWS,
    "forecast-smoothed": ROWS,
    "forecast-lookback": ROWS,
    "forecast-stepwise": ROWS,
}
"""One input for a network of each task, with what is apart from the ordinary about it."""


def build(name: str, dtype: torch.dtype = torch.float64) -> Any:
    return BY_NAME[name].build(dtype)


@pytest.mark.parametrize("name", KINDS)
def test_every_task_can_be_looked_into(name: str) -> None:
    task = build(name)
    found = look(task, KINDS[name], why=1)
    scene = found.scenes[0]
    assert scene.answer == task.predict([KINDS[name]])[0]
    assert len(scene.outputs) == scene.steps
    told = json.loads(json.dumps(found.to_page(), allow_nan=False))
    layers, recorded = told["model"]["layers"], told["scenes"][0]["layers"]
    assert len(layers) == len(recorded) == len(parts_of(task)) > 0
    for about, each in zip(layers, recorded, strict=True):
        assert list(each) == about["directions"]
        for direction in each.values():
            assert list(direction["state"]) == about["leaves"]
            # outputs that are the state are not told twice
            whole = direction["outputs"] if "outputs" in direction else direction["state"][about["output"]]
            steps = unpack(whole).shape[0]
            assert all(unpack(value).shape[0] == steps for value in direction["inner"].values())
    for why in told["scenes"][0]["why"]:
        assert why["words"]["en"].endswith(".") and why["words"]["zh"].endswith("。")
        assert all(unpack(values).dtype == np.float32 for values in why["methods"].values())


@pytest.mark.parametrize("name", ["language-lstm", "classify-both-ways", "tag-both-ways", "forecast-plain"])
@torch.no_grad()
def test_what_is_recorded_is_what_the_model_computes(name: str) -> None:
    """Bit for bit: outputs and gates as `trace` gives them, the last state as `forward` does."""
    task = build(name, torch.float32)
    raw = KINDS.get(name, ROWS)
    scene = look(task, raw, why=0).scenes[0]
    inputs = task.encode([raw]).inputs
    outputs, state, inner = task.trace(inputs)
    stack = state.stack if hasattr(state, "stack") else state
    for place, layer in enumerate(scene.layers[: len(task.stack.blocks)]):
        for direction, found in layer.items():
            before = "" if len(layer) == 1 else f"{direction}."
            for value, wanted in found.inner.items():
                assert torch.equal(torch.from_numpy(wanted), inner[f"{place}.{before}{value}"][0])
        if name != "forecast-plain":
            ends = leaves(stack[place])
            for direction, found in layer.items():
                for leaf, wanted in found.final.items():
                    assert np.array_equal(wanted, ends[leaf if len(layer) == 1 else f"{direction}.{leaf}"][0].numpy())
    if name == "classify-both-ways":
        both = np.concatenate([found.outputs for found in scene.layers[1].values()], axis=1)
        assert np.array_equal(both, inner["1.outputs"][0].numpy())
    assert outputs.isfinite().all()


@torch.no_grad()
def test_the_states_are_those_between_the_steps() -> None:
    task = build("language-lstm", torch.float32)
    scene = look(task, "abcad", why=0).scenes[0]
    state: Any = task.initial_state(1)
    for step, token in enumerate(task.encode(["abcad"]).inputs[0]):
        state = task(token.reshape(1, 1), state)[1]
        for place in (0, 1):
            for leaf, value in scene.layers[place]["ahead"].state.items():
                assert np.array_equal(value[step], getattr(state[place], leaf)[0].numpy())


@pytest.mark.parametrize("name", ["language-lstm", "classify-both-ways", "forecast-gru", "forecast-lookback"])
def test_what_is_shown_of_a_step_ends_in_the_recorded_state(name: str) -> None:
    """Every layer, direction and step, dilated layers too: the formula's last values are the state that was recorded."""
    found = look(build(name), KINDS[name], why=0)
    for layer in range(len(found.parts)):
        for direction, one in found.scenes[0].layers[layer].items():
            for step in range(len(one.outputs)):
                shown = found.shown(layer, step, direction=direction)
                np.testing.assert_allclose(shown[one.formula.output], one.outputs[step], rtol=1e-10, atol=1e-12)
                for leaf, line in one.formula.state.items():
                    np.testing.assert_allclose(shown[line], one.state[leaf][step], rtol=1e-10, atol=1e-12)
                for term, values in one.terms.items():
                    np.testing.assert_allclose(shown[term], values[step], rtol=1e-10, atol=1e-12)


def test_the_model_is_left_as_it_was() -> None:
    task = build("tag-both-ways").train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    look(task, ["abc", "def"], why=1)
    assert task.training and all(parameter.requires_grad for parameter in task.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in task.modules())
    with pytest.raises(RuntimeError, match="stop"), watched(task):
        raise RuntimeError("stop")
    assert all("forward" not in vars(module) for module in task.modules())


@pytest.mark.parametrize("name", ["classify-text-mlstm", "forecast-gru"])
def test_who_looks_in_inference_mode_sees_the_same(name: str) -> None:
    task = build(name)
    found = look(task, KINDS[name], why=1).to_dict()["scenes"]
    with torch.inference_mode():
        again = look(task, KINDS[name], why=1).to_dict()["scenes"]
        assert torch.is_inference_mode_enabled()
    for scene in (*found, *again):
        del scene["file"]  # what stands beside its tensors is in any order
    assert again == found


def test_a_translator_shows_both_sides() -> None:
    task = build("translate-gru")
    assert isinstance(task, Translator)
    scene = look(task, "abcd", why=0).scenes[0]
    said = scene.asker.said  # pyright: ignore[reportAttributeAccessIssue]
    assert scene.inputs["source"] == list("abcd") and scene.steps == len(said)
    assert scene.attention is not None and scene.attention.shape == (len(said), 4)
    np.testing.assert_allclose(scene.attention.sum(axis=1), 1.0)
    reads = {
        part.name: len(next(iter(each.values())).outputs)
        for part, each in zip(parts_of(task), scene.layers, strict=True)
    }
    assert reads == {"encoder.0": 4, "first.0": len(said), "rest.0": len(said)}


@pytest.mark.parametrize("both", [False, True])
def test_word_by_word_explains_what_it_says(both: bool) -> None:
    """The unknown word is never said, so it is neither shown nor explained."""
    codec = TextCodec.learn(["abcdefgh"], "characters")
    config = WordByWordConfig(
        stack=StackConfig(hidden=4, bidirectional=both), source_vocabulary=codec.size, target_vocabulary=codec.size
    )
    task = WordByWord(config, codec, codec).double().eval()
    with torch.no_grad():
        task.bias[0] = 9.0
    scene = look(task, "abcd").scenes[0]
    said = [targets.target.text for targets in scene.why]
    assert "".join(said) == "".join(likely[0]["text"] for likely in scene.outputs) == scene.answer["translation"]
    why = scene.why[1]
    assert why.value == pytest.approx(np.log(scene.outputs[1][0]["p"]), rel=1e-4)
    inputs = task.encode(["bcd" if both else "b"]).inputs
    with torch.no_grad():
        logs = task.sayable(task(inputs)[0])[0, 0].log_softmax(-1)
    assert why.value - why.deletion[0] == pytest.approx(float(logs[why.target.index]), rel=1e-9)


def test_two_inputs_stand_side_by_side() -> None:
    """One plane and one order of units for both, and each is asked about the other's answer."""
    task = build("classify-text-gru")
    found = look(task, "abcd", "efcd", titles=["one", "other"])
    first, second = found.to_dict()["scenes"]
    assert [first["title"], second["title"]] == ["one", "other"]
    assert first["units"] == second["units"] and sorted(first["units"]["order"][0]["ahead"]) == list(range(HIDDEN))
    asked = [{why["target"]["text"] for why in scene["why"]} for scene in (first, second)]
    assert {first["answer"]["label"], second["answer"]["label"]} <= asked[0] & asked[1]
    assert np.array(first["trajectory"][1]).shape == (4, 2)
    assert look(task, "ab" * 50, why=0).scenes[0].title == "ab" * 40 + "…"


def test_a_look_is_kept_as_a_page_and_as_numbers(tmp_path: Path) -> None:
    found = Model(build("language-gru")).look("ab", why=1)
    found.save(tmp_path / "look.json")
    told = json.loads((tmp_path / "look.json").read_text("utf-8"))
    assert told == found.to_dict() and told["format"] == "recurra-look"
    found.save(tmp_path / "look.html")
    page = (tmp_path / "look.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>") and "recurra-look" in page
    assert found._repr_html_().startswith("<iframe srcdoc=") and "<script" not in found._repr_html_()
    for ending, begin in (("svg", b"<svg"), ("png", b"\x89PNG")):
        found.save(tmp_path / f"look.{ending}")
        assert begin in (tmp_path / f"look.{ending}").read_bytes()[:200]
    with pytest.raises(UsageError, match=r"page, a picture or numbers.*look\.txt.*html"):
        found.save(tmp_path / "look.txt")


def test_half_a_surrogate_pair_is_kept_in_numbers(tmp_path: Path) -> None:
    found = Model(build("language-gru")).look("a\udcffb", why=0)
    found.save(tmp_path / "look.json")
    assert json.loads((tmp_path / "look.json").read_text("utf-8")) == found.to_dict()


def test_states_that_are_no_numbers_are_refused() -> None:
    task = build("language-gru")
    torch.nn.init.constant_(next(task.stack.parameters()), float("nan"))
    with pytest.raises(DataError, match=r"finite numbers.*layer 0"):
        look(task, "ab")


def test_a_corpus_tells_what_a_unit_stands_for() -> None:
    task = build("language-gru", torch.float32)
    texts = ["abcd", "", "dcba", "hhhh"]
    found = look(task, "abcd", why=0, corpus=[(str(at), text) for at, text in enumerate(texts)])
    assert found.corpus is not None and (found.corpus.read, found.corpus.left) == (3, 0)
    with torch.no_grad():
        runs = {text: task.trace(task.encode([text]).inputs)[2]["0.outputs"][0] for text in texts if text}
    residual = {text: look(task, text, why=0).scenes[0].layers[0]["ahead"].outputs for text in runs}
    for unit in (0, 5):
        top = next(each for each in found.corpus.units if (each["layer"], each["unit"]) == (0, unit))["top"]
        best = max(((values[:, unit].max(), text) for text, values in residual.items()))
        assert top[0]["text"] == best[1] and top[0]["value"] == pytest.approx(float(best[0]))
        assert top[0]["at"] == int(residual[best[1]][:, unit].argmax())
    # what was looked at is in the corpus: nothing is nearer
    assert found.corpus.alike[0]["text"] == "abcd" and found.corpus.alike[0]["value"] == pytest.approx(1.0)


def test_mistakes_are_told() -> None:
    task = build("language-gru")
    half: Any = 0.5
    named: Any = "x"
    none: Any = None
    for call, error, words in (
        (lambda: look(task), UsageError, "0 inputs"),
        (lambda: look(task, "a", "b", "c"), UsageError, "3 inputs"),
        (lambda: look(task, "a", titles=["one", "two"]), UsageError, "2 titles"),
        (lambda: look(task, "a", why=-1), UsageError, "'why' is out of range"),
        (lambda: look(task, ""), DataError, "empty"),
        (lambda: look(task, 3), DataError, "reads text"),
        (lambda: look(build("classify-text-gru"), ""), DataError, "nothing to look at"),
        (lambda: look(task, "ab").shown(0, 2), UsageError, "no such step.*0 to 1"),
        (lambda: look(task, "ab").shown(0, half), UsageError, "no such step.*0 to 1"),
        (lambda: look(task, "ab").shown(7, 0), UsageError, "no such layer"),
        (lambda: look(task, "ab").shown(named, 0), UsageError, "no such layer.*x"),
        (lambda: look(task, "ab").shown(0, 0, scene=none), UsageError, "no such layer.*of scene None"),
        (lambda: look(task, "ab").shown(0, 0, direction="back"), UsageError, "no such direction.*ahead"),
        (lambda: look(task, "ab", why=0, corpus=[("1", "")]), DataError, "nothing that this model can read"),
    ):
        with pytest.raises(error, match=words):
            call()
