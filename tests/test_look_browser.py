"""The page of a look in a real browser: it loads alone, shows the model's numbers, and does what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from browsing import Opened, browser
from recurra.cells import CELLS
from recurra.data.codecs import LabelCodec
from recurra.data.text_codec import TextCodec
from recurra.layers import StackConfig
from recurra.look import looking, packing
from recurra.look.looking import Look, look
from recurra.look.page import render
from recurra.look.shapes import colours
from recurra.models import Classifier, LanguageModel, Task
from recurra.models.classifier import ClassifierConfig
from recurra.models.language import LanguageModelConfig
from recurra.state import leaves
from recurra.streaming import Session
from test_look import KINDS, build
from test_look_page import HOSTILE

ONE, OTHER = "快过圣诞节了，好想要一个苹果", "手机坏了，好想要一个苹果"
EXACT = 1e-4
"""How far what the page computes may be from the model."""


def classifier(
    cell: str = "gru", *, hidden: int = 8, texts: tuple[str, ...] = (ONE, OTHER), **options: Any
) -> Classifier:
    torch.manual_seed(0)
    codec = TextCodec.learn(texts)
    summary = options.pop("summary", "last")
    config = ClassifierConfig(
        stack=StackConfig(cell=cell, hidden=hidden, **options),
        vocabulary=codec.size,
        embedding=8,
        classes=2,
        summary=summary,
    )
    model = Classifier(config, LabelCodec(["水果", "手机"]), codec).eval()
    # larger than they begin, so that the steps differ
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def language(cell: str = "lstm", layers: int = 2) -> LanguageModel:
    torch.manual_seed(0)
    codec = TextCodec.learn(["to be or not to be"])
    config = LanguageModelConfig(
        stack=StackConfig(cell=cell, hidden=8, layers=layers), vocabulary=codec.size, embedding=6
    )
    return LanguageModel(config, codec).eval()


UNNAMED = """() => [...document.querySelectorAll('button, input, select, canvas, svg, [role=img], [role=region]')]
    .filter(e => !e.closest('[aria-hidden]') && !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
    .map(e => e.outerHTML.slice(0, 90))"""
"""Whatever can be pressed or shows a picture, and has no name."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as one:
        yield one


class Bench:
    """Writes pages and opens them."""

    def __init__(self, chromium: Any, folder: Path) -> None:
        self.chromium, self.folder = chromium, folder

    def open(
        self, model: Task, *texts: Any, width: int = 1200, why: int = 1, corpus: Any = None, **options: Any
    ) -> tuple[Look, Opened]:
        looked = look(model, *texts, why=why, corpus=corpus)
        path = self.folder / f"{len(list(self.folder.iterdir()))}.html"
        path.write_text(render(looked), "utf-8")
        return looked, Opened(self.chromium, path, width=width, **options)


@pytest.fixture
def bench(chromium: Any, tmp_path: Path) -> Bench:
    return Bench(chromium, tmp_path)


# ---- it loads


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_loads_alone_at_any_width_in_both_languages(bench: Bench, width: int) -> None:
    looked, opened = bench.open(classifier(), ONE, OTHER, width=width, color_scheme="dark" if width == 800 else "light")
    with opened:
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        count = f"{looked.task.parameter_count:,}"
        assert count in opened.text("#counted") and "run 14 times" in opened.text("#counted")
        page.click("#language")
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert "运行 14 次" in opened.text("#counted") and count in opened.text("#counted")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # a page has one way in for each of its parts, and names for all that can be pressed
        assert page.evaluate(UNNAMED) == []


@pytest.mark.parametrize(
    ("kind", "strips", "counted"),
    [
        (
            "tag-both-ways",
            1,
            "2 layers one above the other, each of two cells, one that reads forwards and one backwards, run 3 times.",
        ),
        ("translate-gru", 2, "one backwards, run 4 times; 2 cells one above the other, run once."),
        ("forecast-gru", 2, "run 9 times; one cell, run "),
        ("forecast-lookback", 1, "3 cells one above the other, run 2 times."),
        ("classify-ensemble-holes", 1, "2 networks side by side, each of 2 cells one above the other, run 7 times."),
    ],
)
def test_every_task_has_a_page(bench: Bench, kind: str, strips: int, counted: str) -> None:
    looked, opened = bench.open(build(kind, torch.float32), KINDS[kind], why=1)
    with opened:
        page = opened.page
        # layers that take other steps than the inputs, such as an encoder's, stand in a strip of their own
        assert page.locator(".strip").count() == strips and counted in opened.text("#counted")
        for part in ("cell", "why", "time", "units"):
            assert len(opened.text(f"#{part}")) > 80
        assert page.locator("#why [data-method]").count() == 3
        # a translation is explained by its source
        inputs = looked.scenes[0].inputs
        if "texts" in inputs:
            heads = page.locator("#reasons thead th[data-step]").evaluate_all("all => all.map(e => e.firstChild.data)")
            assert heads == inputs.get("source", inputs["texts"])
        attention = looked.scenes[0].attention
        shares = [float(cell.get_attribute("title")) for cell in page.locator("#attention tbody td").all()]
        np.testing.assert_allclose(shares, [] if attention is None else attention.ravel(), rtol=1e-3)
        page.click("summary")
        page.wait_for_selector(".table tbody tr", state="attached")
        rows = page.locator(".table tbody tr").count()
        assert rows == (looked.scenes[0].steps if kind != "forecast-lookback" else rows) > 0


def test_hostile_texts_are_shown_and_do_nothing(bench: Bench) -> None:
    told = [text for text in HOSTILE if text != "\ud800"]
    text = "".join(told)
    model = classifier(texts=(text,))
    model.labels.__init__(["<img src=x onerror=alert(2)>", "</script>"])
    looked, opened = bench.open(model, text)
    with opened:
        page = opened.page
        assert page.locator("img").count() == 0 and page.locator("script").count() == 2
        assert "<img src=x onerror=alert(2)>" in opened.text(".answer-line")
        # controls and signs that turn the direction of others have a form that can be seen
        shown = page.locator("#units .coloured span").all_inner_texts()
        assert len(shown) == looked.scenes[0].steps
        assert "⟨202E⟩" in shown and "␇" in shown and "␛" in shown and "<" in shown


# ---- its numbers are the model's


@pytest.mark.parametrize(
    "model",
    [
        *(pytest.param((cell, {}), id=cell) for cell in CELLS),
        pytest.param(("gru", {"bidirectional": True, "layers": 2, "residual": True}), id="both-ways"),
        pytest.param(("lstm", {"summary": "max", "residual": True, "layers": 2}), id="max"),
        pytest.param(("elman", {"summary": "all", "bidirectional": True, "activation": "relu"}), id="all"),
    ],
)
def test_the_page_runs_each_cell_as_the_model_does(bench: Bench, model: tuple[str, dict[str, Any]]) -> None:
    cell, options = model
    task = classifier(cell, **options)
    _, opened = bench.open(task, ONE, why=0)
    with opened:
        # every leaf of every state of every step, against what Python put into the page
        assert opened.number("#whatif", "difference") < EXACT
        same_answer(opened, "#oldState", task, ONE)
        opened.page.click("[data-place='3']")
        opened.page.click("[data-do='remove']")
        same_answer(opened, "#newState", task, ONE[:3] + ONE[4:])


def same_answer(opened: Opened, where: str, task: Any, text: str) -> None:
    expected = task.decode(task(task.encode([text]).inputs)[0])[0]["probabilities"]
    rows = opened.page.locator(f"{where} .guesses li")
    found = {row.locator("span").first.inner_text(): float(row.get_attribute("data-p")) for row in rows.all()}
    assert found == pytest.approx(expected, abs=EXACT)


def test_order_changes_the_answer_of_a_language_model_as_in_python(bench: Bench) -> None:
    task = language()
    _, opened = bench.open(task, "to be")
    with opened:
        page = opened.page
        assert opened.number("#whatif", "difference") < EXACT
        page.click("[data-place='0']")
        page.click("[data-do='later']")
        moved = task(task.encode(["ot be"]).inputs)[0][0, -1].double().softmax(-1)
        found = [float(row.get_attribute("data-p")) for row in page.locator("#newState .guesses li").all()]
        assert found == pytest.approx(moved.topk(5).values.tolist(), abs=EXACT)
        assert opened.number("#distance", "distance") > 0
        page.fill("#free-text", "to be")
        page.press("#free-text", "Enter")
        assert opened.number("#distance", "distance") == 0


@pytest.mark.parametrize("cell", ["gru", "lstm", "lru"])
def test_the_numbers_in_the_formula_are_those_of_the_cell(bench: Bench, cell: str) -> None:
    looked, opened = bench.open(classifier(cell), ONE, OTHER, why=0)
    with opened:
        page = opened.page
        page.focus("[data-scene='1']")
        page.keyboard.press("Home")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        page.locator("#unit").fill("3")
        shown = looked.shown(0, 4, scene=1)
        opened.reads("#cell .where", "step 5, input ，")
        lines = page.locator("#cell .formula li").all()
        assert len(lines) >= 3
        for line in lines:
            value = shown[line.get_attribute("data-name")]
            if len(value) != 8:
                continue
            told = line.locator("b").inner_text()
            assert float(told.removeprefix(" = ").replace("−", "-").lstrip("= ")) == pytest.approx(
                value[3], rel=1e-3, abs=1e-5
            )


@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True, "layers": 2, "cell": "lstm"}], ids=["gru", "both-ways"]
)
def test_parts_of_sums_that_were_left_out_are_computed_in_the_page(
    bench: Bench, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "SMALL", 0)
    looked, opened = bench.open(classifier(**{"cell": "gru", **options}), ONE, why=0)
    assert "terms" not in told_layer(looked)["ahead"]
    with opened:
        page = opened.page
        page.locator("#unit").fill("3")
        place, step = len(looked.parts) - 1, looked.scenes[0].steps - 1
        shown = looked.shown(place, step)
        opened.reads("#cell", "were computed in this page")
        lines = page.locator("#cell .numbers[data-terms]")
        told = dict(lines.evaluate_all("all => all.map(e => [e.parentElement.dataset.name, e.dataset.terms])"))
        # what is computed on the way, such as r * q, is a term too
        formula = {line.name: line for line in looked.scenes[0].layers[place]["ahead"].formula.lines}
        assert {"r", "z", "q", "n"} <= set(told) or {"i", "f", "g", "o"} <= set(told)
        for name, values in told.items():
            wanted = [shown[term][3] for term in formula[name].terms]
            assert [float(value) for value in values.split()] == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("cell", ["gru", "mingru", "lstm"])
