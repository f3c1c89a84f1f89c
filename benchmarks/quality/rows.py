"""What is measured: data, the time it has, what is to be reached, and what simple methods reach. Nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass

LOWER = ("loss", "perplexity", "mse", "owa")
"""Metrics of which less is better."""
TITLES = {
    "loss": "nats per character",
    "perplexity": "perplexity",
    "accuracy": "accuracy, %",
    "f1": "span F1, %",
    "label_accuracy": "intent accuracy, %",
    "bleu": "BLEU",
    "mse": "squared error, z-scored",
    "owa": "OWA",
}
SPLITS = {"valid": "validation", "test": "test"}
SHARES = ("accuracy", "f1", "label_accuracy")
"""Metrics that are shares of one, shown in per cent."""


@dataclass(frozen=True)
class Goal:
    """A metric on a split with its bar and aim, and the figures of simple methods measured before, by name."""

    metric: str
    split: str
    bar: float
    aim: float
    simple: tuple[tuple[str, float], ...] = ()

    def reaches(self, value: float, wanted: float) -> bool:
        """Whether a value is as good as the one wanted."""
        return value <= wanted if self.metric in LOWER else value >= wanted


@dataclass(frozen=True)
class Row:
    """One row. Paths are within the folder of data; where `whole` is given, its last tenth is held back for validation.
    `rows` are those of a table that go, one after another, into training, validation and test.

    `options` are what the command gets besides files, minutes and seed: nothing, where the default is to be good enough.
    `peer` trains a network of another kind for the same minutes. `within` are the minutes that the bar allows, where a run
    needs fewer.
    """

    name: str
    train: str
    minutes: float
    goals: tuple[Goal, ...]
    valid: str | None = None
    test: str | None = None
    whole: bool = False
    rows: tuple[int, int, int] | None = None
    seeds: tuple[int, ...] = (0,)
    options: tuple[str, ...] = ()
    peer: bool = False
    within: float | None = None


THREE = (0, 1, 2)
_SHAKESPEARE = (("Kneser-Ney, 7 characters", 1.517),)


def _shakespeare(within: int, bar: float, aim: float, seeds: tuple[int, ...] = (0,), minutes: int | None = None) -> Row:
    return Row(
        f"tinyshakespeare-{within}", "lm/tinyshakespeare.txt", minutes or within,
        (Goal("loss", "valid", bar, aim, _SHAKESPEARE),), whole=True, seeds=seeds, within=within if minutes else None,
    )  # fmt: skip


def _classify(name: str, minutes: float, bar: float, aim: float, linear: float, valid: bool = True) -> Row:
    simple = (("naive-Bayes-weighted linear model", linear),)
    return Row(
        name, f"classify/{name}/train.tsv", minutes, (Goal("accuracy", "test", bar, aim, simple),),
        valid=f"classify/{name}/valid.tsv" if valid else None, test=f"classify/{name}/test.tsv", seeds=THREE, within=5,
    )  # fmt: skip


def _etth1(horizon: int, lookback: int | None, bar: float, aim: float, ridge: float) -> Row:
    """Seven columns of hours, each a series: all windows of the test part, after the standard split of 12, 4 and 4 months."""
    seen = () if lookback is None else ("--lookback", str(lookback))
    simple = ((f"ridge regression on {lookback or 336} values", ridge),)
    return Row(
        f"etth1-{lookback or 'any'}-{horizon}", "forecast/etth1/ETTh1.csv", 8, (Goal("mse", "test", bar, aim, simple),),
        rows=(8640, 2880, 2880), options=("--horizon", str(horizon), *seen), within=10,
    )  # fmt: skip


def _series(name: str, bar: float, aim: float, rocket: float, lstm: float) -> Row:
    simple = (("MiniRocket and ridge", rocket), ("plain LSTM, last state", lstm))
    return Row(
        name.lower(), f"series/{name}/{name}_TRAIN.ts", 1.5, (Goal("accuracy", "test", bar, aim, simple),),
        test=f"series/{name}/{name}_TEST.ts", seeds=THREE, within=3,
    )  # fmt: skip


def _digits(name: str, bar: float, aim: float, simple: tuple[tuple[str, float], ...], *options: str) -> Row:
    return Row(
        name, "digits/train-images-idx3-ubyte.gz", 8, (Goal("accuracy", "test", bar, aim, simple),),
        test="digits/t10k-images-idx3-ubyte.gz", options=options, within=10,
    )  # fmt: skip


ROWS = (
    _shakespeare(3, 1.55, 1.50, THREE),
    _shakespeare(20, 1.48, 1.44),
    _shakespeare(60, 1.45, 1.40, minutes=50),
    Row(
        "tang", "lm/tang.train.txt", 20, (Goal("perplexity", "test", 160, 135, (("Kneser-Ney, 6 characters", 190.1),)),),
        valid="lm/tang.valid.txt", test="lm/tang.test.txt", peer=True, within=30,
    ),
    _classify("trec", 4, 0.915, 0.93, 0.880, valid=False),
    _classify("sst2", 3, 0.827, 0.845, 0.812),
    _classify("waimai", 2, 0.909, 0.92, 0.909),
    Row(
        "snips", "tag/snips/train.jsonl", 10,
        (
            Goal("f1", "test", 0.938, 0.95, (("CRF with ordinary features", 0.936),)),
            Goal("label_accuracy", "test", 0.975, 0.983),
        ),
        valid="tag/snips/valid.jsonl", test="tag/snips/test.jsonl",
    ),
    Row(
        "conll2000", "tag/conll2000/train.jsonl", 12,
        (Goal("f1", "test", 0.938, 0.945, (("CRF with ordinary features, words only", 0.923),)),),
        test="tag/conll2000/test.jsonl", within=20,
    ),
    Row(
        "resume", "tag/resume/train.jsonl", 10, (Goal("f1", "test", 0.94, 0.95, (("CRF with ordinary features", 0.939),)),),
        valid="tag/resume/valid.jsonl", test="tag/resume/test.jsonl", within=20,
    ),
    Row(
        "multi30k", "translate/multi30k.en-de/train.tsv", 60, (Goal("bleu", "test", 36, 39),),
        valid="translate/multi30k.en-de/valid.tsv", test="translate/multi30k.en-de/test2016.tsv",
    ),
    _etth1(96, 96, 0.375, 0.365, 0.383),
    _etth1(192, 96, 0.415, 0.400, 0.434),
    _etth1(336, 96, 0.450, 0.430, 0.475),
    _etth1(720, 96, 0.455, 0.440, 0.469),
    _etth1(96, None, 0.368, 0.350, 0.370),
    _etth1(192, None, 0.402, 0.385, 0.403),
    _etth1(336, None, 0.425, 0.412, 0.426),
    _etth1(720, None, 0.430, 0.425, 0.430),
    Row(
        "m4-hourly", "forecast/m4_hourly/Hourly-train.csv", 18,
        (Goal("owa", "test", 0.55, 0.43, (("one pooled ridge", 0.618), ("last season again", 0.628))),),
        test="forecast/m4_hourly/Hourly-test.csv", options=("--horizon", "48"), within=20,
    ),
    _series("JapaneseVowels", 0.98, 0.99, 0.989, 0.962),
    _series("BasicMotions", 1.0, 1.0, 1.0, 0.95),
    _series("ItalyPowerDemand", 0.968, 0.975, 0.963, 0.972),
    _series("ArrowHead", 0.86, 0.90, 0.863, 0.394),
    _series("GunPoint", 0.99, 1.0, 0.993, 0.96),
    _digits("mnist-feedforward", 0.985, 0.988, (("feed-forward 784-512-512-10", 0.985),), "--cell", "feedforward"),
    _digits("mnist-rows", 0.99, 0.993, (("plain LSTM, row by row", 0.9885),)),
)  # fmt: skip


def chosen(names: list[str]) -> list[Row]:
    """The rows of these names, or whose name begins so; all where none is given. Raises `KeyError` for an unknown one."""
    found = []
    for name in names or [row.name for row in ROWS]:
        some = [row for row in ROWS if row.name == name] or [row for row in ROWS if row.name.startswith(f"{name}-")]
        if not some:
            raise KeyError(name)
        found += [row for row in some if row not in found]
    return found
