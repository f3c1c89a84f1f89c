"""One step at a time: the module call with T = 1, a session that is pushed a character, and many sessions at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import machine
import onnx_peer
import recurra
from peers import copy_weights, pair, same, torch_state
from recurra.data.text_codec import TextCodec
from recurra.layers import StackConfig
from recurra.models import LanguageModel, LanguageModelConfig
from results import Result, Settings
from rows import Row
from timing import interleaved, paired

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:!?'-\n"
TOP = 5


def step(row: Row, settings: Settings) -> Result:
    """The ordinary module call with T = 1, the state handed from call to call."""
    both = pair(row.cell, row.width)
    inputs = torch.randn(1, row.batch, row.width)
    ours, theirs = both.ours.initial_state(row.batch), torch_state(both.ours.initial_state(row.batch))

    def our_step() -> None:
        nonlocal ours
        with torch.no_grad():
            _, ours = both.ours(inputs, ours)

    def their_step() -> None:
        nonlocal theirs
        with torch.no_grad():
            _, theirs = both.theirs(inputs, theirs)

    calls = {"ours": our_step, "torch": their_step}
    if onnx_peer.installed():
        run, values = onnx_peer.layer(row.cell, both.ours, settings.threads), {"x": inputs.numpy()}
        calls["onnx"] = _handing_on(run, values | _arrays(torch_state(ours)), first=1)
    result = _timed(row, settings, calls)
    # a step reads every weight once
    result.share = paired(result.samples["copy"], result.samples["ours"]).median
    return result


def session(row: Row, settings: Settings) -> Result:
    """`Session.push` of one character: token in, the likeliest next ones out; torch does the same by hand."""
    model, theirs = _model(row), _Plain(_model(row))
    ours, place = recurra.Session(model), 0

    def push() -> Any:
        nonlocal place
        place += 1
        return ours.push(ALPHABET[place % len(ALPHABET)], top=TOP)

    _check_answers(model, theirs)
    calls = {"ours": push, "torch": lambda: theirs.push("e")}
    if onnx_peer.installed():
        run = onnx_peer.language(row.cell, model, settings.threads, TOP)
        token = torch.tensor([[model.codec.encode("e")[0]]]).numpy()
        state = torch_state(model.initial_state(1)[0])
        calls["onnx"] = _handing_on(run, {"token": token} | _arrays(state), first=2)
    result = _timed(row, settings, calls)
    result.note = "encode, embed, step, head, the five likeliest; ONNX Runtime has tokens and no text"
    return result


def many(row: Row, settings: Settings) -> Result:
    """As many sessions as the batch has rows, each a token further: in one call of a pool, and one after another."""
    model = _model(row)
    sessions = [recurra.Session(model) for _ in range(row.batch)]
    pool = recurra.Pool.of(sessions)
    tokens = [place % len(ALPHABET) for place in range(row.batch)]

    def at_once() -> Tensor:
        return pool.advance(tokens)

    def one_by_one() -> list[Tensor]:
        return [one.outputs_after([token]) for one, token in zip(sessions, tokens, strict=True)]

    same("outputs", at_once(), torch.stack(one_by_one()))
    result = _timed(row, settings, {"ours": at_once, "ours one by one": one_by_one})
    result.ratios["own"] = paired(result.samples["ours one by one"], result.samples["ours"])
    result.note = "Pool.advance against as many calls of Session.outputs_after; a token in, the logits out"
    return result


def _model(row: Row) -> LanguageModel:
    torch.manual_seed(0)
    codec = TextCodec.learn([ALPHABET], "characters")
    stack = StackConfig.from_user(cell=row.cell, hidden=row.width)
    config = LanguageModelConfig.from_user(stack=stack, vocabulary=codec.size, embedding=row.width, tied=False)
    return LanguageModel(config, codec).eval()


class _Plain:
    """What a person writes in torch for the same: a dictionary, an embedding, a layer, a head and topk."""

    def __init__(self, model: LanguageModel) -> None:
        cell: Any = model.stack.blocks[0].cell
        self._ids = {character: model.codec.encode(character)[0] for character in ALPHABET}
        self._characters = [model.codec.token(token) for token in range(model.codec.size)]
        self._embedding = nn.Embedding.from_pretrained(model.embedding.detach())
        self._layer = {"Elman": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}[type(cell).__name__](cell.inputs, cell.hidden)
        copy_weights(cell, self._layer)
        self._head = nn.Linear(cell.hidden, model.codec.size)
        with torch.no_grad():
            self._head.weight.copy_(model.embedding if model.head is None else model.head)
            self._head.bias.copy_(model.bias)
        self._state: Any = None

    def push(self, character: str) -> list[dict[str, Any]]:
        with torch.no_grad():
            token = torch.tensor([[self._ids[character]]])
            outputs, self._state = self._layer(self._embedding(token), self._state)
            values, tokens = self._head(outputs[-1, 0]).softmax(dim=-1).topk(TOP)
        pairs = zip(tokens.tolist(), values.tolist(), strict=True)
        return [{"token": self._characters[token], "probability": value} for token, value in pairs]


def _check_answers(model: LanguageModel, theirs: _Plain) -> None:
    ours = recurra.Session(model)
    for character in "to be, or not":
        found = [ours.push(character, top=TOP)["next"], theirs.push(character)]
        same("answers", *(torch.tensor([entry["probability"] for entry in one]) for one in found))


def _arrays(state: Any) -> dict[str, Any]:
    parts: tuple[Tensor, ...] = state if isinstance(state, tuple) else (state,)
    return {name: part.numpy() for name, part in zip("hc", parts, strict=False)}


def _handing_on(run: onnx_peer.Run, values: dict[str, Any], first: int) -> Any:
    """A call that hands the states it got back, the outputs from number `first` on, into the next one."""
    names = [name for name in values if name in ("h", "c")]

    def call() -> None:
        values.update(zip(names, run(values)[first:], strict=True))

    return call


def _timed(row: Row, settings: Settings, calls: dict[str, Any]) -> Result:
    samples = interleaved({**calls, "copy": machine.copying(4 * row.weights)}, settings.rounds)
    ratios = {name: paired(samples[name], samples["ours"]) for name in ("torch", "onnx") if name in samples}
    return Result(row, samples, ratios=ratios)