def test_states_told_by_distances_are_the_model_s_to_the_last_bit(
    bench: Bench, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "HALF_FROM", 1)
    looked, opened = bench.open(classifier(cell, hidden=3, bidirectional=True), ONE, why=0)
    leaves_of = list(looked.scenes[0].layers[0]["ahead"].state)
    assert all("near" in lane["state"][leaf] for lane in told_layer(looked).values() for leaf in leaves_of)
    with opened:
        page = opened.page
        for key, direction in (("ArrowDown", "ahead"), ("ArrowUp", "back")):
            page.focus("[data-scene='0']")
            page.keyboard.press(key)
            for leaf in leaves_of:
                if len(leaves_of) > 1:
                    page.select_option("#leaf", leaf)
                for unit in range(3):
                    page.fill("#unit-number", str(unit))
                    page.press("#unit-number", "Enter")
                    told = page.locator("#units .coloured span").evaluate_all("all => all.map(e => e.dataset.value)")
                    wanted = looked.scenes[0].layers[0][direction].state[leaf][:, unit]
                    assert np.array(told, np.float64).astype(np.float32).tobytes() == wanted.tobytes()


def told_layer(looked: Look) -> dict[str, Any]:
    return looked.to_page()["scenes"][0]["layers"][0]


def test_a_pixel_of_the_strip_is_the_colour_of_its_number(bench: Bench) -> None:
    looked, opened = bench.open(classifier(hidden=4, layers=2), ONE, why=0)
    with opened:
        page = opened.page
        page.uncheck("#ordered")
        opened.frames()
        wanted, points = [], []
        strip = page.locator(".strip").bounding_box()
        for layer, step, unit in ((1, 2, 0), (1, 7, 3), (0, 11, 1)):
            states = looked.scenes[0].layers[layer]["ahead"].outputs
            wanted.append(colours(states[step, unit], float(np.abs(states).max())).astype(int))
            # where the page itself says that this step's input is; a lane is 34 high, with 30 to the next
            box = page.locator(f".labels .in[data-step='{step}']").bounding_box()
            points.append([box["x"] + box["width"] / 2 - strip["x"], 62 + 64 * (1 - layer) + 34 * (unit + 0.5) / 4])
        got = page.evaluate(
            "points => { const canvas = document.querySelector('.strip canvas'), r = devicePixelRatio;"
            "const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
            "return points.map(([x, y]) => { const at = 4 * (Math.floor(y * r) * canvas.width + Math.floor(x * r));"
            "return [...all.slice(at, at + 3)] }) }",
            points,
        )
        assert np.abs(np.array(got) - np.array(wanted)).max() <= 3


