"""The forecaster: a row costs a step, nothing before a look-back leaks in, figures on values worked out by hand."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recurra.data.forecast_measures import forecast_metrics, window_sums
from recurra.data.series import Series, SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.data.steps import Step
from recurra.data.stretches import pattern_of, seasonal_error, stretches
from recurra.data.windows import OriginFeed, WindowBatch, WindowFeed
from recurra.errors import UsageError
from recurra.fitting import Model, compare
from recurra.layers import StackConfig
from recurra.models import Forecaster, ForecasterConfig, bounds, fingerprint, load_model, save_model
from recurra.models.finishing import finish
from recurra.models.line import fit_line
from recurra.state import leaves, select
from recurra.training import Recipe, evaluate, train


def wave(size: int = 400, season: int = 12, seed: int = 0, name: str = "a") -> Series:
    """A season, a slope and a little noise."""
    random, at = np.random.default_rng(seed), np.arange(size)
    values = 20 + 5 * np.sin(2 * np.pi * at / season) + 0.01 * at + 0.1 * random.standard_normal(size)
    return Series(name, at, values, np.zeros((size, 0)), np.zeros((size, 0)), np.zeros(0))


def dataset_of(*series: Series, horizon: int = 6, season: int = 12) -> SeriesDataset:
    lines = list(range(1, len(series) + 1))
    return SeriesDataset(list(series), Step(), lines, "waves", horizon=horizon, season=season)


def forecaster(dataset: SeriesDataset, **options: Any) -> Forecaster:
    torch.manual_seed(1)
    codec = ForecastCodec.learn(dataset, dataset.season)
    sizes = {"horizon": dataset.horizon, "block": dataset.horizon, "segment": 4, "chunk": 3, "lags": 12}
    settings = {**sizes, "season": dataset.season, "series": len(dataset.series), **options}
    stack = StackConfig(hidden=settings.pop("hidden", 9))
    model = Forecaster(ForecasterConfig(stack=stack, embedding=3, **settings), codec)
    model.reader.scales.copy_(torch.tensor(codec.scales))
    return model.eval()


FORMS: list[dict[str, Any]] = [
    {}, {"smoothing": True}, {"segment": 1, "lags": 0}, {"block": 2, "chunk": 2}, {"output": "laplace"},
]  # fmt: skip


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_row_by_row_is_the_whole_history(options: dict[str, Any]) -> None:
    model, one = forecaster(dataset_of(wave()), **options), wave(60)
    rows = model.encode([one]).inputs
    with torch.no_grad():
        whole, end = model(rows)
        found, state = model(rows[:, :0])
        for row in range(60):
            found, state = model(rows[:, row : row + 1], state)
    assert torch.equal(found, whole)
    for name, leaf in leaves(end).items():
        assert torch.equal(leaf, leaves(state)[name]), name


def test_a_new_row_costs_one_step() -> None:
    model = forecaster(dataset_of(wave()), hidden=64, segment=12)
    history = model.encode([wave(10_000)])
    with torch.no_grad():
        state = model.advance(history.inputs, model.initial_state(1))[2]
        row = history.inputs[:, :1]

        def seconds(rows: torch.Tensor, before: Any, times: int) -> float:
            started = time.perf_counter()
            for _ in range(times):
                model.go_on(rows, before)
            return (time.perf_counter() - started) / times

        assert seconds(history.inputs, model.initial_state(1), 2) > 3 * seconds(row, state, 20)


def test_what_lies_before_the_lookback_changes_nothing() -> None:
    model = forecaster(dataset_of(wave()), lookback=24)
    rows = model.encode([wave(100), wave(100)]).inputs
    rows[1, :76, 0] = torch.randn(76) * 100
    with torch.no_grad():
        (one, other), state = model(rows)
    assert torch.equal(one, other)
    assert torch.equal(leaves(select(state, [0]))["values"], leaves(select(state, [1]))["values"])


def test_a_scale_of_a_new_series_is_carried() -> None:
    """Ten times a series that training has not seen is forecast ten times as high, with the same weights."""
    model = forecaster(dataset_of(wave()))
    one = wave(80, name="new").values
    with torch.no_grad():
        here, there = (model(model.encode([factor * one]).inputs)[0] for factor in (1.0, 10.0))
    assert torch.allclose(10 * here, there, rtol=1e-4)


def test_forecasts_of_a_batch_are_those_of_each_place() -> None:
    for options in ({}, {"lookback": 24}, {"block": 2, "chunk": 2}, {"smoothing": True}):
        dataset = dataset_of(wave(90), wave(70, seed=3, name="b")).seen_until([40, 40], "waves")
        model = forecaster(dataset, **options)
        feed = model.feed(dataset, rows=2, steps=50, training=False)
        seen = 0
        state: Any = None
        for batch in feed.batches(0):
            assert isinstance(batch, WindowBatch)
            state = state if state is not None and batch.carries else model.initial_state(len(batch.inputs))
            with torch.no_grad():
                found, _, _, after = model.forecasts_of(batch, state)
                for row, anchors in enumerate(batch.anchors.tolist()):
                    for column, anchor in enumerate(anchors):
                        if anchor >= 0 and column % 7 == 0:
                            alone = model(batch.inputs[row : row + 1, : anchor + 1], select(state, [row]))[0][0]
                            assert torch.allclose(found[row, column], alone, rtol=1e-4, atol=1e-4)
                            seen += 1
            state = after
        assert seen >= 8


def test_one_phase_is_all_phases() -> None:
    dataset = dataset_of(wave(90), wave(70, seed=3, name="b"))
    model = forecaster(dataset)
    batch = next(iter(model.feed(dataset, rows=2, steps=60, training=True).batches(0)))
    assert isinstance(batch, WindowBatch) and batch.anchors.shape[1] > 1
    every = model.outputs_at(batch, model.initial_state(2))
    phase = model.outputs_at(batch, model.initial_state(2), aligned=True)
    valid = batch.anchors.flatten() >= 0
    for one, other in zip(every[:3], phase[:3], strict=True):
        assert torch.allclose(one[valid], other[valid], atol=1e-6)


def test_the_line_finds_a_line() -> None:
    """Of a series without noise each value is the one of a season before, and the slope: a line tells it exactly."""
    one = wave(300)
    one = replace(one, values=20 + 5 * np.sin(2 * np.pi * np.arange(300) / 12))
    dataset = dataset_of(one)
    model = forecaster(dataset)
    assert "ridge" in fit_line(model, dataset)
    model.share.zero_()
    with torch.no_grad():
        found = model(model.encode([one.until(200)]).inputs)[0][0, :, 0]
    assert np.allclose(found.numpy(), one.values[200:206], atol=0.05)


def test_intervals_hold_what_they_say() -> None:
    dataset = dataset_of(wave(2000)).seen_until([300], "waves")
    model = forecaster(dataset)
    fit_line(model, dataset.cut([1000], "waves"))
    assert finish(model, dataset.cut([1500], "waves"))
    feed = model.feed(dataset.seen_until([1500], "later"), rows=1, steps=50, training=False)
    with torch.no_grad():
        sums = [model.step_measure(batch)[0] for batch in feed.batches(0)]
    metrics = model.metrics(sums[0])
    assert 0.72 < metrics["coverage80"] < 0.88 and metrics["coverage95"] > 0.9
    low, high = bounds(np.tile(np.arange(11.0), (2, 1)), 80)
    assert low.tolist() == pytest.approx([3.0, 3.0]) and high.tolist() == pytest.approx([7.0, 7.0])
    with pytest.raises(UsageError):
        bounds(np.zeros((1, 11)), 100)


def test_figures_worked_out_by_hand() -> None:
    batch = WindowBatch(
        torch.zeros(1, 4, 2), torch.tensor([[[2.0, 4.0], [1.0, float("nan")]]]), anchors=torch.tensor([[1, 2]]),
        errors=torch.tensor([[0.5, 1.0]], dtype=torch.float64), simple=torch.tensor([[[1.0, 4.0], [3.0, 3.0]]]),
    )  # fmt: skip
    sums = window_sums(torch.tensor([[[[3.0], [4.0]], [[1.0], [9.0]]]]), batch, torch.tensor([2.0]), 1)
    found = forecast_metrics(sums)
    # errors 1, 0, 0 over a deviation of 2; of the first forecast 200 * 1/5 / 2 = 20, and a half over an error of a half
    assert found["mse"] == pytest.approx(0.25 / 3) and found["mae"] == pytest.approx(0.5 / 3)
    assert found["smape"] == pytest.approx(10.0) and found["mase"] == pytest.approx(0.5)
    # the simple one: 200 * (1/3) / 2 and 200 * 2/4; half and two over a half
    assert found["owa"] == pytest.approx((10 / ((100 / 3 + 100) / 2) + 0.5 / 2.5) / 2)


def test_naive2_takes_the_season_out() -> None:
    history = np.tile([1.0, 2.0, 3.0, 2.0], 10)
    assert pattern_of(history, 4) == pytest.approx([0.5, 1.0, 1.5, 1.0])
    assert pattern_of(np.random.default_rng(0).random(40) + 1, 4) == pytest.approx(np.ones(4))
    assert seasonal_error(history, 4) == 0.0 and seasonal_error(np.array([1.0, 3.0]), 4) == 2.0


def test_feeds_hold_each_origin_once() -> None:
    dataset = dataset_of(wave(90), wave(70, seed=3, name="b")).seen_until([60, 50], "waves")
    codec = ForecastCodec.learn(dataset, 12)
    for lookback in (None, 16):
        parts = stretches(dataset, codec, 6, training=False)
        feed = OriginFeed(parts, 6, lookback=lookback, rows=2, chunk=32, dtype=torch.float64)
        found: list[float] = []
        for batch in feed.batches(0):
            assert isinstance(batch, WindowBatch) and batch.targets is not None
            found += batch.targets[batch.anchors >= 0][:, 0].tolist()
        wanted = [value for one, first in zip(dataset.series, (60, 50), strict=True) for value in one.values[first:-5]]
        assert sorted(found) == pytest.approx(sorted(wanted))
    training = WindowFeed(
        stretches(dataset, codec, 6, training=True), 6, rows=4, context=30, anchors=3, apart=4, seed=0, warm=8,
        dtype=torch.float64,
    )  # fmt: skip
    first, again = (next(iter(training.batches(1))).inputs for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, next(iter(training.batches(2))).inputs)


def test_on_disk(tmp_path: Path) -> None:
    model = forecaster(dataset_of(wave()), smoothing=True, output="quantiles")
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert fingerprint(loaded) == fingerprint(model)
    assert loaded.predict([wave(50)]) == model.predict([wave(50)])


def test_other_horizons_are_not_compared() -> None:
    models = [forecaster(dataset_of(wave(), horizon=horizon)) for horizon in (6, 12)]
    with pytest.raises(UsageError, match="different horizons"):
        compare([Model(one) for one in models], {"y": wave().values})


def beside(one: Series, seed: int) -> Series:
    """The series with a past column, one known ahead, and a static number."""
    random, size = np.random.default_rng(seed), len(one)
    past, ahead = random.standard_normal((size, 1)), random.standard_normal((size + 6, 1))
    return replace(one, past=past, ahead=ahead, static=np.array([float(seed)]))


def test_a_lookback_reads_what_stands_beside_its_rows() -> None:
    """Past and static columns within it change the forecast, those before it do not; row by row it is the same."""
    dataset = dataset_of(beside(wave(90), 1), beside(wave(90, seed=3, name="b"), 2))
    dataset = replace(dataset, columns=(("p",), ("a",), ("s",)))
    model = forecaster(dataset, lookback=24, columns=3, ahead=1).eval()
    rows = model.encode([dataset.series[0]]).inputs
    with torch.no_grad():
        whole, end = model(rows)
        found, state = model(rows[:, :0])
        for row in range(rows.shape[1]):
            found, state = model(rows[:, row : row + 1], state)
        assert torch.equal(found, whole)
        assert all(torch.equal(leaf, leaves(state)[name]) for name, leaf in leaves(end).items())
        for column in (2, 3, 4):
            for place, changes in ((-24, True), (-25, False)):
                other = rows.clone()
                other[:, place, column] += 3.0
                assert torch.equal(model(other)[0], whole) != changes, (column, place)


def test_a_lookback_learns_from_a_column() -> None:
    """The next value is what stood beside the one before the last: a look-back that reads it is right, alone it cannot be."""
    random = np.random.default_rng(0)
    told = random.standard_normal(600)
    values = 10 + np.concatenate([np.zeros(2), told[:-2]])
    one = Series("a", np.arange(600), values, told[:, None], np.zeros((600, 0)), np.zeros(0))
    dataset = replace(dataset_of(one, horizon=2, season=1), columns=(("p",), (), ()))
    model = forecaster(dataset, lookback=8, columns=1, lags=0, segment=2, hidden=16)
    feed = model.feed(dataset, rows=32, steps=16, training=True)
    train(
        model, feed, model.feed(dataset.seen_until([500], "late"), rows=8, steps=16, training=False), Recipe(epochs=20)
    )
    measured = evaluate(model, model.feed(dataset.seen_until([500], "late"), rows=8, steps=16, training=False))[0]
    assert measured["mse"] < 0.3
