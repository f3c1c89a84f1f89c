"""The figures forecasts are judged by: scaled errors, sMAPE, MASE and OWA, and how many values the intervals hold.

Sums over forecasts that add up over batches. Knows forecasts and what came, and no network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recurra.data.windows import WindowBatch
from recurra.wide import widened

LEVELS = {80: (4, 8), 95: (2, 10)}
"""Intervals whose coverage is told: the columns of their bounds among the mean and eleven quantiles."""


def window_sums(forecasts: Tensor, batch: WindowBatch, deviations: Tensor, season: int) -> dict[str, Tensor]:
    """The sums of forecasts[B, A, H, 1 + P] (or [B, A, H, 1], without intervals) against the targets of a batch.

    deviations[B] scale the errors of `squares` and `absolute`; `batch.errors[:, 0]` those of MASE, and `batch.simple` is the
    forecast that OWA compares with. Per step ahead: squares[H], absolute[H], values[H], inside80[H], inside95[H].
    """
    targets = batch.answers("These rows have no later values", expected="the values that follow")
    targets = widened(targets)
    valid = batch.anchors >= 0
    known = torch.isfinite(targets) & valid[..., None]
    mean = widened(forecasts[..., 0])
    apart = torch.where(known, mean - targets, 0.0)
    scaled = apart / widened(deviations)[:, None, None]
    sums = {
        "squares": (scaled * scaled).sum(dim=(0, 1)),
        "absolute": scaled.abs().sum(dim=(0, 1)),
        "values": known.sum(dim=(0, 1)),
        **_relative("", mean, targets, known, batch.errors[:, 0]),
    }
    if batch.simple.shape[-1]:
        sums |= _relative("simple_", widened(batch.simple), targets, known, batch.errors[:, 0])
    if forecasts.shape[-1] > 1:
        for level, (low, high) in LEVELS.items():
            inside = known & (targets >= forecasts[..., low]) & (targets <= forecasts[..., high])
            sums[f"inside{level}"] = inside.sum(dim=(0, 1))
    return sums


def _relative(prefix: str, mean: Tensor, targets: Tensor, known: Tensor, errors: Tensor) -> dict[str, Tensor]:
    """sMAPE and MASE of each forecast, summed, and of how many."""
    count = known.sum(dim=-1)
    whole = count > 0
    apart = torch.where(known, (mean - targets).abs(), 0.0)
    size = torch.where(known, mean.abs() + targets.abs(), 1.0)
    share = torch.where(size > 0, 200 * apart / size.clamp(min=1e-300), 0.0)
    smape = torch.where(whole, share.sum(dim=-1) / count.clamp(min=1), 0.0)
    usable = whole & (torch.isfinite(errors) & (errors > 0))[:, None]
    mase = apart.sum(dim=-1) / count.clamp(min=1) / torch.where(errors > 0, errors, 1.0)[:, None]
    return {
        f"{prefix}smape": smape.sum(),
        f"{prefix}mase": torch.where(usable, mase, 0.0).sum(),
        f"{prefix}forecasts": whole.sum(),
        f"{prefix}scaled": usable.sum(),
    }


def forecast_metrics(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """`mse` and `mae` of errors in deviations of their series, `smape` (0 to 200), `mase`, and where they were asked for
    `owa` and `coverage80`, `coverage95`.
    """
    values = float(sums["values"].sum())
    found = {
        "mse": float(sums["squares"].sum()) / max(1.0, values),
        "mae": float(sums["absolute"].sum()) / max(1.0, values),
    }
    found |= _means(sums, "")
    if "simple_forecasts" in sums:
        simple = _means(sums, "simple_")
        if simple.get("smape") and simple.get("mase") and "mase" in found:
            found["owa"] = (found["smape"] / simple["smape"] + found["mase"] / simple["mase"]) / 2
    for level in LEVELS:
        if f"inside{level}" in sums:
            found[f"coverage{level}"] = float(sums[f"inside{level}"].sum()) / max(1.0, values)
    return found


def _means(sums: Mapping[str, Tensor], prefix: str) -> dict[str, float]:
    found = {"smape": float(sums[f"{prefix}smape"]) / max(1.0, float(sums[f"{prefix}forecasts"]))}
    if float(sums[f"{prefix}scaled"]):
        found["mase"] = float(sums[f"{prefix}mase"]) / float(sums[f"{prefix}scaled"])
    return found