# ---- it does what it says


def test_keys_choose_steps_and_layers_and_are_told_aloud(bench: Bench) -> None:
    looked, opened = bench.open(classifier(layers=2), ONE)
    with opened:
        page = opened.page
        page.focus("[data-scene='0']")
        page.keyboard.press("Home")
        assert opened.text("#live").startswith("Step 1 of 14, input 快, layer 2")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        norm = float(np.linalg.norm(looked.scenes[0].layers[0]["ahead"].outputs[1]))
        assert opened.text("#live").startswith("Step 2 of 14, input 过, layer 1")
        assert f"{norm:.4g}" in opened.text("#live")
        opened.reads("#cell .where", "Layer 1 (GRU), step 2, input 过")
        page.keyboard.press("End")
        opened.reads("#cell .where", "step 14, input 果")
        page.keyboard.press("f")
        assert page.get_attribute("#fold", "aria-pressed") == "true" and "whole network" in opened.text("#counted")
        page.keyboard.press("f")
        assert page.get_attribute("#fold", "aria-pressed") == "false"


def test_a_click_on_a_cell_opens_it(bench: Bench) -> None:
    _, opened = bench.open(classifier(layers=2, bidirectional=True), ONE, why=0)
    with opened:
        box = opened.page.locator(".labels .in[data-step='5']").bounding_box()
        # from above: layer 2 back and ahead, layer 1 back and ahead, 34 high with 30 between them
        top = opened.page.locator(".strip").bounding_box()["y"] + 62
        for lane, told in enumerate(
            ("Layer 2 (GRU), backwards", "Layer 2 (GRU), forwards", "Layer 1 (GRU), backwards")
        ):
            opened.page.mouse.click(box["x"] + box["width"] / 2, top + 64 * lane + 17)
            opened.reads("#cell .where", f"{told}, step 6, input 了")


