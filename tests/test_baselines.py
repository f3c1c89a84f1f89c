"""The baselines: Kneser-Ney against the formula in plain Python, the classifiers on data with known answers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.baselines import (
    BaselineResult,
    classification_baselines,
    language,
    language_baselines,
    linear_series,
    linear_text,
)
from recurra.baselines.kneser_ney import Stream, estimate_discounts, levels
from recurra.baselines.linear_text import class_weights, ngram_unit
from recurra.baselines.majority import majority_class
from recurra.baselines.sampling import sample_rows
from recurra.data.datasets import LabelledDataset
from recurra.errors import DataError

# --- Kneser-Ney ---------------------------------------------------------------------------------------------


class PlainKneserNey:
    """Modified interpolated Kneser-Ney straight from the formula: dictionaries and loops."""

    def __init__(self, train: list[int], vocabulary: int, order: int) -> None:
        self.vocabulary, self.order = vocabulary, order
        padded = [None] * order + train
        ends = range(order, len(padded))
        self.counts = {}
        for n in range(1, order + 1):
            if n == order:
                self.counts[n] = Counter(tuple(padded[end - n + 1 : end + 1]) for end in ends)
            else:
                longer = {tuple(padded[end - n : end + 1]) for end in ends}
                self.counts[n] = Counter(gram[1:] for gram in longer)

    def discounts(self, n: int) -> list[float]:
        n1, n2, n3, n4 = (sum(count == k for count in self.counts[n].values()) for k in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return [0.5, 1.0, 1.5]
        y = n1 / (n1 + 2 * n2)
        wanted = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return [min(max(discount, 1e-3), k) for k, discount in enumerate(wanted, 1)]

    def probability(self, history: tuple, word: int, n: int | None = None) -> float:
        n = self.order if n is None else n
        if n == 0:
            return 1 / self.vocabulary
        context = history[len(history) - n + 1 :]
        followers = {gram[-1]: count for gram, count in self.counts[n].items() if gram[:-1] == context}
        lower = self.probability(history, word, n - 1)
        if not followers:
            return lower
        discounts, total = self.discounts(n), sum(followers.values())
        freed = sum(discounts[min(count, 3) - 1] for count in followers.values())
        count = followers.get(word, 0)
        own = count - discounts[min(count, 3) - 1] if count else 0.0
        return own / total + freed / total * lower


def probabilities(train: list[int], vocabulary: int, order: int, tokens: list[int]) -> np.ndarray:
    stream = Stream(np.array(tokens, dtype=np.int64), vocabulary, order)
    result = np.zeros(0)
    for level in levels(np.array(train, dtype=np.int64), vocabulary, order):
        result = stream.advance(level)
    return result


def skewed(tokens: int, vocabulary: int, seed: int) -> list[int]:
    return (np.random.default_rng(seed).zipf(1.5, tokens) % vocabulary).tolist()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(("tokens", "vocabulary"), [(300, 12), (60, 3), (5, 4)])
def test_kneser_ney_equals_the_formula_over_a_whole_stream(order, tokens, vocabulary):
    train, stream = skewed(tokens, vocabulary, 1), skewed(80, vocabulary, 2)
    plain = PlainKneserNey(train, vocabulary, order)
    history = [None] * order + stream
    expected = [plain.probability(tuple(history[: order + i]), word) for i, word in enumerate(stream)]
    np.testing.assert_allclose(probabilities(train, vocabulary, order, stream), expected, rtol=1e-12)


def test_the_estimated_discounts_are_reached_and_equal_the_formula():
    found = [level.raw.discounts[1:].tolist() for level in levels(np.array(skewed(300, 12, 1)), 12, 3)]
    assert found[1] != [0.5, 1.0, 1.5]
    assert found[1] == pytest.approx(PlainKneserNey(skewed(300, 12, 1), 12, 2).discounts(2))


def test_discounts_by_hand():
    # n1 = 4, n2 = 2, n3 = 1, n4 = 1, so Y = 4 / (4 + 2 * 2) = 0.5
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4, 9, 0])
    np.testing.assert_allclose(estimate_discounts(counts), [0, 1 - 0.5, 2 - 0.75, 3 - 2.0])
    np.testing.assert_allclose(estimate_discounts(np.array([5, 6])), [0, 0.5, 1, 1.5])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one_after_every_context(order):
    vocabulary = 5
    train = skewed(120, vocabulary - 1, 4)  # one token of the vocabulary never occurs
    for context in itertools.product(range(vocabulary), repeat=order - 1):
        each = [probabilities(train, vocabulary, order, [*context, word])[-1] for word in range(vocabulary)]
        assert sum(each) == pytest.approx(1, abs=1e-12)
        assert min(each) > 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=25), st.lists(st.integers(0, 2), max_size=4), st.integers(1, 5))
def test_probabilities_sum_to_one_for_any_tokens(train, context, order):
    each = [probabilities(train, 3, order, [*context, word])[-1] for word in range(3)]
    assert sum(each) == pytest.approx(1, abs=1e-12)
    assert min(each) > 0


def test_language_baselines_choose_the_order_of_the_text_and_report_every_set():
    # each token is decided by the two before it, so order 3 is the first that can know it
    rng, tokens = np.random.default_rng(0), [0, 1]
    for noise in rng.random(4000) < 0.05:
        tokens.append(int(rng.integers(4)) if noise else (tokens[-1] + 2 * tokens[-2] + 1) % 4)
    ids = np.array(tokens)
    results = language_baselines(ids[:3000], {"valid": ids[3000:3500], "test": ids[3500:]}, 4, {"test": 1004})
    (valid,), (test,) = results["valid"], results["test"]
    assert valid.name == "modified Kneser-Ney"
    assert valid.detail.startswith("order 3, chosen")
    assert valid.metrics["loss"] < 0.45 < math.log(4)
    assert valid.metrics["perplexity"] == pytest.approx(math.exp(valid.metrics["loss"]))
    assert set(valid.metrics) == {"loss", "perplexity"}
    tokens_a_character = len(ids[3500:]) / 1004
    assert test.metrics["bits_per_character"] == pytest.approx(test.metrics["loss"] * tokens_a_character / math.log(2))
    assert valid.seconds == test.seconds > 0


def test_an_order_that_does_not_help_is_no_reason_to_stop_before_order_three():
    # a token depends on the last but one only: order 2 learns nothing but noise
    rng, tokens = np.random.default_rng(1), [0, 1]
    for noise in rng.random(2000) < 0.3:
        tokens.append(tokens[-2] ^ int(noise))
    ids = np.array(tokens)
    lower = language_baselines(ids[:1500], {"valid": ids[1500:]}, 2, None, highest=2)["valid"][0]
    assert lower.detail.startswith("order 1,")
    assert language_baselines(ids[:1500], {"valid": ids[1500:]}, 2, None)["valid"][0].detail.startswith("order 3,")


def test_language_baselines_without_a_validation_set_say_which_order_they_took():
    ids = np.array(skewed(200, 6, 0))
    assert language_baselines(ids, {"test": ids[:50]}, 6, None)["test"][0].detail == "order 5"
    both = language_baselines(ids, {"valid": ids[:0], "test": ids[:50]}, 6, None)
    assert both["valid"] == []
    assert both["test"][0].detail == "order 5"


def test_language_baselines_on_degenerate_data():
    one = language_baselines(np.zeros(20, dtype=np.uint16), {"valid": np.zeros(5, dtype=np.uint16)}, 1, None)
    assert one["valid"][0].metrics["loss"] == pytest.approx(0, abs=1e-12)
    never = language_baselines(np.zeros(20, dtype=int), {"valid": np.full(3, 9)}, 10, {"valid": 3})
    assert math.log(10) < never["valid"][0].metrics["loss"] < 10
    empty = language_baselines(np.zeros(0, dtype=int), {"valid": np.arange(4)}, 4, None)
    assert empty["valid"][0].metrics["perplexity"] == pytest.approx(4)


def test_long_training_data_is_cut_and_the_detail_says_so(monkeypatch):
    ids = np.array(skewed(500, 6, 0))
    monkeypatch.setattr(language, "MOST_TOKENS", 100)
    cut = language_baselines(ids, {"valid": ids[:60]}, 6, None)["valid"][0]
    assert cut.detail.endswith("trained on the last 100 of 500 tokens")
    monkeypatch.undo()
    last = language_baselines(ids[-100:], {"valid": ids[:60]}, 6, None)["valid"][0]
    assert cut.metrics == last.metrics


@pytest.mark.parametrize("wrong", [-1, 6])
def test_ids_outside_the_vocabulary_are_refused(wrong):
    with pytest.raises(DataError, match=r"valid set do not fit.*Expected: 0 to 5"):
        language_baselines(np.arange(6), {"valid": np.array([0, wrong])}, 6, None)


# --- classification -----------------------------------------------------------------------------------------


def dataset(inputs, labels) -> LabelledDataset:
    return LabelledDataset(inputs, labels, list(range(1, len(inputs) + 1)), "sample")


def linear_of(results: list[BaselineResult]) -> BaselineResult:
    return next(result for result in results if result.name == "linear model")


GOOD, BAD = (
    ["great fun", "I liked it", "great, great!", "fun and warm"],
    ["dull and cold", "I left", "so dull", "cold"],
)
REVIEWS = dataset((GOOD + BAD) * 5, (["good"] * 4 + ["bad"] * 4) * 5)


def test_majority_class_and_its_figures():
    assert majority_class(["b", "a", "b"]) == "b"
    assert majority_class(["b", "a"]) == "a"
    train = dataset(["x"] * 10, ["yes"] * 6 + ["no"] * 4)
    results = classification_baselines(train, train)["valid"]
    assert [result.name for result in results] == ["majority class", "linear model"]
    assert results[0].metrics == {"accuracy": pytest.approx(0.6), "macro_f1": pytest.approx(0.75 / 2)}
    assert results[0].detail == "always 'yes'"


def test_linear_model_learns_words_pairs_of_words_and_punctuation():
    assert linear_of(classification_baselines(REVIEWS, REVIEWS)["valid"]).metrics["accuracy"] == 1
    order = dataset(["not good but bad", "not bad but good"] * 10, ["bad", "good"] * 10)
    assert linear_of(classification_baselines(order, order)["valid"]).metrics["accuracy"] == 1
    marks = dataset(["really ?", "really !"] * 10, ["question", "shout"] * 10)
    assert linear_of(classification_baselines(marks, marks)["valid"]).metrics["accuracy"] == 1


def test_linear_model_tells_many_classes_apart_and_sees_new_texts():
    words = ["river", "stone", "cloud", "ember", "thorn"]
    train = dataset([f"the {word} {i}" for i in range(6) for word in words], words * 6)
    test = dataset([f"a {word} there" for word in words], words)
    results = classification_baselines(train, train, test)
    assert linear_of(results["test"]).metrics == {"accuracy": 1.0, "macro_f1": 1.0}


def test_chinese_is_read_by_characters():
    assert ngram_unit(["很好吃,送餐快", "不好吃 ok"]) == "characters"
    assert ngram_unit(["とても美味しい"]) == "characters"
    assert ngram_unit(["ACGTTGCA" * 10] * 3) == "characters"
    assert ngram_unit(["plain words with one 字"]) == "words"
    assert ngram_unit(["", "12 34"]) == "words"
    meals = dataset(["味道很好", "好吃得很", "味道不好", "难吃得很"] * 5, ["1", "1", "0", "0"] * 5)
    linear = linear_of(classification_baselines(meals, meals)["valid"])
    assert linear.metrics["accuracy"] == 1
    assert "characters 1-3" in linear.detail


def test_class_weights_are_the_log_count_ratios_of_wang_and_manning():
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer().fit_transform(["good good film", "good", "film"])  # columns: film, good
    inside, outside = (
        np.array([1 + 1, 2 + 1]),
        np.array([1 + 1, 0 + 1]),
    )  # texts of the class, texts of the others
    expected = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    np.testing.assert_allclose(class_weights(counts, np.array([0, 0, 1]), 2)[:, 0], expected)


def test_of_equally_good_strengths_the_strongest_regularisation_is_taken():
    assert linear_of(classification_baselines(REVIEWS, REVIEWS)["valid"]).detail.endswith("strength 0.3")


def noisy_texts(rows: int, seed: int) -> LabelledDataset:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    words = [random.integers(0, 60, 8) + 12 * label for label in labels]
    return dataset([" ".join(f"w{word}" for word in text) for text in words], labels.astype(str).tolist())


def noisy_series(rows: int, seed: int) -> LabelledDataset:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    noise = random.normal(size=(rows, 12, 2)) + 0.4 * labels[:, None, None]
    return dataset(list(noise.astype(np.float32)), labels.astype(str).tolist())


@pytest.mark.parametrize(("module", "make"), [(linear_text, noisy_texts), (linear_series, noisy_series)])
def test_strength_is_the_best_on_the_validation_set(monkeypatch, module, make):
    train, valid = make(60, 0), make(200, 1)
    accuracies = []
    for strength in module.STRENGTHS:
        with monkeypatch.context() as only:
            only.setattr(module, "STRENGTHS", (strength,))
            accuracies.append(linear_of(classification_baselines(train, valid)["valid"]).metrics["accuracy"])
    chosen = linear_of(classification_baselines(train, valid)["valid"])
    assert min(accuracies) < max(accuracies)
    assert chosen.metrics["accuracy"] == max(accuracies)
    assert f"strength {module.STRENGTHS[accuracies.index(max(accuracies))]:g}" in chosen.detail


def test_labels_that_training_never_saw_do_not_sway_the_choice_of_strength():
    train, valid, other = noisy_series(60, 0), noisy_series(60, 1), noisy_series(300, 2)
    more = dataset([*valid.inputs, *other.inputs], [*(valid.labels or []), *["new"] * 300])
    few, many = (linear_of(classification_baselines(train, each)["valid"]) for each in (valid, more))
    assert many.detail == few.detail
    assert many.metrics["accuracy"] == pytest.approx(few.metrics["accuracy"] * 60 / 360)


@pytest.mark.parametrize("make", [noisy_texts, noisy_series])
def test_results_are_the_same_on_every_call(make):
    first, second = (classification_baselines(make(40, 0), make(40, 1), make(40, 2)) for _ in range(2))
    for split in ("valid", "test"):
        assert [replace(result, seconds=0) for result in first[split]] == [
            replace(result, seconds=0) for result in second[split]
        ]


def test_series_of_different_lengths_are_padded_cut_and_measured_by_length():
    ramp = np.arange(4, dtype=np.float32)[:, None]
    flat = linear_series.flatten([ramp, ramp[:2] + 1, np.vstack([ramp, ramp])], 1, 4, 4)
    np.testing.assert_allclose(flat, [[0, 1, 2, 3, 1], [1, 2, 0, 0, 0.5], [0, 1, 2, 3, 2]])
    # the values say nothing here: only the length does
    lengths = [3, 9] * 10
    series = dataset([np.ones((length, 2), dtype=np.float32) for length in lengths], list(map(str, lengths)))
    assert linear_of(classification_baselines(series, series)["valid"]).metrics["accuracy"] == 1


def test_long_series_are_averaged_over_equal_spans_and_broken_values_count_as_zero():
    steps = np.arange(8, dtype=np.float32)[:, None] * np.array([1, 10], dtype=np.float32)
    flat = linear_series.flatten([steps], 2, 8, 4)
    np.testing.assert_allclose(flat, [[0.5, 5, 2.5, 25, 4.5, 45, 6.5, 65, 1]])
    broken = np.array([[np.nan], [np.inf], [3]], dtype=np.float32)
    np.testing.assert_allclose(linear_series.flatten([broken], 1, 3, 3), [[0, 0, 3, 1]])


def test_large_series_are_sampled_averaged_and_the_detail_says_so(monkeypatch):
    train, valid = noisy_series(120, 0), noisy_series(50, 1)
    monkeypatch.setattr(linear_series, "MOST_FEATURES", 8)
    monkeypatch.setattr(linear_series, "CHOOSING_WORK", 9 * 3 * 30)
    monkeypatch.setattr(linear_series, "FINAL_WORK", 9 * 3 * 100)
    linear = linear_of(classification_baselines(train, valid)["valid"])
    assert linear.detail.endswith("averaged to 4 steps, trained on 100 of 120 rows")
    assert linear.metrics["accuracy"] > 0.6


def test_the_final_series_model_sees_all_rows_even_where_the_strength_was_chosen_on_few(monkeypatch):
    train, valid = noisy_series(120, 0), noisy_series(200, 1)
    monkeypatch.setattr(linear_series, "STRENGTHS", (0.1,))
    whole = linear_of(classification_baselines(train, valid)["valid"])
    monkeypatch.setattr(linear_series, "CHOOSING_WORK", 1)
    assert linear_of(classification_baselines(train, valid)["valid"]).metrics == whole.metrics


def test_large_texts_are_sampled_and_the_detail_says_so(monkeypatch):
    train, valid = noisy_texts(120, 0), noisy_texts(50, 1)
    monkeypatch.setattr(linear_text, "MOST_CHARACTERS", {"words": 1600})
    linear = linear_of(classification_baselines(train, valid)["valid"])
    assert "trained on " in linear.detail
    assert " of 120 rows" in linear.detail
    monkeypatch.setattr(linear_text, "MOST_CHARACTERS", {"words": 10**9})
    monkeypatch.setattr(linear_text, "MOST_WORK", 5000)
    assert " of 120 rows" in linear_of(classification_baselines(train, valid)["valid"]).detail


def test_a_sample_keeps_every_class_and_is_always_the_same():
    targets = np.array([0] * 500 + [1] + [0] * 500)
    rows = sample_rows(targets, 20)
    assert len(rows) in (20, 21)
    assert 500 in rows
    np.testing.assert_array_equal(rows, sample_rows(targets, 20))
    np.testing.assert_array_equal(sample_rows(targets, 1001), np.arange(1001))


def test_rare_classes_beyond_the_limit_are_never_predicted(monkeypatch):
    from recurra.baselines import linear

    monkeypatch.setattr(linear, "MOST_CLASSES", 2)
    train = dataset(["a a", "b b", "c c", "a", "b"], ["A", "B", "C", "A", "B"])
    found = linear_of(classification_baselines(train, train)["valid"])
    assert found.detail.endswith("only the 2 most frequent of 3 classes")
    assert found.metrics["accuracy"] == pytest.approx(4 / 5)


def test_odd_data_still_gets_its_figures():
    tiny = dataset(["good", "bad"] * 5, ["+", "-"] * 5)
    one_class = dataset(["good", "fine"], ["+", "+"])
    unseen = dataset(["good", "", "neither"], ["+", "new", "new"])
    empty = dataset(["", ""] * 5, ["+", "-"] * 5)
    none = dataset([], [])
    assert linear_of(classification_baselines(tiny, one_class)["valid"]).metrics["accuracy"] in (0.5, 1.0)
    assert linear_of(classification_baselines(one_class, tiny)["valid"]).metrics["accuracy"] == 0.5
    assert linear_of(classification_baselines(tiny, unseen)["valid"]).metrics["accuracy"] == pytest.approx(1 / 3)
    assert linear_of(classification_baselines(empty, tiny)["valid"]).metrics["accuracy"] == 0.5
    assert linear_of(classification_baselines(tiny, empty)["valid"]).metrics["accuracy"] == 0.5
    results = classification_baselines(tiny, none, tiny)
    assert results["valid"] == []
    assert linear_of(results["test"]).metrics["accuracy"] == 1


def test_odd_series_still_get_their_figures():
    pulse = [np.zeros((0, 2), np.float32), np.ones((1, 2), np.float32)] * 5
    series, none = dataset(pulse, ["0", "1"] * 5), dataset([], [])
    assert linear_of(classification_baselines(series, series)["valid"]).metrics["accuracy"] == 1
    assert linear_of(classification_baselines(series, none, series)["test"]).metrics["accuracy"] == 1
    nothing = dataset([np.zeros((0, 2), np.float32)] * 4, ["0", "1", "1", "1"])
    assert linear_of(classification_baselines(nothing, nothing)["valid"]).metrics["accuracy"] == 0.75


def test_missing_labels_and_missing_rows_are_refused():
    unlabelled = LabelledDataset(["a"], None, [1], "reviews.csv")
    with pytest.raises(DataError, match=r"valid data 'reviews.csv' has no labels"):
        classification_baselines(REVIEWS, unlabelled)
    with pytest.raises(DataError, match="training data has no rows"):
        classification_baselines(dataset([], []), REVIEWS)
