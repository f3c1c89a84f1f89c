"""The report and the model card: the right numbers, nothing loaded, no foreign markup, whole or not at all."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from browsing import browser
from recurra.errors import EnvironmentFailure
from recurra.inspection import card, report, streams, write_card, write_report
from recurra.inspection.confusion import _pooled
from recurra.inspection.curves import _thin, ticks
from recurra.inspection.measures import day, show
from recurra.inspection.verdict import best_point, cautions, curve_notes, judge

HOSTILE = "<script>alert('x')</script>\"><img src=https://evil.example/x onerror=y>"
VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.mistakes: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of_class(self, name: str) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, held) for tag, held in self.elements if name in (held.get("class") or "").split()]


def page_of(record: dict[str, Any]) -> Page:
    page = Page(report.render(record))
    assert page.mistakes == [] and page.open == []
    return page


def point(step: int, loss: float, valid: dict[str, float] | None = None) -> dict[str, Any]:
    return {"step": step, "epoch": step / 100, "seconds": step / 10, "rate": 0.002, "loss": loss, "valid": valid}


def language_record() -> dict[str, Any]:
    return {
        "kind": "language",
        "command": "recurra train poems.txt --minutes 1",
        "date": "2026-03-04T05:06:07",
        "version": "0.1.0",
        "seconds": 61.0,
        "out": "runs/poems",
        "data": {
            "name": "poems.txt",
            "guess": ["A text without columns: a language model."],
            "train": {"rows": 3, "tokens": 90000},
            "valid": {"rows": 1, "tokens": 5000},
            "problems": [{"line": 7, "message": "not UTF-8"}, {"line": None, "message": "short"}],
        },
        "model": {
            "cell": "GRU", "hidden": 64, "layers": 2, "parameters": 54321, "vocabulary": 99, "level": "characters",
        },
        "history": [
            point(100, 3.0, {"loss": 3.1}),
            point(200, 2.0, {"loss": 2.0}),
            point(300, 1.5, {"loss": 2.2}),
            point(400, 1.2, {"loss": 2.5}),
        ],
        "metrics": {"valid": {"loss": 2.0, "perplexity": 7.389, "bits_per_character": 2.885}},
        "baselines": [
            {"name": "5-gram", "split": "valid", "seconds": 0.4,
             "metrics": {"loss": 2.2, "perplexity": 9.025, "bits_per_character": 3.174}},
            {"name": "uniform", "split": "valid", "seconds": 0.0,
             "metrics": {"loss": 4.6, "perplexity": 99.0, "bits_per_character": 6.64}},
        ],
        "token_losses": {"tokens": ["苹", "果", "\n", "a"], "losses": [0.05, 1.5, 9.0, math.nan]},
        "fingerprint": "0123abcd",
        "next": ["recurra generate runs/poems"],
    }  # fmt: skip


def classify_record(labels: list[str], matrix: list[list[int]], baseline: float) -> dict[str, Any]:
    rows = sum(map(sum, matrix))
    accuracy = sum(matrix[i][i] for i in range(len(labels))) / rows
    scores = {"accuracy": accuracy, "macro_f1": 0.8}
    return {
        "kind": "classify",
        "command": "recurra train mail.csv",
        "date": "2026-03-04",
        "version": "0.1.0",
        "seconds": 30.0,
        "out": "runs/mail",
        "data": {"name": "mail.csv", "train": {"rows": 900}, "test": {"rows": rows}, "valid": {"rows": 50}},
        "model": {"cell": "LSTM", "hidden": 32, "layers": 1, "parameters": 1000, "labels": labels},
        "history": [point(10, 0.7, {"loss": 0.6, "accuracy": 0.5, "macro_f1": 0.4}), point(20, 0.5, scores)],
        "metrics": {"test": scores, "valid": {"accuracy": 0.9, "macro_f1": 0.85}},
        "baselines": [
            {"name": "words", "split": "test", "metrics": {"accuracy": baseline, "macro_f1": 0.82}, "seconds": 0.5},
            {"name": "guess", "split": "test", "metrics": {"accuracy": 0.01, "macro_f1": 0.01}, "seconds": 0.0},
            {"name": "words", "split": "valid", "metrics": {"accuracy": 0.99, "macro_f1": 0.99}, "seconds": 0.5},
        ],
        "confusion": {"labels": labels, "matrix": matrix},
        "fingerprint": "ff00",
    }


BINARY = [[900, 20], [30, 50]]


def test_the_language_report_says_the_right_numbers() -> None:
    page = page_of(language_record())
    for words in (
        "The recurrent model earned its keep",
        "It reached 2.885 bits per character on validation data (5,000 tokens), against 3.174 for the best baseline "
        "(5-gram): 9.1 % less, and less is better.",
        "expect slightly worse on data never seen",
        "GRU · 54,321 parameters · trained for 1:01 · 4 March 2026, 05:06",
        "Validation was best at step 200 and got worse afterwards",
        "best 2.000 at step 200",
        "3 documents, 90,000 tokens",
        "2 problems in the data line 7: not UTF-8 short",
        "2 × 64",
        "99 characters",
        "recurra train poems.txt --minutes 1",
        "recurra generate runs/poems",
        "0123abcd",
        "Recurra 0.1.0",
        "4 tokens, 3.517 nats each on average",
    ):
        assert words in page.text, words
    assert [title for tag, _ in page.elements for title in [tag] if tag == "table"] == ["table"]


def test_tokens_are_coloured_by_their_loss() -> None:
    page = page_of(language_record())
    spans = [(held["class"], held["data-nats"]) for tag, held in page.elements if "data-nats" in held]
    assert spans == [
        ("t t0", "0.050 nats · 95.1 %"),
        ("t t3", "1.500 nats · 22.3 %"),
        ("t t7", "9.000 nats · 0.0123 %"),
        ("t", "no finite loss"),
    ]
    assert "↵" in page.text and "苹" in page.text
    assert len(page.of_class("t")) == 4 + 8  # the legend shows eight colours


def test_words_get_their_spaces_back_and_chinese_none() -> None:
    record = language_record()
    record["model"]["level"] = "words"
    record["token_losses"] = {"tokens": ["an", "apple", ",", "苹", "果", "pie"], "losses": [1.0] * 6}
    page = page_of(record)
    start = page.words.index("an")
    assert "".join(page.words[start : start + 7]) == "an apple,苹果pie"


def test_bars_stand_for_the_judged_measure() -> None:
    bars = [held["style"] for tag, held in page_of(language_record()).elements if tag == "i"]
    assert bars == ["--w:43.4%", "--w:47.8%", "--w:100.0%"]


def test_the_judged_measure_comes_first() -> None:
    record = classify_record(["ham", "spam"], BINARY, 0.5)
    for entry in record["baselines"]:
        del entry["metrics"]["accuracy"]
    assert (
        "method macro F1 accuracy time words 82.0 % – 0.5 s LSTM this model 80.0 % 95.0 % 30 s" in page_of(record).text
    )


def test_all_figures_of_a_forecaster_stand_beside_one_another(tmp_path: Path) -> None:
    """No column of the table of baselines is cut off in a window of 1,000 pixels."""
    figures = {"mse": 0.381, "mae": 0.402, "loss": 0.412, "smape": 0.126, "mase": 23.35, "owa": 18.14,
               "coverage80": 0.804, "coverage95": 0.975}  # fmt: skip
    record = {**language_record(), "kind": "forecast", "metrics": {"valid": figures}, "seconds": 754.0}
    record["baselines"] = [
        {"name": "feed-forward network", "detail": "5,248 parameters, no state", "split": "valid",
         "metrics": figures, "seconds": 754.0},
    ]  # fmt: skip
    write_report(tmp_path / "report.html", record)
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1000, "height": 800})
        page.goto((tmp_path / "report.html").as_uri())
        table = page.locator(".comparison")
        assert table.locator("thead th").count() == 11
        assert table.evaluate("table => table.scrollWidth - table.clientWidth") <= 0


def test_nothing_is_loaded_and_no_script_runs() -> None:
    record = classify_record(["ham", HOSTILE], BINARY, 0.5)
    record["command"] = record["data"]["name"] = record["out"] = HOSTILE
    record["baselines"][0]["name"] = record["model"]["cell"] = record["fingerprint"] = HOSTILE
    record["data"]["problems"] = [{"line": 1, "message": HOSTILE}]
    record["data"]["guess"] = record["next"] = [HOSTILE]
    record["metrics"]["test"][HOSTILE] = 1.0
    record["date"] = record["version"] = HOSTILE
    record["token_losses"] = {"tokens": [HOSTILE, "\x00\ud800"], "losses": [1.0, 2.0]}
    text = report.render(record)
    page = page_of(record)
    assert "<script" not in text and "<img" not in text
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "base", "image", "use", "a", "form"}
    held = [(name, value) for _, attributes in page.elements for name, value in attributes.items()]
    assert not [name for name, _ in held if name.startswith("on") or name in ("src", "href", "xlink:href")]
    assert not re.search(r"https?:|@import|url\(", report.STYLE)
    assert not [value for name, value in held if name == "style" and not re.fullmatch(r"--w:[\d.]+%", value or "")]
    policy = [dict(a)["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    assert HOSTILE in page.text
    text.encode()


def test_a_model_that_lost_is_said_to_have_lost() -> None:
    record = classify_record(["ham", "spam"], BINARY, 0.99)
    verdict = judge(record)
    assert (verdict.outcome, verdict.split, verdict.measure) == ("worse", "test", "accuracy")
    page = page_of(record)
    assert (
        "The recurrent model did not earn its keep It reached 95.0 % accuracy on test data (1,000 rows), against "
        "99.0 % for the best baseline (words): 4.0 points fewer. The baseline is simpler and was ready in 0.5 s "
        "instead of 30 s: use it, unless longer training or more data changes this."
    ) in page.text
    assert [tag for tag, _ in page.of_class("worse")] == ["section"]


@pytest.mark.parametrize(
    ("baseline", "outcome"), [(0.90, "better"), (0.935, "even"), (0.95, "even"), (0.96, "even"), (0.98, "worse")]
)
def test_small_differences_are_luck(baseline: float, outcome: str) -> None:
    # 1,000 rows at 95 %: two standard errors of a difference are about two points.
    assert judge(classify_record(["ham", "spam"], BINARY, baseline)).outcome == outcome


def test_even_wording_and_macro_f1_caution() -> None:
    even = classify_record(["ham", "spam"], BINARY, 0.96)
    assert "With 1,000 rows a difference this small can be luck." in judge(even).sentence
    better = classify_record(["ham", "spam"], BINARY, 0.5)
    assert cautions(better, judge(better)) == [
        "By macro F1, which counts every label alike, words is ahead (82.0 % against 80.0 %): the rare labels suffer."
    ]


def test_language_within_half_a_per_cent_is_even() -> None:
    record = language_record()
    record["metrics"]["valid"]["bits_per_character"] = 3.174 * 0.996
    assert judge(record).outcome == "even"
    record["metrics"]["valid"]["bits_per_character"] = 3.174 * 1.006
    assert judge(record).outcome == "worse"


def test_no_baseline_and_no_result_are_said() -> None:
    record = language_record()
    record["baselines"] = []
    assert judge(record).headline == "Nothing to compare with"
    record["metrics"]["valid"] = {"loss": math.nan, "perplexity": math.inf, "bits_per_character": None}
    assert judge(record).headline == "No usable result"
    assert "Do not use this model" in page_of(record).text


@pytest.mark.parametrize("count", [2, 12, 50])
def test_the_confusion_matrix_is_whole(count: int) -> None:
    labels = [f"label {i}" for i in range(count)]
    matrix = [[9 if i == j else int(j == (i + 1) % count) for j in range(count)] for i in range(count)]
    page = page_of(classify_record(labels, matrix, 0.1))
    cells = [held["class"] for tag, held in page.elements if tag == "rect" and held.get("class") != "heat-back"]
    assert cells.count("right l8") == count  # nine in ten
    assert cells.count("wrong l3") == count  # one in ten
    assert len(cells) == 2 * count
    assert f"{9 * count} of {10 * count} rows were given their true label" in page.text
    assert "label 0 → label 1: 1 (10 %)" in page.text
    assert "label 0 taken for label 1 : 1 row, 10 % of the former" in page.text
    assert "label 1 10 90.0 % 90.0 % 90.0 %" in page.text


def test_more_labels_than_fit_become_one() -> None:
    labels = [str(i) for i in range(60)]
    matrix = [[(100 - i if i == j else 0) for j in range(60)] for i in range(60)]
    names, pooled = _pooled(labels, matrix)
    assert len(names) == len(pooled) == 50 and names[-1] == "(11 others)" and names[0] == "0"
    assert sum(map(sum, pooled)) == sum(map(sum, matrix))
    assert pooled[49][49] == sum(100 - i for i in range(49, 60))


def test_the_largest_report_stays_below_a_megabyte() -> None:
    labels = [f"{'长' * 60}{i}" for i in range(200)]
    record = classify_record(labels, [[7] * 200 for _ in range(200)], 0.5)
    record["token_losses"] = {"tokens": ["<&>"] * 50_000, "losses": [2.0] * 50_000}
    record["history"] = [point(i, 1 / i, {"accuracy": i / 5000}) for i in range(1, 3000)]
    record["data"]["problems"] = [{"line": i, "message": "x" * 5000} for i in range(5000)]
    assert len(report.render(record).encode()) < 1_000_000
    assert "best accuracy 60.0 % at step 2,999" in page_of(record).text


def test_missing_keys_and_broken_numbers_do_not_stop_it() -> None:
    for record in ({}, {"kind": "classify"}, {"history": [], "metrics": {}}, {"data": None, "model": None}):
        assert "No usable result" in page_of(dict(record)).text
        assert card.render(record).startswith("---\nlibrary_name: recurra\n")
    whole = language_record()
    for key in whole:
        page_of({k: v for k, v in whole.items() if k != key})
        assert card.render({k: v for k, v in whole.items() if k != key})
    for group in ("data", "model", "metrics"):
        for key in whole[group]:
            record = copy.deepcopy(whole)
            del record[group][key]
            page_of(record)
            assert card.render(record)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [point(5, 1.0)],
        [point(5, 1.0, {"loss": 1.0})],
        [point(5, math.nan)],
        [point(5, math.nan, {"loss": math.inf}), point(6, math.inf, {"loss": math.nan}), point(7, 1.0)],
        [point(5, 1e308), point(6, -1e300, {"loss": 0.0})],
        [point(3, 1.0), point(3, 2.0)],
        [{"step": None}, {}, {"step": 1, "valid": None}],
    ],
)
def test_any_history_can_be_drawn(history: list[dict[str, Any]]) -> None:
    record = language_record()
    record["history"] = history
    page = page_of(record)
    for tag, held in page.elements:
        if tag in ("polyline", "circle", "line", "text", "rect", "svg"):
            assert not re.search("nan|inf", str([v for k, v in held.items() if k != "class"])), (tag, held)


def test_a_broken_loss_breaks_the_line_and_is_said() -> None:
    record = language_record()
    record["history"] = [point(step, math.nan if step == 30 else 2.0) for step in (10, 20, 30, 40, 50)]
    page = page_of(record)
    lines = [held["points"] for tag, held in page.elements if tag == "polyline" and "train" in (held["class"] or "")]
    assert [len((points or "").split()) for points in lines] == [2, 2, 2, 2]  # twice two: wide and narrow
    assert curve_notes(record)[0] == (
        "The training loss was not a finite number at 1 point, first at step 30: the learning rate may be too high."
    )


def test_the_best_point_is_the_lowest_loss_unless_the_record_says() -> None:
    record = language_record()
    assert best_point(record) == (1, "loss")
    record["best_step"] = 300
    assert best_point(record) == (2, "loss")
    assert best_point(classify_record(["a", "b"], BINARY, 0.5)) == (1, "macro_f1")


def test_still_improving_is_said() -> None:
    record = language_record()
    record["history"] = [point(i, 3 - i, {"loss": 3.0 - i / 10}) for i in range(1, 5)]
    assert curve_notes(record) == ["Validation was still improving at the end: longer training would probably help."]


def streaming(**changed: Any) -> dict[str, Any]:
    return {
        "measure": "loss",
        "memory": {
            "context": {"steps": 40, "more": False, "curve": [[1, 3.0], [2, 2.0], [40, 1.5], [112, 1.49]]},
            "gradient": {"steps": 39, "more": False, "curve": [[1, 1.0], [39, 0.01], [128, 0.0]]},
        },
        "sentences": ["The norm of the state is <b>large</b>."],
        "warnings": ["The state 0.h drifts."],
        **changed,
    }


def test_the_report_tells_how_it_streams() -> None:
    record = {**language_record(), "streaming": streaming()}
    page = page_of(record)
    for words in (
        "Streaming The state 0.h drifts. The norm of the state is <b>large</b>.",
        "Loss by steps of context", "Gradient left by steps back", "40 steps", "39 steps", "1e-10",
    ):  # fmt: skip
        assert words in page.text, words
    assert len(page.of_class("warning")) == 1
    dots = [words for words in page.words if re.fullmatch(r"[\d,]+ steps?: .*", words)]
    # twice: wide and narrow
    assert dots[: len(dots) // 2] == dots[len(dots) // 2 :] == [
        "1 step: 3.000", "2 steps: 2.000", "40 steps: 1.500", "112 steps: 1.490",
        "1 step: 1.0e+00", "39 steps: 1.0e-02", "128 steps: 1.0e-12",
    ]  # fmt: skip
    assert "- The state 0.h drifts." in card.render(record)


def test_the_curves_of_memory_stand_where_they_should() -> None:
    """The axis has an octave for each octave, the metric its value, the gradient its exponent."""
    drawing = streams.draw({"streaming": streaming()}, 736.0)
    assert drawing is not None
    lines = [held["points"] or "" for tag, held in Page(drawing).elements if tag == "polyline"]
    context, gradient = ([tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines)
    octave = context[1][0] - context[0][0]
    assert context[2][0] - context[0][0] == pytest.approx(math.log2(40) * octave, abs=1)
    assert gradient[2][0] == pytest.approx(736 - 14) and context[0][0] == gradient[0][0] == 52
    assert (context[0][1] - context[1][1]) / (context[0][1] - context[2][1]) == pytest.approx(1 / 1.5, abs=0.01)
    assert (gradient[0][1] - gradient[1][1]) / (gradient[0][1] - gradient[2][1]) == pytest.approx(2 / 12, abs=0.01)
    # a memory whose end was not seen has no mark
    more = streaming()
    more["memory"]["context"]["more"] = more["memory"]["gradient"]["more"] = True
    open_ended = streams.draw({"streaming": more}, 736.0)
    assert open_ended is not None and "best" in drawing and "best" not in open_ended


def test_accuracy_by_context_is_a_share() -> None:
    found = streaming(measure="accuracy")
    found["memory"]["context"]["curve"] = [[1, 0.25], [8, 0.9]]
    page = page_of({**language_record(), "streaming": found})
    assert "Accuracy by steps of context" in page.text and "8 steps: 90.0 %" in page.text and "60 %" in page.text


@pytest.mark.parametrize(
    "found",
    [
        None, 5, [], {}, {"sentences": []}, {"sentences": ["Not measured."], "warnings": []},
        streaming(memory=5), streaming(memory={"context": [], "gradient": {"curve": 3}}),
        streaming(memory={"context": {"curve": [[1], [math.nan, 1], "ab", [0, 1], [1, None], [2, 3]]}}),
        streaming(memory={"context": {"steps": "x", "curve": [[1, 2], [1, 2]]}, "gradient": {"steps": -1}}),
        streaming(memory={"context": {"steps": 10**9, "curve": [[1, 2], [3, 2]]}}),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_part_on_streams_that_is_missing_or_broken(found: Any) -> None:
    record = {**language_record(), "streaming": found}
    said = isinstance(found, dict) and bool(found.get("sentences"))
    assert ("Streaming" in page_of(record).words) == said
    card.render(record)


def test_ticks_and_thinning() -> None:
    assert ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.9, 3.2, 5) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert ticks(1, 1, 5) == [1]
    thinned = _thin([(float(i), None if i == 0 else float(i)) for i in range(1000)])
    assert len(thinned) == 500 and thinned[0] == (0.5, None) and thinned[1] == (2.5, 2.5)


def test_numbers_are_readable() -> None:
    shown = [show("perplexity", value) for value in (7.38905, 65.0, 123.45, 12345.6, 1e9, math.nan, None, True)]
    assert shown == ["7.389", "65.00", "123.5", "12,346", "1e+09", "–", "–", "–"]
    assert show("accuracy", 0.9123) == "91.2 %"
    assert day("2026-11-03T04:05:06+08:00") == "3 November 2026, 04:05" and day("soon") == "soon"


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    write_report(target, language_record())
    assert target.read_text("utf-8") == report.render(language_record())
    write_card(tmp_path / "new" / "README.md", language_record())
    assert sorted(file.name for file in target.parent.iterdir()) == ["README.md", "report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match=r"Cannot write .*report\.html"):
        write_report(tmp_path / "file" / "report.html", language_record())


def test_the_card_has_the_hubs_front_matter() -> None:
    text = card.render(language_record())
    front = text.split("---\n")[1]
    assert front == (
        'library_name: recurra\npipeline_tag: text-generation\ntags:\n- "recurra"\n- "recurrent-neural-network"\n'
        '- "gru"\n- "text-generation"\nmetrics:\n- "bits_per_character"\n- "perplexity"\n- "loss"\n'
    )
    assert '\nmetrics:\n- "accuracy"\n- "f1"\n---' in card.render(classify_record(["a", "b"], BINARY, 0.5))
    assert "pipeline_tag" not in card.render(classify_record(["a", "b"], BINARY, 0.5))  # numbers, not texts


def test_the_card_tells_results_use_and_command() -> None:
    text = card.render(language_record())
    for lines in (
        "# poems.txt: a Recurra language model",
        "A recurrent network (GRU): 2 layers of 64 units, 54,321 parameters, a vocabulary of 99 characters.",
        'model = recurra.load("runs/poems")',
        'recurra generate runs/poems --prompt "Once upon a time"',
        "**The recurrent model earned its keep.**",
        "| On validation data | bits per character | perplexity | loss | time |\n| :--- | ---: | ---: | ---: | ---: |\n"
        "| **GRU** | 2.885 | 7.389 | 2.000 | 1:01 |\n| 5-gram | 3.174 | 9.025 | 2.200 | 0.4 s |",
        "| training data | 3 | 90,000 |",
        "2 problems in the data; report.html lists them.",
        "It was not measured on test data of its own.",
        "```sh\nrecurra train poems.txt --minutes 1\n```",
    ):
        assert lines in text, lines
    assert "test data of its own" not in card.render(classify_record(["a", "b"], BINARY, 0.5))


def test_the_card_escapes_what_is_not_its_own() -> None:
    record = classify_record(["a|b", "*x*\n# y <b>"], BINARY, 0.5)
    record["baselines"][0]["name"] = "pipe | <i>"
    record["command"] = "echo '```'\n# no heading"
    record["model"]["cell"] = 'G"RU\n---'
    record["out"] = "it's; rm -rf"
    text = card.render(record)
    assert "a\\|b, \\*x\\* \\# y \\<b\\>" in text
    assert "| pipe \\| \\<i\\> |" in text
    assert "````sh\necho '```'\n# no heading\n````" in text
    front = text.split("\n---\n")[0]
    assert f"- {json.dumps(chr(103) + chr(34) + 'ru' + chr(10) + '---')}" in front.splitlines()
    assert "recurra predict 'it'\\''s; rm -rf' new.csv" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5, 4}


def test_a_run_under_way_shows_itself_anew() -> None:
    record = {"kind": "language", "history": [{"step": 5, "loss": 2.0, "valid": {"loss": 2.1}, "best": True}]}
    assert 'http-equiv="refresh"' in report.render({**record, "under_way": True})
    assert "The run is under way" in report.render({**record, "under_way": True})
    assert 'http-equiv="refresh"' not in report.render(record)