def test_reasons_are_those_of_the_model_and_light_the_inputs(bench: Bench) -> None:
    looked, opened = bench.open(classifier(), ONE, why=3)
    with opened:
        page = opened.page
        why = looked.scenes[0].why[0]
        page.select_option("#why-target", index=0)
        page.wait_for_selector(f"#why th.target >> text={ONE[why.target.step]}")
        for name, values in (
            ("gradient_input", why.gradient),
            ("integrated", why.integrated),
            ("deletion", why.deletion),
        ):
            cells = page.locator(f"[data-method='{name}'] td").all()
            found = [float(cell.get_attribute("title")) for cell in cells]
            np.testing.assert_allclose(found, np.asarray(values, np.float32), rtol=1e-6)
        assert page.locator("#why .unequal").count() == len(why.disagree)
        # hovering an output colours the inputs by what they counted for it
        why = looked.scenes[0].why[-1]
        page.hover(f".labels .out[data-step='{why.target.step}']")
        assert page.locator(".labels").get_attribute("data-lit") == str(why.target.step)
        tone = page.locator(".labels .in[data-step='1']").evaluate("e => getComputedStyle(e).backgroundColor")
        most = np.abs(np.asarray(why.integrated, np.float64)).max()
        expected = colours(np.asarray(why.integrated)[1], most).astype(int)
        assert np.abs(np.array([int(part) for part in tone[4:-1].split(",")]) - expected).max() <= 3


