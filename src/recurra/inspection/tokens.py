"""A text coloured by how surprised the model was at each token.

The losses are nats: minus the natural logarithm of the probability the model gave to the token that came.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from recurra.inspection.markup import Html, clean, tag, wide
from recurra.inspection.measures import items, number

EDGES = (0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)  # fixed, so that two reports can be compared
_MOST_TOKENS = 3000
_SIGNS = {"\t": "⇥", "\r": "␍", "": "∅"}


def read(record: Mapping[str, Any]) -> tuple[list[str], list[float | None]] | None:
    """Tokens and their losses (`None` where no finite number), or `None` where there are none at all."""
    found = record.get("token_losses")
    if not isinstance(found, Mapping):
        return None
    tokens = [clean(token) for token in items(found, "tokens")]
    losses = [number(loss) for loss in items(found, "losses")]
    count = min(len(tokens), len(losses))
    return (tokens[:count], losses[:count]) if count else None


def draw(tokens: Sequence[str], losses: Sequence[float | None], level: str) -> Html:
    """The text as a paragraph of coloured spans; `level` is the codec's ("characters", "words", "bpe")."""
    # Words come without the spaces that stood between them; Chinese ones stood without any.
    apart = level == "words" and not any(character.isspace() for token in tokens for character in token)
    spans: list[object] = []
    for index, (token, loss) in enumerate(zip(tokens[:_MOST_TOKENS], losses, strict=False)):
        if apart and index and _spaced(tokens[index - 1], token):
            spans.append(" ")
        spans.append(_span(token, loss))
    if len(tokens) > _MOST_TOKENS:
        spans.append(tag("span", f" … and {len(tokens) - _MOST_TOKENS:,} more tokens", class_="quiet"))
    return tag("p", *spans, class_="tokens")


def _spaced(before: str, after: str) -> bool:
    return bool(before and after) and not wide(before[-1]) and not wide(after[0]) and after not in ".,;:!?)"


def _span(token: str, loss: float | None) -> Html:
    shown = _SIGNS.get(token, token)
    if "\n" in shown:
        shown = shown.replace("\n", "↵\n")
    if loss is None:
        return tag("span", shown, class_="t", data_nats="no finite loss")
    chance = math.exp(-max(loss, 0.0))
    told = f"{chance * 100:.3g} %" if chance >= 1e-4 else f"1 in {min(1 / chance, 1e300) if chance else 1e300:.0e}"
    return tag("span", shown, class_=f"t t{bisect_right(EDGES, loss)}", data_nats=f"{loss:.3f} nats · {told}")


def legend() -> Html:
    """The colours with their nats and the probability each stands for."""
    steps = [f"< {EDGES[0]:g}", *(f"{edge:g} +" for edge in EDGES)]
    chances = [f"> {math.exp(-EDGES[0]) * 100:.0f} %", *(_chance(edge) for edge in EDGES)]
    entries = [
        tag(
            "div",
            tag("span", "Aa 字", class_=f"t t{i}"),
            tag("span", step),
            tag("span", chance, class_="quiet"),
        )
        for i, (step, chance) in enumerate(zip(steps, chances, strict=True))
    ]
    return tag("div", *entries, class_="token-legend")


def _chance(nats: float) -> str:
    return f"≤ {math.exp(-nats) * 100:.2g} %"


def summary(losses: Sequence[float | None]) -> str:
    """Mean and spread in a sentence."""
    finite = [loss for loss in losses if loss is not None]
    if not finite:
        return "No finite losses."
    sure = sum(1 for loss in finite if loss < EDGES[1]) / len(finite)
    lost = sum(1 for loss in finite if loss >= EDGES[4]) / len(finite)
    return (
        f"{len(losses):,} tokens, {sum(finite) / len(finite):.3f} nats each on average. "
        f"The model was nearly sure of {sure * 100:.0f} % of them (below {EDGES[1]:g} nats) "
        f"and badly surprised by {lost * 100:.0f} % ({EDGES[4]:g} nats and more)."
    )
