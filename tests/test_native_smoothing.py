"""The native loop of exponential smoothing, with numpy alone: values, slopes, memory, and arrays that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from native_calls import Arrays, Buffers
from recurra import _native

SEASONS = ([], [3], [1, 5], [2, 40])


def arguments(steps: int, batch: int, seasons: list[int], dtype: str = "float64") -> Arrays:
    rng = np.random.default_rng(steps)

    def draw(*shape: int, low: float = -1.7) -> np.ndarray:
        return rng.uniform(low, 1.7, shape).astype(dtype)

    given = {
        "y": draw(steps, batch),
        "level": draw(batch),
        "rings": [draw(batch, size) for size in seasons],
        "share": draw(steps, batch, low=0) / 2,
        "turns": [draw(steps, batch, low=0) / 2 for _ in seasons],
        "lengths": rng.integers(0, steps + 1, batch),
    }
    for value in (given["y"], given["share"], *given["turns"]):
        value[np.arange(steps)[:, None] >= given["lengths"]] = np.nan
    return given


def forward(given: Arrays) -> Arrays:
    buffer, (steps, batch) = Buffers(given["y"].dtype), given["y"].shape
    seasons = [buffer(ring.shape[1] + steps, batch) for ring in given["rings"]]
    results = {"levels": buffer(steps, batch), "seasons": seasons}
    _native.smoothing(**given, **results)
    buffer.check()
    assert all(np.isfinite(value).all() for value in (results["levels"], *seasons))
    return results


def backward(given: Arrays, results: Arrays, came: Arrays) -> Arrays:
    buffer = Buffers(given["y"].dtype)
    into = {
        f"grad_{name}": buffer(*value.shape) if isinstance(value, np.ndarray) else [buffer(*one.shape) for one in value]
        for name, value in given.items()
        if name != "lengths"
    }
    _native.smoothing_backward(**came, **given, **results, **into)
    buffer.check()
    return into


def by_numpy(given: Arrays) -> list[np.ndarray]:
    """[levels, the seasons of each ring], a row and a step at a time."""
    steps, batch = given["y"].shape
    levels = np.zeros((steps, batch))
    seasons = [np.concatenate([ring.T, np.zeros((steps, batch))]) for ring in given["rings"]]
    for row in range(batch):
        level = given["level"][row]
        for step in range(given["lengths"][row]):
            stand = [season[step, row] for season in seasons]
            apart = given["y"][step, row] - level - sum(stand)
            level += given["share"][step, row] * apart
            left = (1 - given["share"][step, row]) * apart
            levels[step, row] = level
            for season, part, turn in zip(seasons, stand, given["turns"], strict=True):
                season[len(season) - steps + step, row] = part + turn[step, row] * left
    return [levels, *seasons]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seasons", SEASONS, ids=str)
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (1, 1), (13, 35)])
def test_values(steps: int, batch: int, seasons: list[int], dtype: str) -> None:
    given = arguments(steps, batch, seasons, dtype)
    results = forward(given)
    tolerance = 2e-5 if dtype == "float32" else 1e-10
    for got, expected in zip([results["levels"], *results["seasons"]], by_numpy(given), strict=True):
        np.testing.assert_allclose(got, expected, tolerance, tolerance / 10)


@pytest.mark.parametrize("without", ["", "levels", "seasons"])
@pytest.mark.parametrize("seasons", SEASONS, ids=str)
def test_slopes(seasons: list[int], without: str) -> None:
    """Along a line through all that is given, the results change as the gradients say; some results may count nothing."""
    given, rng = arguments(11, 19, seasons), np.random.default_rng(0)
    results = forward(given)
    came: Arrays = {"grad_levels": rng.uniform(-1, 1, results["levels"].shape)}
    came["grad_seasons"] = [rng.uniform(-1, 1, season.shape) for season in results["seasons"]]
    if without == "levels":
        came["grad_levels"] = None
    if without == "seasons":
        came["grad_seasons"] = [None] * len(seasons)
    found = backward(given, results, came)
    lines = {
        name: [rng.uniform(-1, 1, one.shape) for one in (value if isinstance(value, list) else [value])]
        for name, value in given.items()
        if name != "lengths"
    }

    def total(far: float) -> float:
        moved = dict(given)
        for name, line in lines.items():
            value = given[name]
            each = [
                one + far * way for one, way in zip(value if isinstance(value, list) else [value], line, strict=True)
            ]
            moved[name] = each if isinstance(value, list) else each[0]
        after = forward(moved)
        pairs = zip([came["grad_levels"], *came["grad_seasons"]], [after["levels"], *after["seasons"]], strict=True)
        return float(sum((weight * value).sum() for weight, value in pairs if weight is not None))

    slope = 0.0
    for name, line in lines.items():
        grads = found[f"grad_{name}"]
        for way, grad in zip(line, grads if isinstance(grads, list) else [grads], strict=True):
            assert np.isfinite(grad).all()
            slope += float((way * grad).sum())
    np.testing.assert_allclose((total(1e-5) - total(-1e-5)) / 2e-5, slope, 1e-7, 1e-7)


def test_arrays_that_do_not_fit_are_refused() -> None:
    given = arguments(5, 3, [2, 4])
    results = forward(given)

    def wrong(value: Any) -> Any:
        return [wrong(value[0]), *value[1:]] if isinstance(value, list) else np.concatenate([value, value])

    for name in (*given, *results):
        if name == "y":
            continue  # the others do not fit it
        changed = {**given, **results}
        changed[name] = wrong(changed[name])
        with pytest.raises(ValueError, match=f"smoothing: {name} has shape"):
            _native.smoothing(**changed)
    with pytest.raises(ValueError, match="turns are 1; expected one a ring, 2"):
        _native.smoothing(**{**given, "turns": given["turns"][:1]}, **results)
    with pytest.raises(ValueError, match="a ring has no place"):
        _native.smoothing(**{**given, "rings": [given["rings"][0][:, :0], given["rings"][1]]}, **results)
    with pytest.raises(ValueError, match=r"lengths\[1\] is 6; expected 0 to T=5"):
        _native.smoothing(**{**given, "lengths": np.array([0, 6, 1])}, **results)
