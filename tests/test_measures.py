"""The figures results are judged by, against values worked out by hand and by scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recurra.data.measures import accuracy_and_f1, language_measures
from recurra.errors import DataError


def test_accuracy_and_macro_f1_by_hand():
    # class 0: precision 3/4, recall 3/5; class 1: precision 4/6, recall 4/5
    measures = accuracy_and_f1(np.array([[3, 2], [1, 4]]))
    assert measures == {"accuracy": pytest.approx(0.7), "macro_f1": pytest.approx((2 / 3 + 8 / 11) / 2)}


def test_macro_f1_equals_scikit_learn_on_random_labels():
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(3)
    truth, predicted = random.integers(0, 5, 200), random.integers(0, 4, 200)
    confusion = np.zeros((5, 5), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    measures = accuracy_and_f1(confusion)
    assert measures["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert measures["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_macro_f1_leaves_out_classes_in_neither_truth_nor_prediction():
    assert accuracy_and_f1(np.diag([2, 0, 3])) == {"accuracy": 1.0, "macro_f1": 1.0}
    # a class that was only predicted counts, with an F1 of 0
    assert accuracy_and_f1(np.array([[1, 1], [0, 0]]))["macro_f1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("confusion", [np.zeros((2, 2)), np.zeros((0, 0)), np.ones((2, 3)), np.ones(4)])
def test_a_confusion_matrix_without_rows_or_not_square_is_refused(confusion):
    with pytest.raises(DataError):
        accuracy_and_f1(confusion)


def test_language_measures_by_hand():
    measures = language_measures(nats=10 * math.log(8), tokens=10, characters=30)
    assert measures["loss"] == pytest.approx(math.log(8))
    assert measures["perplexity"] == pytest.approx(8)
    assert measures["bits_per_character"] == pytest.approx(1.0)  # 3 bits a token of 3 characters


def test_perplexity_is_infinite_rather_than_an_overflow():
    assert language_measures(1e6, 10, 10)["perplexity"] == math.inf
    assert language_measures(math.inf, 10, 10)["perplexity"] == math.inf


def test_unknown_characters_leave_bits_per_character_out():
    assert set(language_measures(1.0, 2, 0)) == {"loss", "perplexity"}


def test_no_tokens_are_refused():
    with pytest.raises(DataError, match="no tokens"):
        language_measures(0.0, 0, 0)