def test_reasons_of_columns_and_of_networks_are_those_of_the_model(bench: Bench) -> None:
    torch.manual_seed(0)
    kind = "classify-ensemble-holes"
    looked, opened = bench.open(build(kind, torch.float32), KINDS[kind], why=1)
    why = looked.scenes[0].why[-1]
    columns, members = why.columns, why.members
    assert columns is not None and members is not None
    with opened:
        page = opened.page
        for part in ("columns", "members"):
            page.click(f"#{part} summary")
        for part, wanted in (
            ("members", np.stack([*members.integrated, members.mean, members.spread], axis=1)),
            ("columns", columns.integrated),
            ("columns", columns.deletion),
        ):
            if wanted is columns.deletion:
                # what was open is open again where it is drawn anew
                page.locator("#columns").evaluate("e => e.dataset.old = 'yes'")
                page.select_option("#column-method", "deletion")
            page.wait_for_selector(f"#{part}:not([data-old]) tbody tr")
            rows = page.locator(f"#{part} tbody tr").evaluate_all(
                "all => all.map(e => [...e.cells].map(c => c.innerText))"
            )
            found = [[float(text.replace("−", "-")) for text in row] for row in rows]
            assert [row[0] for row in found] == list(range(1, 8))
            np.testing.assert_allclose([row[1:] for row in found], wanted, rtol=6e-3, atol=1e-9)
        told = float(opened.text("#columns b >> nth=0").replace("−", "-"))
        assert told == pytest.approx(columns.whole[0], rel=6e-3)
        # a pointer on a place tells its numbers
        page.locator("#members .track").first.hover(position={"x": 1, "y": 5})
        assert page.get_attribute("#members .track-fact", "data-step") == "0"
        # the strip marks each column of each row for the output that is chosen
        opened.frames()
        box = page.locator(".labels .in[data-step='2']").bounding_box()
        strip = page.locator(".strip").bounding_box()
        values = columns.integrated
        expected = [colours(values[2, row], float(np.abs(values).max())).astype(int) for row in range(5)]
        top = strip["height"] - 4 - 8 * 5
        got = page.evaluate(
            "([x, top]) => { const canvas = document.querySelector('.strip canvas'), r = devicePixelRatio;"
            "const all = canvas.getContext('2d').getImageData(x * r, top * r, 1, 40 * r).data;"
            "return [0, 1, 2, 3, 4].map(row => [...all.slice(4 * (8 * row + 3) * r, 4 * (8 * row + 3) * r + 3)]) }",
            [box["x"] + box["width"] / 2 - strip["x"], top],
        )
        assert np.abs(np.array(got) - np.array(expected)).max() <= 3


