"""Sentences with their spans in colour, true and answered, and the figures of each type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recurra.inspection.markup import Html, clean, shorten, tag, wide
from recurra.inspection.measures import items, number, part, whole

_MOST = 40  # sentences
_TYPES = 60  # lines of the table

Span = tuple[str, int, int]
Sentence = tuple[list[str], list[Span], list[Span]]


def read(record: Mapping[str, Any]) -> list[Sentence]:
    """Sentences as (tokens, true spans, answered spans)."""
    found = [entry for entry in items(record, "tagged") if isinstance(entry, Mapping)]
    return [
        ([clean(token) for token in items(entry, "tokens")], _spans(entry, "truth"), _spans(entry, "answer"))
        for entry in found[:_MOST]
    ]


def _spans(entry: Mapping[str, Any], key: str) -> list[Span]:
    size = len(items(entry, "tokens"))
    found: list[Span] = []
    for span in items(entry, key):
        if isinstance(span, (list, tuple)) and len(span) == 3:
            start, end = number(span[1]), number(span[2])
            if start is not None and end is not None and 0 <= start < end <= size:
                found.append((clean(span[0]), int(start), int(end)))
    return sorted(found, key=lambda span: span[1])


def draw(sentences: Sequence[Sentence], apart: bool) -> Html:
    """Each sentence as the model read it, with the truth below where that is another; `apart`: spaces between tokens."""
    rows: list[Html] = []
    for tokens, truth, answer in sentences:
        lines = [_line("model", tokens, answer, set(truth), apart)]
        if set(truth) != set(answer):
            lines.append(_line("truth", tokens, truth, set(answer), apart))
        rows.append(tag("div", *lines, class_="sentence"))
    return tag("div", *rows, class_="tokens tagged")


def _line(who: str, tokens: Sequence[str], spans: Sequence[Span], others: set[Span], apart: bool) -> Html:
    said: list[object] = [tag("b", who)]
    place = 0
    for span in spans:
        kind, start, end = span
        if start < place:
            continue
        said += [_text(tokens[place:start], apart, bool(place)), " " if apart or start == 0 else ""]
        style = "span right l2" if span in others else "span wrong l3"
        said.append(tag("span", _text(tokens[start:end], apart, False), tag("sub", kind or "span"), class_=style))
        place = end
    said.append(_text(tokens[place:], apart, True))
    return tag("p", *said)


def _text(tokens: Sequence[str], apart: bool, first: bool) -> str:
    if not apart:
        return "".join(tokens)
    parts: list[str] = []
    for place, token in enumerate(tokens):
        glued = place and token and tokens[place - 1] and wide(token[0]) and wide(tokens[place - 1][-1])
        parts.append(token if glued or (place == 0 and not first) else f" {token}")
    return "".join(parts)


def legend() -> Html:
    """What the colours mean."""
    entries = (("span right l2", "right"), ("span wrong l3", "answered wrongly, or missed"))
    return tag("p", *(tag("span", word, class_=style) for style, word in entries), class_="span-legend")


def per_type(record: Mapping[str, Any]) -> Html | None:
    """Spans, precision, recall and F1 of each type, as a table; None where there is nothing."""
    types = {
        clean(kind): [int(number(value) or 0) for value in counts]
        for kind, counts in part(record, "types").items()
        if isinstance(counts, (list, tuple)) and len(counts) == 3
    }
    if not types:
        return None
    body = []
    for kind, (right, true, answered) in sorted(types.items(), key=lambda entry: -entry[1][1])[:_TYPES]:
        shares = (right / answered if answered else None, right / true if true else None,
                  2 * right / (true + answered) if true + answered else None)  # fmt: skip
        shown = ("–" if share is None else f"{share * 100:.1f} %" for share in shares)
        name = tag("th", shorten(kind or "(without a type)", 60), scope="row")
        body.append(tag("tr", name, tag("td", whole(true)), *(tag("td", share) for share in shown)))
    head = tag("tr", *(tag("th", name, scope="col") for name in ("type", "spans", "precision", "recall", "F1")))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")
