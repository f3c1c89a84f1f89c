"""Intervals of forecasts: what they hold of what comes is what they say, of few values held back too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recurra.data.series import Series, SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.data.steps import Step
from recurra.data.stretches import held_back
from recurra.layers import StackConfig
from recurra.models import Forecaster, ForecasterConfig
from recurra.models.finishing import finish
from recurra.models.forecasting import MIDDLE, PROBABILITIES
from recurra.models.intervals import Correlation, offsets_of
from recurra.models.line import fit_line


def months(seed: int, size: int) -> Series:
    """Like passengers of an airline: a trend and a season that grow, and a noise that goes on from month to month."""
    random, at = np.random.default_rng(seed), np.arange(size)
    noise = np.zeros(size)
    for month in range(1, size):
        noise[month] = 0.5 * noise[month - 1] + 0.03 * random.standard_normal()
    values = np.exp(4.7 + 0.008 * at + random.uniform(0.05, 0.2) * np.sin(2 * np.pi * at / 12) + noise)
    return Series("a", at, values, np.zeros((size, 0)), np.zeros((size, 0)), np.zeros(0))


def dataset_of(one: Series, horizon: int) -> SeriesDataset:
    return SeriesDataset([one], Step(1, 0, True), [1], "months", horizon=horizon, season=12)


def measured(seed: int, size: int, horizon: int) -> tuple[dict[str, float], float]:
    """The figures on two years that come after, of a line whose intervals are of the last tenth; what that counted as."""
    one, later = months(seed, size + 24), size
    held = max(horizon, round(0.1 * size))
    training = dataset_of(one.until(size - held), horizon)
    codec = ForecastCodec.learn(training, 12)
    config = ForecasterConfig(
        stack=StackConfig(hidden=1), horizon=horizon, block=horizon, segment=12, chunk=12, lags=24, season=12, series=1,
        logarithm=True,
    )  # fmt: skip
    model = Forecaster(config, codec).eval()
    model.reader.scales.fill_(float(np.log(one.values[: size - held]).std()))
    model.head.data.zero_()
    fit_line(model, training)
    counted = finish(model, dataset_of(replace(one.until(size), seen=size - held), horizon))
    model.share.zero_()
    feed = model.feed(dataset_of(replace(one, seen=later), horizon), rows=1, steps=50, training=False)
    with torch.no_grad():
        sums = [model.step_measure(batch)[0] for batch in feed.batches(0)]
    return model.metrics(sums[0]), counted


@pytest.mark.parametrize(("size", "horizon"), [(144, 12), (84, 6)])
def test_few_windows_hold_what_they_say(size: int, horizon: int) -> None:
    found = [measured(seed, size, horizon) for seed in range(20)]
    for level, least, most in ((80, 0.74, 0.9), (95, 0.88, 0.99)):
        mean = np.mean([metrics[f"coverage{level}"] for metrics, _ in found])
        assert least < mean < most, (level, mean)
    # 14 and 8 values were held back, whose errors hang together
    assert all(1 <= counted < max(horizon, 0.1 * size) + 1 for _, counted in found)


def test_each_value_held_back_is_forecast_from_each_moment() -> None:
    one = replace(months(0, 40), seen=30)
    (part,) = held_back(dataset_of(one, 6), ForecastCodec.learn(dataset_of(one, 6), 12), 6)
    assert part.origins.tolist() == list(range(24, 39))
    assert np.isnan(part.values[:30]).all() and part.values[30:].tolist() == one.values[30:].tolist()
    at = part.origins[:, None] + 1 + np.arange(6)
    known = np.isfinite(np.append(part.values, np.full(9, np.nan))[at]).sum(axis=0)
    assert known.tolist() == [10] * 6  # at each step ahead as many errors as there are values


def test_as_how_many_errors_they_count() -> None:
    torch.manual_seed(0)
    anchors = torch.arange(4000)[None]
    free = torch.randn(1, 4000, 1, dtype=torch.float64)
    found = Correlation()
    found.add(free, anchors)
    assert found.effective == pytest.approx(4000, rel=0.1)
    linked = torch.zeros(4000, dtype=torch.float64)
    for place in range(1, 4000):
        linked[place] = 0.8 * linked[place - 1] + free[0, place, 0]
    found = Correlation()
    found.add(linked[None, :, None], anchors)
    assert found.effective == pytest.approx(4000 * 0.2 / 1.8, rel=0.15)
    # what is not known counts for nothing, and the errors of one moment, seen from many, count once
    found = Correlation()
    errors = torch.full((1, 3, 2), float("nan"), dtype=torch.float64)
    errors[0, 0, 1] = errors[0, 1, 0] = 1.0
    found.add(errors, torch.tensor([[0, 1, -1]]))
    assert found.effective == 1.0


def test_quantiles_are_those_of_the_errors() -> None:
    """Of many errors they are the plain quantiles; of few they lie further out, on both sides of the middle."""
    torch.manual_seed(0)
    errors = torch.randn(20_000, 2, 1) * torch.tensor([1.0, 3.0])[:, None]
    missed, spreads = errors.expand(-1, -1, len(PROBABILITIES)), torch.zeros(2, len(PROBABILITIES))
    many, few = (offsets_of(missed, spreads, effective) for effective in (1e6, 3.0))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(PROBABILITIES))
    assert torch.allclose(many, normal * torch.tensor([[1.0], [3.0]]), atol=0.15)
    assert torch.equal(many[:, MIDDLE], few[:, MIDDLE])
    # the quantile .975 of Student's distribution of three degrees of freedom is 3.182
    ratio = 3.182 * (1 + 1 / 3) ** 0.5 / 1.95996
    place = PROBABILITIES.index(0.975)
    assert few[0, place] == pytest.approx(float(ratio * (many - many[:, MIDDLE : MIDDLE + 1])[0, place]), rel=0.03)
