"""The n-grams beside a classifier of texts: fitted on the training texts, and weighed against the network on validation data.

The weights are those of the naive-Bayes-weighted linear model (Wang and Manning 2012), which stands among the baselines too.
That a linear model of n-grams and a recurrent network err at different places was seen by Mesnil et al. (2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.baselines.linear_text import STRENGTHS, class_weights, fit_linear
from recurra.data.batches import Feed
from recurra.data.datasets import LabelledDataset
from recurra.data.text_codec import TextCodec
from recurra.layers import NGrams
from recurra.models import Classifier

LONGEST = {"words": 2, "bpe": 2, "characters": 3}
"""Tokens of the longest n-gram, by what a token is."""
LEAST_LINES, MOST_NUMBERS = 1 << 10, 1 << 21
"""Lines of the table, at least; numbers in it, at most: eight megabytes."""
MOST_CLASSES = 100
"""With more classes than this a linear model of each is too much work for what it brings."""
MOST_CHARACTERS = 5_000_000
"""Characters of training texts that the weights are fitted on, at most."""
HELD = 10
"""Each so many-th text chooses how strongly the weights are held back."""


def lines_for(tokens: int, classes: int) -> int:
    """How many lines a table for texts of so many tokens in all gets: a prime would do no better than this odd number."""
    wanted = max(LEAST_LINES, 2 * tokens)
    return min(wanted, MOST_NUMBERS // classes) | 1


def fit_ngrams(task: Classifier, dataset: LabelledDataset) -> None:
    """Fit the table of the n-grams to a labelled dataset; the network plays no part."""
    ngrams = task.ngrams
    assert ngrams is not None and dataset.labels is not None and isinstance(task.codec, TextCodec)
    texts, labels, characters = [], [], 0
    for text, label in zip(dataset.inputs, dataset.labels, strict=True):
        texts.append(text)
        labels.append(task.labels.encode(label))
        characters += len(text)
        if characters > MOST_CHARACTERS:
            break
    targets, classes = np.array(labels), task.config.classes
    features = _features(ngrams, [torch.tensor(ids) for ids in task.codec.encode_many(texts)])
    held = np.arange(len(targets)) % HELD == 0
    strength = _strength(features, targets, held, classes)
    table, bias = fit_linear(features, targets, class_weights(features, targets, classes), strength)
    ngrams.set(torch.from_numpy(table), torch.from_numpy(bias))


def _strength(features: Any, targets: np.ndarray, held: np.ndarray, classes: int) -> float:
    """How strongly the weights are held back: what is right most often on texts that were held back."""
    kept = ~held
    weights = class_weights(features[kept], targets[kept], classes)
    right = {}
    for strength in STRENGTHS:
        table, bias = fit_linear(features[kept], targets[kept], weights, strength)
        right[strength] = int(((features[held] @ table + bias).argmax(axis=1) == targets[held]).sum())
    return max(right, key=lambda strength: right[strength])


def _features(ngrams: NGrams, rows: list[Tensor]) -> Any:
    """Sparse [rows, lines]: how often a text has the n-grams of a line, by the root of how many n-grams it has."""
    from scipy.sparse import csr_matrix

    lines, values, ends = [], [], [0]
    for row in rows:
        history = torch.cat([torch.zeros(ngrams.longest - 1, dtype=torch.int64), row + 1])
        found = ngrams.hashed(history[:, None]).flatten()
        found, counts = found[found >= 0].unique(return_counts=True)
        lines.append(found.numpy())
        values.append((counts / counts.sum().clamp(min=1).sqrt()).double().numpy())
        ends.append(ends[-1] + len(found))
    # scikit-learn's solvers count places with 32 bits
    places = np.concatenate(lines).astype(np.int32)
    return csr_matrix((np.concatenate(values), places, np.array(ends, dtype=np.int32)), (len(rows), ngrams.lines))


def weigh(task: Classifier, valid: LabelledDataset) -> bool:
    """Set how much the network and the n-grams each count: least loss on the validation set. Whether there are n-grams."""
    if task.ngrams is None:
        return False
    feed = _feed(task, valid)
    with task.sharing(1.0, 0.0):
        network, targets = _logits(task, feed)
    with task.sharing(0.0, 1.0):
        ngrams, _ = _logits(task, feed)
    task.shares.copy_(_shares(network, ngrams, targets))
    return True


def accuracy_alone(task: Classifier, dataset: LabelledDataset) -> float:
    """How often the network is right without the n-grams beside it."""
    with task.sharing(1.0, 0.0):
        logits, targets = _logits(task, _feed(task, dataset))
    return float((logits.argmax(dim=1) == targets).double().mean())


def _feed(task: Classifier, dataset: LabelledDataset) -> Feed:
    return task.feed(dataset, rows=64, steps=512, training=False)


@torch.no_grad()
def _logits(task: Classifier, feed: Feed) -> tuple[Tensor, Tensor]:
    """logits[N, C] in float64 and targets[N], in the order of the feed."""
    was_training = task.training
    task.eval()
    outputs, targets = [], []
    for batch in task.batches(feed):
        outputs.append(task.read(batch)[0].cpu().double())
        targets.append(batch.answers("These rows have no labels", expected="a label for each row").cpu())
    task.train(was_training)
    return torch.cat(outputs), torch.cat(targets)


def _shares(network: Tensor, ngrams: Tensor, targets: Tensor) -> Tensor:
    """How much of each gives the least mean loss, none of them below zero."""
    from scipy.optimize import minimize

    both = torch.stack([network, ngrams])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.enable_grad():
            shares = torch.tensor(values, requires_grad=True)
            mean = F.cross_entropy(torch.einsum("p,pnc->nc", shares, both), targets)
            mean.backward()
        assert shares.grad is not None
        return float(mean.detach()), shares.grad.numpy()

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * 2)
    return torch.from_numpy(found.x)
