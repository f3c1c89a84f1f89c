"""The worked examples: short, and they do what they say."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, most: int = 60) -> ModuleType:
    """An example as a module; each is shorter than 60 lines, or than it says."""
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < most
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tagging(tmp_path: Path) -> None:
    english, chinese = example("tagging").main(tmp_path)
    for model in (english, chinese):
        assert model.metrics["valid"]["f1"] > 0.95 and model.metrics["valid"]["label_accuracy"] > 0.9
    (answer,) = english.predict("what is the weather like in New York")
    assert answer["spans"] == [{"type": "PLACE", "start": 6, "end": 8, "text": "New York"}]
    (answer,) = chinese.predict("王小明到呼和浩特时会下雨吗")
    assert [(span["type"], span["text"]) for span in answer["spans"]] == [("PERSON", "王小明"), ("PLACE", "呼和浩特")]


def test_forecasting(tmp_path: Path) -> None:
    model, forecast, later = example("forecasting").main(tmp_path, epochs=6)
    assert model.metrics["valid"]["mae"] < 0.4 and forecast["unique_id"].to_list() == ["north"] * 24 + ["south"] * 24
    assert (forecast["lo-80"] <= forecast["hi-80"]).all() and len(later) == 12
    assert later["ds"].min() - forecast["ds"].min() == timedelta(hours=6)


def test_series(tmp_path: Path) -> None:
    accuracy, explained = example("series").main(tmp_path)
    assert accuracy > 0.95 and explained > 0.5


def test_looking(tmp_path: Path) -> None:
    found = example("looking").main(tmp_path)
    why = found.scenes[0].why[-1]
    assert why.target.text == "rises" and why.probability > 0.9
    heat, noise = why.columns.whole
    assert heat > 5 * abs(noise) and why.error < 0.1
    assert (tmp_path / "look.html").stat().st_size > 50_000 and (tmp_path / "look.svg").stat().st_size > 1000