def test_a_unit_is_told_by_its_places_in_the_corpus(bench: Bench) -> None:
    looked, opened = bench.open(classifier(), ONE, why=0, corpus=[("1", OTHER), ("2", "果")])
    with opened:
        page = opened.page
        assert looked.corpus is not None
        # one that is strongest at the end of a stretch, where nothing follows the token that is marked
        unit, told = next(
            (each["unit"], each["top"])
            for each in looked.corpus.units
            if any(place["at"] == len(place["text"]) - 1 for place in each["top"])
        )
        page.fill("#unit-number", str(unit))
        page.press("#unit-number", "Enter")
        places = page.locator("#corpus ul").first.locator("li")
        assert places.count() == len(told) == 2
        for shown, place in zip(places.all(), told, strict=True):
            assert shown.inner_text() == f"{place['text']} {place['value']:.4g}".replace("-", "−")
            assert shown.locator("mark").inner_text() == place["text"][place["at"]]
        spans = page.locator("#units .coloured span").all()
        found = [float(span.get_attribute("title").split(": ")[1].replace("−", "-")) for span in spans]
        values = looked.scenes[0].layers[0]["ahead"].outputs[:, unit]
        np.testing.assert_allclose(found, values, rtol=1e-3)


def test_the_tour_leads_through_every_part_and_back(bench: Bench) -> None:
    _, opened = bench.open(classifier(), ONE, OTHER)
    with opened:
        page = opened.page
        page.click("#tour")
        places = []
        while page.locator(".tour").is_visible():
            places.append(page.locator(".lit").get_attribute("id"))
            page.keyboard.press("ArrowRight")
        assert places == ["strip", "strip", "strip", "apart", "cell", "why", "whatif", "time"]
        assert page.locator(".lit").count() == 0 and page.evaluate("document.activeElement.id") == "tour"
        page.keyboard.press("Enter")
        assert page.get_attribute("#fold", "aria-pressed") == "true"
        page.keyboard.press("Escape")
        assert page.locator(".tour").is_hidden() and page.get_attribute("#fold", "aria-pressed") == "false"


@pytest.mark.parametrize(
    ("cell", "said", "places"),
    [
        ("gru", "gates between 0 and 1", ["strip", "strip", "strip", "apart", "cell", "why", "whatif", "time"]),
        ("elman", "mixed to the new state", ["strip", "strip", "strip", "apart", "cell", "why", "whatif", "time"]),
        ("feedforward", "becomes the output", ["strip", "strip", "cell", "why", "whatif"]),
    ],
)
def test_words_are_true_of_the_cell(bench: Bench, cell: str, said: str, places: list[str]) -> None:
    """A cell without gates has none in the tour, and one without a state has neither state nor loop."""
    _, opened = bench.open(classifier(cell), ONE, OTHER)
    with opened:
        page = opened.page
        told = [page.inner_text("header p")]
        page.click("#tour")
        told.append(page.inner_text("#counted"))
        found = []
        while page.locator(".tour").is_visible():
            found.append(page.locator(".lit").get_attribute("id"))
            told.append(page.inner_text("#tour-text"))
            page.keyboard.press("ArrowRight")
        assert found == places and said in " ".join(told)
        assert ("gates" in " ".join(told)) == (cell == "gru")
        assert ("The loop hands" in " ".join(told)) == (cell != "feedforward")
        assert ("keeps a state" in told[0]) == (cell != "feedforward")
        alike = "the same is read from step 6 of the first and step 4 of the second on"
        assert (alike in " ".join(told)) == (cell != "feedforward")


def test_new_lines_outlive_a_change_of_the_text(bench: Bench) -> None:
    codec = TextCodec.learn(["ab\n"])
    config = LanguageModelConfig(stack=StackConfig(cell="gru", hidden=8), vocabulary=codec.size, embedding=6)
    _, opened = bench.open(LanguageModel(config, codec).eval(), "\nab\nb", why=0)
    with opened:
        page = opened.page
        assert page.input_value("#free-text") == "\nab\nb"
        page.focus("#free-text")
        page.keyboard.press("Control+End")
        page.keyboard.type("a")
        page.keyboard.press("Enter")
        assert page.locator(".editor button").all_inner_texts() == ["␊", "a", "b", "␊", "b", "a"]
        page.focus("#free-text")
        page.keyboard.press("Control+End")
        page.keyboard.press("Shift+Enter")
        page.keyboard.press("Enter")
        assert page.input_value("#free-text") == "\nab\nba\n"


