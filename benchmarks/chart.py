"""One picture: how many times faster than torch.nn each row is, with its quartiles; the line at 1 is torch.nn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results import Result
from rows import CELLS, TITLES

COLOURS = {"elman": "#0072b2", "gru": "#d55e00", "lstm": "#009e73"}
MARKS = {"elman": "o", "gru": "s", "lstm": "D"}
PANELS = (
    ("training", lambda row: row.kind == "sequence" and row.mode == "training"),
    ("inference", lambda row: row.kind == "sequence" and row.mode == "inference"),
    ("ragged, against packing", lambda row: row.kind == "ragged"),
    ("one step", lambda row: row.kind in ("step", "session")),
    ("recurra fit", lambda row: row.kind == "fit"),
    ("recurra.nn", lambda row: row.kind in ("module", "packed", "module-step", "cell", "cell-step")),
    ("recurra.nn, what torch.nn lacks, against a loop", lambda row: row.kind in ("norm", "dropout", "trace")),
)


def draw(stem: Path, results: list[Result], title: str) -> list[Path]:
    """Write `stem`.png and .svg; nothing where no row was compared with torch.nn."""
    compared = [result for result in results if "torch" in result.ratios and result.row.kind != "memory"]
    panels = [(name, [result for result in compared if fits(result.row)]) for name, fits in PANELS]
    panels = [(name, chosen) for name, chosen in panels if chosen]
    if not panels:
        return []
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    heights = [len(_labels(chosen)) + 1.2 for _, chosen in panels]
    size = (9, 1.3 + 0.36 * sum(heights))
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=size, sharex=True, squeeze=False, height_ratios=heights, layout="constrained"
    )
    for axis, (name, chosen) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, name, chosen)
    axes[-1, 0].set_xlabel("times faster than torch.nn (median and quartiles of paired runs, log scale)")
    # a cell that has no row in one panel may have some in another
    named = [axis.get_legend_handles_labels() for axis in axes[:, 0]]
    handles, texts = ([entry for both in named for entry in both[part]] for part in (0, 1))
    figure.suptitle(title, fontsize=10)
    unique = dict(zip(texts, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    for path in paths:
        figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return paths


def _labels(chosen: list[Result]) -> list[str]:
    return list(dict.fromkeys(_label(result) for result in chosen))


def _label(result: Result) -> str:
    row = result.row
    if row.kind == "fit":
        return f"{row.layers}×{row.width}"
    if row.kind == "session":
        return f"Session.push, H {row.width}"
    shape = f"B {row.batch}, T {row.steps}, H {row.width}"
    if row.kind in ("sequence", "step"):
        return shape
    return f"{shape}, {row.mode}" if row.kind == "ragged" else f"{row.kind}, {shape}, {row.mode}"


def _panel(axis: Any, name: str, chosen: list[Result]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    labels = _labels(chosen)
    for place, cell in enumerate(CELLS):
        mine = [result for result in chosen if result.row.cell == cell]
        # the three cells stand a little above one another
        heights = [labels.index(_label(result)) + 0.22 * (place - 1) for result in mine]
        spreads = [result.ratios["torch"] for result in mine]
        errors = [[one.median - one.low for one in spreads], [one.high - one.median for one in spreads]]
        axis.errorbar(
            [one.median for one in spreads], heights, xerr=errors, fmt=MARKS[cell], color=COLOURS[cell],
            markersize=5, elinewidth=1.2, label=TITLES[cell],
        )  # fmt: skip
    axis.axvline(1, color="#444444", linewidth=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_title(name, loc="left", fontsize=9, fontweight="bold")
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)
