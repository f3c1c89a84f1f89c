"""Generation: what a language model says next, drawn a token at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import generator
from recurra.errors import DataError, UsageError
from recurra.models import LanguageModel, Task
from recurra.streaming.session import Session


def generate(
    model: Task,
    prompt: str = "",
    *,
    length: int = 200,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    state: Any = None,
) -> Iterator[str]:
    """`length` tokens as pieces of text that continue `prompt` (from `state` on, if given), drawn as they are asked for.

    Arguments:
    - temperature: below 1 keeps to the likely, above 1 ventures; 0 always takes the likeliest.
    - top_p: draw from the smallest set of tokens whose probability reaches this (Holtzman et al. 2020).
    - seed: the same seed draws the same text.
    """
    if not isinstance(model, LanguageModel):
        raise UsageError(f"A model of kind '{model.kind}' cannot generate", expected="a language model")
    for name, value, fine in (
        ("length", length, length >= 0),
        ("temperature", temperature, 0 <= temperature < math.inf),
        ("top_p", top_p, 0 < top_p <= 1),
    ):
        if not fine:
            raise UsageError(
                f"'{name}' is out of range", got=value, expected="length >= 0, temperature >= 0, 0 < top_p <= 1"
            )
    if not isinstance(prompt, str):
        raise DataError("A prompt is a text", got=type(prompt).__name__, expected="a string")
    return _pieces(model.eval(), prompt, length, temperature, top_p, generator(seed), state)


def _pieces(
    model: LanguageModel,
    prompt: str,
    length: int,
    temperature: float,
    top_p: float,
    random: torch.Generator,
    state: Any,
) -> Iterator[str]:
    ids = model.codec.encode(prompt) or [_beginning(model)]
    # the last whole token goes along, because words are joined by what stands before them
    before, unsaid = ids[-1:], list[int]()
    session = Session(model, state)
    for _ in range(length):
        token = _draw(session.outputs_after(ids), temperature, top_p, model.codec.unknown, random)
        unsaid.append(token)
        # a token of byte pairs may be a part of a character: say only what has become whole
        text = model.codec.decode([*before, *unsaid])
        if not text.endswith("�") or token == model.codec.unknown:
            yield text[len(model.codec.decode(before)) :]
            before, unsaid = unsaid[-1:], []
        ids = [token]


def _beginning(model: LanguageModel) -> int:
    """Where no prompt is given: a new line, or the first token there is."""
    newline = model.codec.encode("\n")
    return newline[0] if newline else 0


def _draw(logits: Tensor, temperature: float, top_p: float, unknown: int | None, random: torch.Generator) -> int:
    # on the CPU, where `random` draws: a seed says the same on every device
    logits = logits.cpu().double().clone()
    if unknown is not None:
        logits[unknown] = -torch.inf
    if temperature == 0:
        return int(logits.argmax())
    # from the greatest down, so that no temperature is too low for a finite quotient
    probabilities, tokens = ((logits - logits.max()) / temperature).softmax(dim=0).sort(descending=True)
    before = probabilities.cumsum(0) - probabilities
    probabilities = torch.where(before < top_p, probabilities, torch.zeros_like(probabilities))
    return int(tokens[torch.multinomial(probabilities, 1, generator=random)])
