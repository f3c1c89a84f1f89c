"""Spans in the report: right and wrong ones told apart, foreign markup harmless, damaged records read as far as they go."""

from __future__ import annotations

from typing import Any

from recurra.inspection import report, spans

HOSTILE = "<script>alert('x')</script>"
SENTENCE = {"tokens": ["in", "New", "York", "now"], "truth": [["PLACE", 1, 3]], "answer": [["PLACE", 1, 3]]}
MISSED = {"tokens": [*"在北京"], "truth": [["PLACE", 1, 3]], "answer": [[HOSTILE, 0, 1], ["PLACE", 1, 2]]}


def page(**parts: Any) -> str:
    return report.render({"kind": "tag", "metrics": {"valid": {"f1": 0.5, "accuracy": 0.9, "loss": 1.0}}, **parts})


def test_right_and_wrong_spans() -> None:
    found = page(tagged=[SENTENCE, MISSED], types={"PLACE": [1, 2, 3], "": [0, 1, 0]}, model={"level": "words"})
    assert '<span class="span right l2">New York<sub>PLACE</sub></span> now' in found
    # the truth stands below an answer that is another, and only there
    assert found.count("<b>model</b>") == 2 and found.count("<b>truth</b>") == 1
    assert '<span class="span wrong l3">北京<sub>PLACE</sub></span>' in found
    assert "(without a type)" in found and "33.3 %" in found and "50.0 %" in found
    assert "<script>" not in found and "&lt;script&gt;" in found


def test_characters_stand_without_spaces() -> None:
    assert "在<span" in page(tagged=[MISSED], model={"level": "characters"}).replace("<b>truth</b>", "")
    assert "What was marked" not in page()


def test_damaged_parts_are_left_out() -> None:
    broken = [
        {"tokens": ["a"], "truth": [["X", 0, 9], ["X", "a", 1], 3, ["X", 1, 1]], "answer": None},
        7,
        {"tokens": 3},
    ]
    found = spans.read({"tagged": broken})
    assert found == [(["a"], [], []), ([], [], [])]
    assert spans.per_type({"types": {"X": [1, 2], "Y": "abc"}}) is None
    page(tagged=broken, types={"X": [None, float("nan"), "3"]})


def test_spans_that_overlap_are_drawn_once() -> None:
    drawn = spans.draw([(["a", "b"], [("X", 0, 2), ("Y", 1, 2)], [("X", 0, 2), ("Y", 1, 2)])], apart=True)
    assert drawn.count("<sub>") == 1 and "a b" in drawn


def test_the_curves_are_of_what_a_tagger_is_judged_by() -> None:
    history = [{"step": step, "valid": {"f1": 0.5, "accuracy": 0.9, "loss": 1.0}, "loss": 1.0} for step in (1, 2, 3)]
    found = page(history=history)
    assert ">F1</text>" in found and found.index(">F1</text>") < found.index(">accuracy</text>")
    assert ">F1</text>" not in page(history=[{**entry, "valid": {"loss": 1.0}} for entry in history])
