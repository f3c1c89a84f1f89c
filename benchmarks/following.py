"""What a new row of a followed series costs, against reading its whole history again.

`python benchmarks/following.py [--rows 10000] [--hidden 256] [--rounds 15]`: medians of samples taken in turns in one process
and one thread, in processor time, so that what other programs do counts for less; and the median of the quotients of each
round. By `push` a value comes alone; by `update` as a frame of one row, or as a dict of columns. What each way has read is
first held against the state after reading all rows at once, bit for bit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import polars
import torch

from recurra.data.series import Series, SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.data.steps import Step
from recurra.fitting.following import Follower
from recurra.layers import StackConfig
from recurra.models import Forecaster, ForecasterConfig
from recurra.state import leaves
from timing import paired

HORIZON, SEASON, LAGS = 96, 24, 336
MANY = 50
"""New rows of one sample."""
FORMS = {"segments of 24 rows": 24, "a plain cell": 1}


def untrained(hidden: int, segment: int) -> Forecaster:
    """A forecaster of one series as `fit` would make it; what a row costs does not depend on its weights."""
    values = day(2_000)
    one = Series(
        "y", np.arange(len(values)), values, np.zeros((len(values), 0)), np.zeros((len(values), 0)), np.zeros(0)
    )
    dataset = SeriesDataset([one], Step(), [1], "days", horizon=HORIZON, season=SEASON)
    codec = ForecastCodec.learn(dataset, SEASON)
    config = ForecasterConfig(
        stack=StackConfig(hidden=hidden), horizon=HORIZON, block=HORIZON, segment=segment, chunk=24, lags=LAGS,
        season=SEASON, series=1,
    )  # fmt: skip
    return Forecaster(config, codec).eval()


def day(rows: int) -> np.ndarray:
    return 20 + 5 * np.sin(2 * np.pi * np.arange(rows) / SEASON)


def spent(call: Callable[[], object], count: int) -> float:
    """Seconds of processor time of one call, the mean over `count`."""
    began = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - began) / count


def check(model: Forecaster, history: polars.DataFrame) -> None:
    """Refuse to time ways that come to another state than the whole history."""
    follower, more = Follower(model), (20.5, 21.0, 19.0)
    follower.update(history)
    follower.push([more[0]])
    follower.update({"y": [more[1]]})
    follower.update(polars.DataFrame({"y": [more[2]]}))
    whole = Follower(model)
    whole.update(polars.concat([history, polars.DataFrame({"y": list(more)})]))
    for name, leaf in leaves(whole.state).items():
        if not torch.equal(leaf, leaves(follower.state)[name]):
            raise SystemExit(f"{name} differs from that of the whole history: nothing was timed")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--hidden", type=int, default=256)
    asked.add_argument("--rounds", type=int, default=15)
    given = asked.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"GRU 1×{given.hidden}, float32, one thread, torch {torch.__version__}, a history of {given.rows:,} rows")
    history, row = polars.DataFrame({"y": day(given.rows)}), polars.DataFrame({"y": [20.0]})
    for title, segment in FORMS.items():
        model = untrained(given.hidden, segment)
        check(model, history)
        follower = Follower(model)
        follower.update(history)

        def again(model: Forecaster = model) -> None:
            Follower(model).update(history)

        calls: dict[str, Any] = {
            "again": again,
            "push": lambda follower=follower: follower.push([20.0]),
            "update, a dict": lambda follower=follower: follower.update({"y": [20.0]}),
            "update, a frame": lambda follower=follower: follower.update(row),
        }
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(given.rounds):
            for name, call in calls.items():
                samples[name].append(spent(call, 1 if name == "again" else MANY))
        print(f"{title}: the history again {1e3 * median(samples['again']):.1f} ms")
        for name in list(calls)[1:]:
            times = paired(samples["again"], samples[name])
            print(f"  {name:<16} {1e3 * median(samples[name]):7.3f} ms, {times.median:7.0f} times faster", flush=True)


if __name__ == "__main__":
    sys.exit(main())
