"""A look as SVG and PNG: what stands in the picture is what the look holds, and any text is only text."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from recurra.look import drawing, look
from recurra.look.shapes import Heat, Line, Words, colours, drawable, visible
from recurra.look.strips import fitting
from test_look import build

SVG = "{http://www.w3.org/2000/svg}"


class Told:
    """A look made by hand."""

    def __init__(
        self, texts: list[str], units: int = 4, ways: tuple[str, ...] = ("ahead",), title: str = "title"
    ) -> None:
        steps = len(texts)
        state = np.linspace(-1, 1, steps * units, dtype=np.float32).reshape(steps, units)
        lane = {"initial": {"h": np.zeros(units)}, "state": {"h": state}, "inner": {}, "outputs": state}
        layer = {"name": "0", "cell": "gru"}
        scene = {
            "title": title, "steps": steps, "inputs": {"kind": "tokens", "texts": texts},
            "layers": [dict.fromkeys(ways, lane)], "outputs": [None] * (steps - 1) + [[{"text": "yes", "p": 0.9}]],
        }  # fmt: skip
        self.found = {"model": {"parameters": 1234, "layers": [layer]}, "scenes": [scene]}

    def tree(self, *, terms: bool = True) -> dict[str, Any]:
        return self.found


def read(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_a_cell_for_each_step_with_input_output_and_the_parameters() -> None:
    root = read(drawing.svg(Told(list("abc"))))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert texts == [
        "title", "yes", "GRU 1", "initial", "final", "a", "b", "c", "1,234 parameters, the same at each step (3 steps)",
    ]  # fmt: skip
    # three steps, and the states at both ends
    assert len(list(root.iter(f"{SVG}image"))) == 5
    # three inputs, three states, the final one, one output
    assert len(list(root.iter(f"{SVG}line"))) == 8


def test_two_directions_are_two_lanes_whose_arrows_run_against_each_other() -> None:
    lines = list(read(drawing.svg(Told(list("ab"), ways=("ahead", "back")))).iter(f"{SVG}line"))
    level = [(float(line.get("x1", 0)), float(line.get("x2", 0))) for line in lines if line.get("y1") == line.get("y2")]
    assert sum(a < b for a, b in level) == sum(a > b for a, b in level) == 3


def test_a_long_sequence_is_exact_means_and_says_so() -> None:
    steps = drawing.PIXELS * 2 + 1
    shapes, _, _ = drawing._drawn(told := Told(["x"] * steps).found)
    heats = [shape for shape in shapes if isinstance(shape, Heat)]
    values = told["scenes"][0]["layers"][0]["ahead"]["state"]["h"]
    assert len(heats) == 1 and heats[0].values.shape == (801, 4)
    np.testing.assert_allclose(heats[0].values[1], values[3:6].mean(0), rtol=1e-6)
    np.testing.assert_allclose(heats[0].values[-1], values[2400:].mean(0), rtol=1e-6)
    assert any(isinstance(shape, Words) and "mean of 3 steps" in shape.text for shape in shapes)


def brought(*values: float) -> list[dict[str, Any]]:
    return [{"target": {"text": "yes"}, "methods": {"integrated": np.array(values)}}]


def drawn(told: Told) -> tuple[list[Heat], list[Line], list[str]]:
    shapes, _, _ = drawing._drawn(told.found)
    texts = [shape.text for shape in shapes if isinstance(shape, Words)]
    return [one for one in shapes if isinstance(one, Heat)], [one for one in shapes if isinstance(one, Line)], texts


def test_what_each_step_brought_stands_under_it() -> None:
    told = Told(list("ab"))
    told.found["scenes"][0]["why"] = brought(0.5, -1.0)
    heats, _, texts = drawn(told)
    assert [(float(heat.values[0, 0]), heat.scale) for heat in heats[-2:]] == [(0.5, 1.0), (-1.0, 1.0)]
    assert "why “yes”" in texts


@pytest.mark.parametrize("name", ["language-lstm", "translate-gru"])
def test_what_is_drawn_is_what_a_look_holds(name: str) -> None:
    found = look(build(name), "abcd", why=1)
    shapes, _, _ = drawing._drawn(found.tree(terms=False))
    drawn = [shape.values for shape in shapes if isinstance(shape, Heat)]
    last = next(iter(found.scenes[0].layers[-1]["ahead"].state.values()))
    for step in range(len(last)):
        assert any(values.shape == (1, last.shape[1]) and (values[0] == last[step]).all() for values in drawn)


def rows(steps: int, columns: int) -> Told:
    told = Told(["x"] * steps)
    values = np.linspace(0, 1, steps * columns).reshape(steps, columns)
    names = [str(1 + place) for place in range(columns)]
    told.found["scenes"][0]["inputs"] = {"kind": "rows", "columns": names, "values": values}
    return told


def test_numbers_are_lines_with_gaps_and_answers_in_runs() -> None:
    told = rows(20, 2)
    scene = told.found["scenes"][0]
    scene["inputs"]["values"][5, 0] = np.nan
    scene["outputs"] = [[{"text": "no" if t < 10 else "yes"}] for t in range(20)]
    heats, lines, texts = drawn(told)
    # two runs of answers; the first column in two pieces, the second in one
    assert [len(line.points) for line in lines] == [2, 2, 5, 14, 20] and len(heats) == 1
    assert {"no", "yes", "column 1", "column 2", "20"} <= set(texts)
    assert lines[0].points[1, 0] < lines[1].points[0, 0]


def test_a_forecast_goes_on_behind_its_series() -> None:
    told = rows(20, 1)
    scene = told.found["scenes"][0]
    scene["answer"] = {"mean": [2.0, 3.0]}
    scene["outputs"] = [0.5] * 20
    _, lines, texts = drawn(told)
    series, forecast = lines
    assert len(series.points) == 20 and len(forecast.points) == 2 and "forecast" in texts
    assert forecast.points[0, 0] - series.points[-1, 0] == pytest.approx(series.points[1, 0] - series.points[0, 0])
    # on one scale: what is greater stands higher
    assert forecast.points[1, 1] < forecast.points[0, 1] < series.points[:, 1].min()


def test_many_numbers_a_step_are_a_heat() -> None:
    heats, lines, texts = drawn(rows(4, 12))
    assert sum(heat.values.shape == (1, 12) for heat in heats) == 4 and not lines and "12 numbers" in texts


def test_a_source_stands_under_what_reads_it() -> None:
    told = Told(list("xy"))
    scene, model = told.found["scenes"][0], told.found["model"]
    scene["inputs"]["source"] = list("abc")
    state = np.zeros((3, 4), np.float32)
    lane = {"initial": {"h": np.zeros(4)}, "state": {"h": state}, "inner": {}, "outputs": state}
    scene["layers"] = [{"ahead": lane, "back": lane}, *scene["layers"]]
    model["layers"] = [{"name": "encoder.0", "cell": "gru"}, {"name": "first.0", "cell": "gru"}]
    scene["why"], scene["attention"] = brought(1.0, 2.0, 3.0), np.eye(2, 3)
    shapes, _, _ = drawing._drawn(told.found)
    heights = {shape.text: shape.y for shape in shapes if isinstance(shape, Words)}
    order = ["yes", "looks at", "GRU first 1", "x", "GRU encoder 1 back", "GRU encoder 1 ahead", "a", "why “yes”"]
    assert [heights[text] for text in order] == sorted(heights[text] for text in order)


@pytest.mark.parametrize(
    ("text", "shown", "size"),
    [("abc", "abc", 10), ("B-PLACE", "B-PLACE", 9.85), ("苹果手机手机手机", "苹果手机手…", 7.17), (" ", "␣", 10)],
)
def test_texts_fit_their_step(text: str, shown: str, size: float) -> None:
    found = fitting(0, 0, text, 40, 10)
    assert found.text == shown and found.size == pytest.approx(size, abs=0.02)


HOSTILE = ["</text><script>", "<!--", "\x00", "\u202e", "🍎", "$x$", "&amp;", "\ud800", "\n"]


def test_hostile_texts_are_only_texts() -> None:
    text = drawing.svg(Told(HOSTILE, title="</svg><script>alert(1)</script>"))
    root = read(text)
    text.encode("utf-8")
    assert {each.tag for each in root.iter()} == {
        f"{SVG}{name}" for name in ("svg", "rect", "defs", "marker", "path", "text", "image", "line")
    }
    assert "<script" not in text
    assert "\u202e" not in text and "⟨202E⟩" in text


@pytest.mark.parametrize(
    "texts", [["a"], HOSTILE, ["苹", "果"], ["x"] * 100], ids=["one", "hostile", "chinese", "long"]
)
def test_the_png_is_the_same_picture(texts: list[str]) -> None:
    from matplotlib.image import imread

    told = Told(texts)
    found = imread(io.BytesIO(drawing.png(told)))
    shapes, width, height = drawing._drawn(told.found)
    assert found.shape[0] == pytest.approx(height * 200 / 72, abs=1) and found.shape[1] == pytest.approx(
        width * 200 / 72, abs=1
    )
    # the pixel in the middle of the first unit's part of each heat has that number's colour
    for shape in shapes:
        if isinstance(shape, Heat):
            x, y = shape.x + shape.width / len(shape.values) / 2, shape.y + shape.height / shape.values.shape[1] / 2
            got = found[int(y * 200 / 72), int(x * 200 / 72), :3]
            np.testing.assert_allclose(got, colours(shape.values[0, 0], shape.scale) / 255, atol=0.01)


def test_colours_run_from_blue_over_paper_to_orange() -> None:
    low, none, high, missing = colours(np.array([-2.0, 0.0, 2.0, np.nan]), 2.0)
    assert low[2] > low[0] and high[0] > high[2]
    assert (none == missing).all() and none.min() > 240
    # far ends are far from the paper in lightness alone, whatever a person sees of hues
    assert max(low.astype(int).sum(), high.astype(int).sum()) < none.astype(int).sum() / 2.5


def test_signs_without_a_font_are_written_as_their_code() -> None:
    assert drawable("a苹", frozenset(map(ord, "a"))) == "aU+82F9"
    assert visible("a\u202eb\n") == "a⟨202E⟩b⟨A⟩"