def test_a_text_runs_a_moment_after_it_was_typed(bench: Bench) -> None:
    """Without Enter, in the same line; unknown texts are told on one line, and of different endings nothing false is said."""
    _, opened = bench.open(language(), "to be", "to bo", why=0)
    with opened:
        page = opened.page
        opened.reads("#apart", "Their last inputs differ")
        page.click("#tour")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        opened.reads("#tour-text", "They end differently")
        page.keyboard.press("Escape")
        page.focus("#free-text")
        page.keyboard.press("Control+End")
        page.keyboard.type("xyzuvwx")
        opened.reads("#free-hint.waiting", "runs in a moment")
        opened.reads("#unknown", "“x” × 2, “y”, “z”, “u”, “v” and 1 more.")
        page.keyboard.press("Backspace")
        opened.reads("#unknown", "“x”, “y”, “z”, “u”, “v” and 1 more.")
        assert page.input_value("#free-text") == "to bexyzuvw" and page.locator("#unknown").count() == 1
        assert page.evaluate("document.activeElement.id") == "free-text"
        page.fill("#free-text", "")
        opened.reads("#free-hint", "An empty text is not run")


def test_the_final_state_can_be_kept_and_gone_on_from(bench: Bench) -> None:
    task = classifier("lstm")
    _, opened = bench.open(task, ONE, OTHER, why=0)
    with opened:
        with opened.page.expect_download() as waiting:
            opened.page.click("[data-save='1']")
        session = Session.load(task, waiting.value.path())
    assert session.steps == len(OTHER)
    expected = leaves(task(task.encode([OTHER]).inputs)[1])
    for name, leaf in leaves(session.state).items():
        torch.testing.assert_close(leaf, expected[name], rtol=0, atol=0)


def test_the_final_state_of_a_model_that_reads_both_ways_is_kept_as_numbers(bench: Bench) -> None:
    looked, opened = bench.open(classifier(bidirectional=True), ONE, why=0)
    with opened:
        with opened.page.expect_download() as waiting:
            opened.page.click("[data-save='0']")
        kept = json.loads(Path(waiting.value.path()).read_text("utf-8"))
    assert kept["state"].keys() == looked.final().keys()
    for name, values in looked.final().items():
        np.testing.assert_array_equal(np.float32(kept["state"][name]), values)


def test_thousands_of_steps_are_drawn_in_blocks_and_panned(bench: Bench) -> None:
    text = (ONE + OTHER) * 120
    looked, opened = bench.open(classifier(hidden=16), text, why=0)
    with opened:
        page = opened.page
        assert looked.scenes[0].steps == 3_120
        assert "the mean of 4 steps" in opened.text(".scene .quiet")
        page.focus("[data-scene='0']")
        page.keyboard.press("Home")
        for _ in range(11):
            page.click("#zoom-in")
        opened.frames()
        # the last step is chosen and comes into the window, with its text
        page.focus("[data-scene='0']")
        page.keyboard.press("End")
        opened.frames()
        assert page.locator(".labels .in[data-step='3119']").inner_text() == "果"
        assert page.locator(".labels .in").count() < 60
        page.mouse.move(600, page.locator(".strip").bounding_box()["y"] + 100)
        page.mouse.down()
        page.mouse.move(900, page.locator(".strip").bounding_box()["y"] + 100, steps=4)
        page.mouse.up()
        opened.frames()
        assert page.locator(".labels .in[data-step='3119']").count() == 0
