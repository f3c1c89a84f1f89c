"""Forecasting: two series with a day's season, forecast with intervals, then followed as new rows come in.

Run it with `python examples/forecasting.py`: it takes some seconds and needs no file and no network.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import polars

import recurra

FIRST = datetime(2026, 1, 1)


def hours(count: int, first: int = 0) -> polars.DataFrame:
    """Rows of two shops: more is sold by day, and where a promotion runs, which is known ahead."""
    at = np.arange(first, first + count)
    rows = []
    for shop, base in (("north", 20.0), ("south", 300.0)):
        noise = np.random.default_rng(len(shop) + int(base)).standard_normal(5000)[at]
        promotion = (at // 12) % 5 == 0
        sold = base * (1 + 0.5 * np.sin(2 * np.pi * at / 24) + 0.3 * promotion + 0.05 * noise)
        when = [FIRST + timedelta(hours=int(hour)) for hour in at]
        rows.append(
            {"unique_id": [shop] * count, "ds": when, "y": sold.tolist(), "promotion": promotion.astype(int).tolist()}
        )
    return polars.concat([polars.DataFrame(part) for part in rows])


def main(folder: Path, epochs: int = 30) -> tuple[recurra.Model, Any, Any]:
    model = recurra.fit(
        hours(720), horizon=24, ahead="promotion", out=folder / "shops", epochs=epochs, hidden=32, rate=0.005, quiet=True,
        baselines=False,
    )  # fmt: skip
    print({name: round(value, 3) for name, value in model.metrics["valid"].items()})

    # the next day, its promotions known: rows whose value is empty
    known = polars.concat([hours(720), hours(24, 720).with_columns(y=None)], how="vertical_relaxed")
    forecast = model.forecast(known, levels=(80,))
    print(forecast.head(3))

    # a follower holds the state: an update costs the new rows alone, and equals reading all of them again
    follower = model.follow(hours(720))
    for hour in range(720, 726):
        follower.update(hours(1, hour))
    return model, forecast, follower.forecast(horizon=6)


if __name__ == "__main__":
    print(main(Path(mkdtemp()))[2])
