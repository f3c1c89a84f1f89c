"""Spans written as tags: B-X I-X O and its relatives, told apart by looking at them, and spans counted as seqeval counts.

A tag is a prefix, a hyphen and a type ("B-PER"), or O. Knows strings; no files, no networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SCHEMES = ("BIO", "IOB1", "BIOES", "BMES", "plain")
"""BIO: each span begins with B (also called IOB2). IOB1: with I, and with B only right after another of its type.
BIOES: E ends and S is a span of one token. BMES: the same with M for I. plain: labels without spans."""

_OUTSIDE = "O"
_LETTERS = ("BI", "BMES", "BIES")  # what the schemes begin their tags with
MOST = 0.95  # of the sentences that have spans: what they are written in is the scheme of all


@dataclass(frozen=True)
class Span:
    """Tokens start..end-1 of one type, counted from 0."""

    type: str
    start: int
    end: int


def split_tag(tag: str) -> tuple[str, str]:
    """(prefix, type): ("B", "PER") of "B-PER", ("O", "") of "O". A prefix alone ("B") has the empty type."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def scheme_of(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme the tags of some sentences are written in, one of `SCHEMES`."""
    moves: Counter[tuple[str, str]] = Counter()
    seen: set[str] = set()
    prefixes: set[str] = set()
    for tags in sentences:
        seen.update(tags)
        moves.update(pairwise((_OUTSIDE, *tags)))
    for tag in seen:
        if not _is_of("BIMES", tag):
            return "plain"
        prefixes.add(split_tag(tag)[0])
    prefixes.discard(_OUTSIDE)
    typed = any("-" in tag for tag in seen)
    if not prefixes or not (typed or _OUTSIDE in seen or prefixes >= {"B", "E"}):
        return "plain"
    if "M" in prefixes:
        return "BMES" if "I" not in prefixes else "plain"
    if prefixes & {"E", "S"}:
        # spans of two tokens and of one leave nothing for the middle, whose letter is then not known
        return "BIOES" if prefixes & {"B", "I"} else "plain"
    if "I" not in prefixes:
        return "BIO"
    # a span that begins with I: the rule of IOB1, a slip in BIO
    begun_by_i = sum(count for (a, b), count in moves.items() if _begins_inside(a, b))
    begun_by_b = sum(count for (a, b), count in moves.items() if split_tag(b)[0] == "B" and not _follows(a, b))
    return "IOB1" if begun_by_i > begun_by_b else "BIO"


@dataclass(frozen=True)
class Majority:
    """The scheme of nearly all sentences. `odd` are the sentences that are not written in it, by place, each with the tag
    that shows it; `against` are those that are too many for that, and kept more than half of them from being the scheme."""

    scheme: str
    odd: list[tuple[int, str]]
    against: list[tuple[int, str]]
    other: str = ""
    """The scheme that `against` are against."""


def scheme_of_most(sentences: Sequence[Sequence[str]]) -> Majority:
    """The scheme that the fewest sentences contradict, where `MOST` of those with spans agree; else `scheme_of` all."""
    scheme = scheme_of(sentences)
    least = _contradictions(sentences, scheme) if scheme != "plain" else len(sentences) + 1
    spanned = sum(any(tag != _OUTSIDE for tag in tags) for tags in sentences)
    found = Majority(scheme, [], [])
    for letters in _LETTERS if least else ():
        odd = [(place, tag) for place, tags in enumerate(sentences) if (tag := _stranger(tags, letters)) is not None]
        if not odd or 2 * len(odd) >= spanned:
            continue
        places = {place for place, _ in odd}
        rest = [tags for place, tags in enumerate(sentences) if place not in places]
        other = scheme_of(rest)
        contradictions = len(odd) + _contradictions(rest, other)
        if other == "plain" or contradictions >= least:
            continue
        least = contradictions
        found = Majority(other, odd, []) if len(odd) <= (1 - MOST) * spanned else Majority(scheme, [], odd, other)
    return found


