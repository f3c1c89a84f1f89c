"""Schemes told apart, spans found in whole and broken chains, and the counts that f1 comes from.

The table of `CHAINS` is what seqeval (its default mode) answers, looked up once; M counts as I, which it does not know.
"""

from __future__ import annotations

import pytest

from recurra.data.spans import (
    SCHEMES,
    Majority,
    Span,
    broken,
    count_spans,
    moves_allowed,
    scheme_of,
    scheme_of_most,
    span_scores,
    spans_of,
)

SENTENCES = [
    ("BIO", ["O B-X I-X O B-Y", "B-X B-X I-X"]),
    ("BIO", ["B-NP I-NP B-VP"]),
    ("BIO", ["B-X O", "I-X O", "B-X I-X O B-X"]),  # a slip among spans that begin with B
    ("IOB1", ["O I-X I-X B-X O", "I-Y O"]),
    ("IOB1", ["I-X O", "O I-Y"]),
    ("BIOES", ["B-X I-X E-X O S-Y"]),
    ("BIOES", ["S-X O B-Y E-Y"]),
    ("BMES", ["B-X M-X E-X O S-Y"]),
    ("BMES", ["B M E S B E"]),  # words of Chinese, without types
    ("plain", ["NN VB DT", "NN -LRB- ,"]),
    ("plain", ["O O"]),
    ("plain", ["PER O LOC"]),
    ("plain", ["X-ray B-boy O"]),
    ("plain", ["S V O", "S V"]),  # subject, verb, object
]


@pytest.mark.parametrize(("scheme", "sentences"), SENTENCES, ids=[" / ".join(case[1]) for case in SENTENCES])
def test_schemes(scheme: str, sentences: list[str]) -> None:
    assert scheme_of(line.split() for line in sentences) == scheme


CHAINS = [
    ("B-X I-X O B-Y", [("X", 0, 2), ("Y", 3, 4)]),
    ("B-X B-X I-X", [("X", 0, 1), ("X", 1, 3)]),
    ("I-X I-X O I-Y", [("X", 0, 2), ("Y", 3, 4)]),
    ("O I-X B-X", [("X", 1, 2), ("X", 2, 3)]),
    ("B-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),
    ("B-X E-X S-X E-X", [("X", 0, 2), ("X", 2, 3), ("X", 3, 4)]),
    ("B-X I-X", [("X", 0, 2)]),
    ("E-X E-X I-X", [("X", 0, 1), ("X", 1, 2), ("X", 2, 3)]),
    ("S-X I-X B-X O", [("X", 0, 1), ("X", 1, 2), ("X", 2, 3)]),
    ("B-X M-X E-X M-X O", [("X", 0, 3), ("X", 3, 4)]),
    ("B-a-b I-a-b", [("a-b", 0, 2)]),
    ("B E S", [("", 0, 2), ("", 2, 3)]),
    ("O O", []),
    ("", []),
]


@pytest.mark.parametrize(("tags", "spans"), CHAINS, ids=[case[0] for case in CHAINS])
def test_spans(tags: str, spans: list[tuple[str, int, int]]) -> None:
    assert spans_of(tags.split()) == [Span(*span) for span in spans]


def test_plain_tags_are_counted_one_by_one() -> None:
    assert spans_of(["A", "O", "A"], "plain") == [Span("A", 0, 1), Span("A", 2, 3)]


BROKEN = [
    ("BIO", "O I-X", 1),
    ("BIO", "B-X I-Y", 1),
    ("BIO", "B-X I-X B-X", None),
    ("IOB1", "O I-X B-X", None),
    ("BIOES", "B-X O", 1),
    ("BIOES", "B-X I-X", 2),
    ("BIOES", "S-X E-X", 1),
    ("BIOES", "B-X E-X S-Y", None),
    ("BMES", "B-X M-Y", 1),
    ("BMES", "B-X B-X", 1),
    ("plain", "I-X", None),
]


MANY = [["B-X", "I-X", "O"], ["O", "B-Y"], ["O", "O"]] * 20
CLOSED = [["B-X", "I-X", "E-X", "O"], ["O", "S-Y"], ["O", "O"]] * 20


@pytest.mark.parametrize("tag", ["Bartist", "B-", "", "E-X", "M-X"])
def test_one_odd_tag_does_not_change_the_scheme(tag: str) -> None:
    assert scheme_of_most([*MANY, ["O", tag]]) == Majority("BIO", [(60, tag)], [])
    if tag != "E-X":
        assert scheme_of_most([["O", tag], *CLOSED]) == Majority("BIOES", [(0, tag)], [])


def test_many_odd_tags_do() -> None:
    odd = [["O", "E-X"]] * 5
    assert scheme_of_most([*odd, *MANY]) == Majority("BIOES", [], [(place, "E-X") for place in range(5)], "BIO")
    assert scheme_of_most([["Bartist"], *MANY[:6]]) == Majority("plain", [], [(0, "Bartist")], "BIO")
    for sentences in (MANY, CLOSED, [["NN", "VB"], ["O"]] * 30, [["PER"], *[["O"]] * 60]):
        assert scheme_of_most(sentences) == Majority(scheme_of(sentences), [], [])


@pytest.mark.parametrize(("scheme", "tags", "place"), BROKEN)
def test_broken_chains(scheme: str, tags: str, place: int | None) -> None:
    assert broken(tags.split(), scheme) == place


def test_moves_of_a_scheme() -> None:
    allowed = moves_allowed("BIO")
    assert allowed("B-X", "I-X") and not allowed("O", "I-X") and not allowed("B-Y", "I-X") and allowed("I-X", "B-Y")
    assert all(moves_allowed(scheme)("O", "O") for scheme in SCHEMES)


def test_scores_by_hand() -> None:
    truth = [["B-X", "I-X", "O", "B-Y"], ["B-Y", "O"]]
    answers = [["B-X", "I-X", "B-Y", "I-Y"], ["B-Y", "O"]]
    counts = count_spans(truth, answers, "BIO")
    assert counts == {"X": (1, 1, 1), "Y": (1, 2, 2)}
    assert span_scores(counts) == {"f1": pytest.approx(2 / 3), "precision": pytest.approx(2 / 3), "recall": 2 / 3}
    assert span_scores(count_spans([["O"]], [["O"]], "BIO")) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
