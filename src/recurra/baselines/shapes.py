"""Two simple classifiers that look at the shape of a series: the nearest neighbour, and ridge on random convolutions.

Knows arrays [T, F] and class numbers; no files, no networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recurra.baselines.linear_series import MOST_FEATURES, flatten
from recurra.baselines.sampling import sample_rows

NEIGHBOURS = 5_000  # rows of the training data that are compared with
CONVOLVED = 2_000  # rows that ridge regression is fitted to
MOST_WORK = 20_000_000  # steps times features of all sets from which the convolutions are left out
KERNELS, WIDTH = 1_000, 9
STRENGTHS = tuple(10.0**power for power in range(-3, 5))
Sets = Mapping[str, Sequence[np.ndarray]]
Numbers = dict[str, np.ndarray]


def nearest_predictions(train: Sequence[np.ndarray], targets: np.ndarray, evaluations: Sets) -> tuple[Numbers, str]:
    """The class of the row of `train` that is nearest by Euclidean distance, for each row of each set."""
    kept = sample_rows(targets, NEIGHBOURS)
    longest, channels = max(map(len, train)), train[0].shape[1]
    steps = max(1, min(longest, MOST_FEATURES // channels))

    def table(rows: Sequence[np.ndarray]) -> np.ndarray:
        # the last column is the length, in no unit of the values
        return flatten(rows, channels, longest, steps)[:, :-1]

    known = table([train[place] for place in kept])
    squares = (known**2).sum(axis=1)
    found = {}
    for split, rows in evaluations.items():
        asked = table(rows)
        near = [(squares - 2 * asked[at : at + 512] @ known.T).argmin(axis=1) for at in range(0, len(asked), 512)]
        found[split] = targets[kept][np.concatenate(near)] if near else np.zeros(0, dtype=np.int64)
    return found, f"Euclidean distance to {len(kept):,} rows"


def convolved_predictions(
    train: Sequence[np.ndarray], targets: np.ndarray, classes: int, evaluations: Sets
) -> tuple[Numbers, str] | None:
    """Ridge regression on the share of steps above a threshold and the greatest value of random convolutions.

    After ROCKET (Dempster, Petitjean and Webb 2020), with a thousand kernels. None where sets are too large, or empty.
    """
    rows = sum(array.size for each in (train, *evaluations.values()) for array in each)
    if rows > MOST_WORK:
        return None
    random = np.random.default_rng(0)
    kept = sample_rows(targets, CONVOLVED)
    known = [_clean(train[place]) for place in kept]
    stacked = np.concatenate(known)
    if not len(stacked):
        return None
    centre, spread = stacked.mean(axis=0), stacked.std(axis=0) + 1e-6
    known = [(array - centre) / spread for array in known]
    kernels = _kernels(random, known)
    table = np.stack([_features(array, kernels) for array in known])
    middle, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale < 1e-6] = np.inf
    wanted = np.where(np.arange(classes) == targets[kept][:, None], 1.0, -1.0)
    weights, bias, strength = _ridge((table - middle) / scale, wanted)
    found = {}
    for split, each in evaluations.items():
        features = [_features((_clean(array) - centre) / spread, kernels) for array in each]
        scores = (
            ((np.array(features).reshape(len(features), -1) - middle) / scale) @ weights + bias if features else None
        )
        found[split] = np.zeros(0, dtype=np.int64) if scores is None else scores.argmax(axis=1)
    return found, f"ridge regression on {KERNELS:,} random convolutions, strength {strength:g}"


Group = tuple[int, int, np.ndarray, np.ndarray]
"""(feature, dilation, weights[9, k], thresholds[k])."""


def _kernels(random: np.random.Generator, known: Sequence[np.ndarray]) -> list[Group]:
    """Random kernels in groups that read alike, each with a threshold from what it says of a random row."""
    filled = [array for array in known if len(array)]
    typical = int(np.median([len(array) for array in filled]))
    most = max(0.0, np.log2(max(1.0, (typical - 1) / (WIDTH - 1))))
    channels = random.integers(known[0].shape[1], size=KERNELS)
    dilations = (2 ** random.uniform(0, most, KERNELS)).astype(int)
    weights = random.normal(size=(WIDTH, KERNELS))
    weights -= weights.mean(axis=0)
    groups = []
    for channel, dilation in sorted(set(zip(channels.tolist(), dilations.tolist(), strict=True))):
        mine = weights[:, (channels == channel) & (dilations == dilation)]
        said = _said(filled[int(random.integers(len(filled)))], (channel, dilation, mine, np.zeros(mine.shape[1])))
        groups.append((channel, dilation, mine, np.quantile(said, random.uniform(0.1, 0.9), axis=0)))
    return groups


def _said(array: np.ndarray, group: Group) -> np.ndarray:
    """What the kernels of a group say at each step, [T, k]; zeros surround the series."""
    channel, dilation, weights, _ = group
    half = (WIDTH - 1) * dilation // 2
    padded = np.pad(array[:, channel], (half, (WIDTH - 1) * dilation - half))
    places = np.arange(len(array))[:, None] + dilation * np.arange(WIDTH)
    return padded[places] @ weights


def _features(array: np.ndarray, kernels: Sequence[Group]) -> np.ndarray:
    found = []
    for group in kernels:
        if not len(array):
            found += [np.zeros(group[2].shape[1])] * 2
            continue
        said = _said(array, group)
        found += [(said > group[3]).mean(axis=0), said.max(axis=0)]
    return np.concatenate(found)


def _clean(array: np.ndarray) -> np.ndarray:
    return np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)


def _ridge(table: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(weights, bias, strength): the strength under which rows that are left out, one at a time, are told best."""
    mean = wanted.mean(axis=0)
    values, vectors = np.linalg.eigh(table @ table.T)
    best: tuple[float, np.ndarray, float] | None = None
    for strength in STRENGTHS:
        inverse = (vectors / (np.maximum(values, 0) + strength)) @ vectors.T
        dual = inverse @ (wanted - mean)
        error = float(((dual / inverse.diagonal()[:, None]) ** 2).mean())
        if best is None or error < best[0]:
            best = error, dual, strength
    assert best is not None
    return table.T @ best[1], mean, best[2]