def _is_of(letters: str, tag: str) -> bool:
    prefix, kind = split_tag(tag)
    return tag == _OUTSIDE or (len(prefix) == 1 and prefix in letters and ("-" not in tag or kind != ""))


def _stranger(tags: Sequence[str], letters: str) -> str | None:
    return next((tag for tag in tags if not _is_of(letters, tag)), None)


def _contradictions(sentences: Sequence[Sequence[str]], scheme: str) -> int:
    return sum(broken(tags, scheme) is not None for tags in sentences)


def _begins_inside(before: str, tag: str) -> bool:
    return split_tag(tag)[0] == "I" and not _follows(before, tag)


def _follows(before: str, tag: str) -> bool:
    """Whether both could be of one span."""
    return before != _OUTSIDE and split_tag(before)[1] == split_tag(tag)[1]


def spans_of(tags: Sequence[str], scheme: str = "BIO") -> list[Span]:
    """The spans of one sentence, broken chains included, as seqeval's default mode counts them.

    An I that follows nothing of its type begins a span; so does whatever follows E or S. M counts as I. Of plain tags
    each token that is not O is a span of its own.
    """
    if scheme == "plain":
        return [Span(tag, place, place + 1) for place, tag in enumerate(tags) if tag != _OUTSIDE]
    found: list[Span] = []
    start, kind, before = 0, "", _OUTSIDE
    for place, tag in enumerate((*tags, _OUTSIDE)):
        prefix, now = split_tag(tag)
        prefix = "I" if prefix == "M" else prefix
        goes_on = before not in (_OUTSIDE, "E", "S") and prefix in ("I", "E") and now == kind
        if not goes_on:
            if before != _OUTSIDE:
                found.append(Span(kind, start, place))
            start, kind = place, now
        before = prefix
    return found


def broken(tags: Sequence[str], scheme: str) -> int | None:
    """The place of the first tag that the scheme does not allow after the one before it, or None. The end is a tag too:
    a span left open there breaks at `len(tags)`."""
    allowed = moves_allowed(scheme)
    before = _OUTSIDE
    for place, tag in enumerate(tags):
        if not allowed(before, tag):
            return place
        before = tag
    return None if allowed(before, _OUTSIDE) else len(tags)


def moves_allowed(scheme: str) -> Callable[[str, str], bool]:
    """A function that tells whether a tag may follow another; O stands for what is before and after a sentence."""

    def allowed(before: str, tag: str) -> bool:
        if scheme in ("plain", "IOB1"):
            return True
        (a, kind), (b, now) = split_tag(before), split_tag(tag)
        if scheme == "BIO":
            return b != "I" or (a in ("B", "I") and kind == now)
        is_open = a in ("B", "I", "M")
        goes_on = b in ("I", "M", "E")
        return goes_on and kind == now if is_open else not goes_on

    return allowed


def count_spans(
    truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], scheme: str
) -> dict[str, tuple[int, int, int]]:
    """(right, true, answered) spans of each type; a span is right where type, start and end are."""
    right: Counter[str] = Counter()
    true: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for one, other in zip(truth, answers, strict=True):
        wanted, got = spans_of(one, scheme), spans_of(other, scheme)
        true.update(span.type for span in wanted)
        answered.update(span.type for span in got)
        right.update(span.type for span in {*wanted} & {*got})
    return {kind: (right[kind], true[kind], answered[kind]) for kind in sorted({*true, *answered})}


def span_scores(counts: Mapping[str, tuple[int, int, int]]) -> dict[str, float]:
    """Micro `f1`, `precision` and `recall` of such counts; 0 where nothing was to be found and nothing was."""
    right, true, answered = (sum(numbers[place] for numbers in counts.values()) for place in range(3))
    return {
        "f1": 2 * right / (true + answered) if true + answered else 0.0,
        "precision": right / answered if answered else 0.0,
        "recall": right / true if true else 0.0,
    }
