"""Codecs: round trips, chunk consistency, the saved file read by the tokenizers library, and damaged files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from recurra.data.codecs import LabelCodec, SeriesCodec, TextCodec, default_level, load_codecs, save_codecs
from recurra.data.letters import Letters
from recurra.errors import DataError, ModelError, UsageError

POEM = "床前明月光,\n疑是地上霜。😀👨‍👩‍👧 𠀀𝄞 Café\tnaïve\n"
ENGLISH = "The cat sat on the mat. The dog didn't sit, it ran 3.14 miles!\nThe end.\n"
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


def test_characters_are_lossless_and_chunk_consistent() -> None:
    codec = TextCodec.learn([POEM])
    assert codec.level == "characters" and codec.size == len(set(POEM)) + 1
    assert codec.decode(codec.encode(POEM)) == POEM
    for cut in range(len(POEM)):
        assert codec.encode(POEM[:cut]) + codec.encode(POEM[cut:]) == codec.encode(POEM)


@settings(max_examples=30, deadline=None)
@given(texts.filter(bool), texts, texts)
def test_characters_round_trip_any_text(learned: str, a: str, b: str) -> None:
    codec = TextCodec.learn([learned])
    assert codec.decode(codec.encode(learned)) == learned
    assert codec.encode(a) + codec.encode(b) == codec.encode(a + b)
    known = set(learned)
    assert codec.decode(codec.encode(a)) == "".join(c if c in known else "\ufffd" for c in a)


@settings(max_examples=30, deadline=None)
@given(texts, texts)
def test_lowercase_does_not_depend_on_where_a_text_is_cut(a: str, b: str) -> None:
    codec = TextCodec.learn(["ΟΔΟΣ Straße İ abc"], lowercase=True)
    assert codec.encode(a) + codec.encode(b) == codec.encode(a + b)
    assert codec.encode("ΟΔΟΣ ABC") == codec.encode("οδοσ abc")


def test_unknown_characters_have_one_id() -> None:
    codec = TextCodec.learn(["aab"])
    assert codec.encode("a€b\U0010ffff\ud83d") == [1, codec.unknown, 2, codec.unknown, codec.unknown]
    assert codec.token(0) == "�" and codec.decode([1, 0]) == "a�"


def test_minimum_and_size_bound_the_vocabulary() -> None:
    assert TextCodec.learn(["aaabbc"], minimum=2).size == 3
    assert TextCodec.learn(["aaabbc"], size=2).encode("abc") == [1, 0, 0]
    words = TextCodec.learn(["red red red blue blue green"], "words", minimum=2)
    assert [words.token(i) for i in range(words.size)] == ["�", "red", "blue"]
    assert TextCodec.learn(["red red red blue blue green"], "words", size=2).encode("green red") == [0, 1]
    assert TextCodec.learn([ENGLISH * 20], "bpe", size=280).size == 280


def test_words_split_on_punctuation_newlines_and_chinese_characters() -> None:
    codec = TextCodec.learn(["Don't stop, 3.14!\n我爱Python。"], "words")
    tokens = [codec.token(i) for i in codec.encode("Don't stop, 3.14!\n我爱Python。")]
    assert tokens == ["Don't", "stop", ",", "3.14", "!", "\n", "我", "爱", "Python", "。"]


@pytest.mark.parametrize(
    "text",
    [
        'He said, "no (really)!" and left.\nThe end.',
        "快过圣诞节了，好想要一个苹果。手机坏了！",
        '"never closed\n"closed" here',
        "a well-known fact: 3.14, it's 50%",
    ],
)
def test_words_decode_with_the_spaces_a_person_would_put(text: str) -> None:
    codec = TextCodec.learn([text], "words")
    assert codec.decode(codec.encode(text)) == text


@settings(max_examples=30, deadline=None)
@given(texts)
def test_words_keep_their_ids_when_decoded_and_encoded_again(text: str) -> None:
    codec = TextCodec.learn([ENGLISH, POEM], "words")
    ids = codec.encode(text)
    again = codec.encode(codec.decode(ids))
    assert [i for i in again if i] == [i for i in ids if i]


def test_words_are_the_same_in_pieces_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = TextCodec.learn([ENGLISH, POEM], "words", lowercase=True)
    monkeypatch.setattr("recurra.data.pieces.PIECE", 1_000)
    monkeypatch.setattr("recurra.data.text_codec._KNOWN", 5)
    text = (ENGLISH + "\n\n" + POEM) * 40
    whole = codec._tokenizer.encode(text).ids
    assert codec.encode(text) == codec.encode_array(text).tolist() == codec.encode(text) == whole
    assert codec.encode("THE CAT") == codec.encode("the cat")


@settings(max_examples=30, deadline=None)
@given(texts)
def test_bpe_is_lossless_for_any_text(text: str) -> None:
    codec = _bpe()
    assert codec.decode(codec.encode(text)) == text
    assert codec.unknown is None


_learned: list[TextCodec] = []


def _bpe() -> TextCodec:
    if not _learned:
        _learned.append(TextCodec.learn([ENGLISH * 10, POEM * 10], "bpe", size=400))
    return _learned[0]


blanks = st.sampled_from(
    [" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000", "\u200b"]
)
ragged = st.lists(blanks | st.sampled_from(["a", "the", "'s", "!", "3.1", "的", "é", "e\u0301", "\u0301", "_"]) | texts)


@settings(max_examples=60, deadline=None)
@given(ragged.map("".join), st.sampled_from(["words", "bpe"]))
def test_chunks_give_the_ids_of_the_whole_whatever_the_blanks(text: str, level: str) -> None:
    codec = _bpe() if level == "bpe" else TextCodec.learn([ENGLISH, POEM, "a the ' s ! 3.1 的 é _"], "words")
    assert codec.encode(text) == codec._tokenizer.encode(text).ids


def test_bpe_is_the_same_in_pieces_as_whole_and_shows_readable_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = _bpe()
    monkeypatch.setattr("recurra.data.pieces.PIECE", 1_000)
    text = (ENGLISH + "\n\n  " + POEM) * 40
    assert codec.encode(text) == codec.encode_array(text).tolist() == codec._tokenizer.encode(text).ids
    assert " the" in [codec.token(i) for i in codec.encode("on the mat")]
    byte = codec.encode("龘")[-1]
    assert codec.token(byte).startswith("<") and codec.decode([byte]) == "�"


@pytest.mark.parametrize("level", ["characters", "words", "bpe"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_saved_codec_loads_here_and_in_the_tokenizers_library(tmp_path: Path, level: str, lowercase: bool) -> None:
    codec = TextCodec.learn([ENGLISH * 5, POEM * 5], level, lowercase=lowercase)
    codec.save(tmp_path)
    loaded = TextCodec.load(tmp_path)
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    probe = ENGLISH + POEM + "\r\n ÀΣς İ ✈ [UNK] � unseen WORDS"
    assert loaded.level == level and loaded.lowercase == lowercase and loaded.size == codec.size
    assert loaded.encode(probe) == codec.encode(probe) == theirs.encode(probe).ids
    assert loaded.unknown == codec.unknown
    assert loaded.encode_many([probe, "", ENGLISH]) == [codec.encode(probe), [], codec.encode(ENGLISH)]


@settings(max_examples=30, deadline=None)
@given(texts, st.booleans())
def test_the_table_of_characters_agrees_with_the_library(text: str, lowercase: bool) -> None:
    codec = TextCodec.learn([POEM + "abcABCσΣςİıßẞÅå"], lowercase=lowercase)
    assert codec.encode(text) == codec._tokenizer.encode(text).ids


def test_a_megabyte_is_encoded_well_under_a_second() -> None:
    codec = TextCodec.learn([ENGLISH])
    text = ENGLISH * 14_000
    start = time.perf_counter()
    ids = codec.encode_array(text)
    assert time.perf_counter() - start < 0.5
    assert ids.dtype == np.int32 and len(ids) == len(text) > 1_000_000


def test_learning_refuses_what_makes_no_sense() -> None:
    with pytest.raises(UsageError, match=r"No such level of tokens\. Got: 'sentences'"):
        TextCodec.learn(["a"], "sentences")
    with pytest.raises(UsageError, match=r"bpe cannot be that small\. Got: 100. Expected: at least 256"):
        TextCodec.learn(["a"], "bpe", size=100)
    with pytest.raises(UsageError, match="at least 1"):
        TextCodec.learn(["a"], minimum=0)
    with pytest.raises(DataError, match="no text to learn"):
        TextCodec.learn(["", ""])
    with pytest.raises(DataError, match=r"No such token. Got: 7. Expected: 0 to 1"):
        TextCodec.learn(["a"]).decode([7])


def _damaged(change: str) -> str:
    values = json.loads(TextCodec.learn(["ab"])._tokenizer.to_str())
    match change:
        case "cut":
            return json.dumps(values)[:100]
        case "no model":
            del values["model"]
        case "a list":
            return "[]"
        case "ids with a gap":
            values["model"]["vocab"]["b"] = 9
        case "no unknown":
            values["model"]["vocab"] = {"a": 0, "b": 1}
        case "long token":
            values["model"]["vocab"]["xyz"] = 3
        case "foreign":
            values["pre_tokenizer"] = {"type": "Whitespace"}
        case "bad merge":
            values["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}
        case "merge into nothing":
            values["model"] = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}
        case "bpe without bytes":
            values["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    return json.dumps(values)


@pytest.mark.parametrize(
    "change, message",
    [
        ("cut", "damaged"),
        ("no model", "no model in it"),
        ("a list", "Expected: a JSON object"),
        ("ids with a gap", "each once"),
        ("no unknown", "was altered"),
        ("long token", "was altered"),
        ("foreign", "was altered"),
        ("bad merge", "two tokens that make a third"),
        ("merge into nothing", "two tokens that make a third"),
        ("bpe without bytes", "was altered"),
    ],
)
def test_a_damaged_tokenizer_is_named(tmp_path: Path, change: str, message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(_damaged(change), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        TextCodec.load(tmp_path)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        TextCodec.load(tmp_path)


def test_default_level_is_characters_for_chinese_and_japanese_only() -> None:
    assert default_level(["快过圣诞节了", "好想要"]) == "characters"
    assert default_level(["ひらがなとカタカナ"]) == "characters"
    assert default_level(["我们用 Python 写代码"]) == "characters"
    assert default_level(["The word 苹果 means apple in Chinese"]) == "words"
    assert default_level(["안녕하세요 세계", "123", ""]) == "words"


def test_labels_are_learned_in_their_order_and_unseen_ones_named() -> None:
    codec = LabelCodec.learn(["10", "9", "-1", "b", "a", "9"])
    assert codec.labels == ("-1", "9", "10", "a", "b")
    assert codec.encode("10") == 2 and codec.decode(2) == "10"
    assert codec.encode_many(["a", "b"]).tolist() == [3, 4]
    with pytest.raises(DataError, match=r"Got: 'positve'.*'positive'.*Did you mean 'positive'\?"):
        LabelCodec.learn(["positive", "negative"]).encode("positve")
    with pytest.raises(DataError, match=r"No such class\. Got: 5. Expected: 0 to 4"):
        codec.decode(5)
    with pytest.raises(DataError, match="no labels to learn"):
        LabelCodec.learn([])


def test_series_are_standardised_by_feature_from_valid_values() -> None:
    rows = [np.array([[1.0, 5.0], [3.0, 5.0]], np.float32), np.array([[np.nan, 5.0], [5.0, np.inf]], np.float32)]
    codec = SeriesCodec.learn(rows)
    assert codec.features == 2
    assert codec.mean.tolist() == [3.0, 5.0]
    np.testing.assert_allclose(codec.scale, [np.sqrt(8 / 3), 1.0])
    encoded = codec.encode(rows[0])
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, [[-2 / np.sqrt(8 / 3), 0], [0, 0]], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(2, 20), st.floats(-1e4, 1e4), st.floats(1e-2, 1e3))
def test_standardised_training_data_has_mean_zero_and_scale_one(
    features: int, steps: int, mean: float, scale: float
) -> None:
    generator = np.random.default_rng(0)
    rows = [(mean + scale * generator.standard_normal((steps, features))).astype(np.float32) for _ in range(3)]
    codec = SeriesCodec.learn(rows)
    encoded = np.concatenate([codec.encode(row) for row in rows]).astype(np.float64)
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-3)
    spread = np.concatenate(rows).astype(np.float64).std(0)
    np.testing.assert_allclose(encoded.std(0), np.where(spread > 1e-7 * abs(mean), 1.0, 0.0), atol=1e-3)


def test_series_that_do_not_fit_are_named() -> None:
    codec = SeriesCodec.learn([np.zeros((3, 2), np.float32)])
    with pytest.raises(DataError, match=r"another number of features\. Got: 3. Expected: 2"):
        codec.encode(np.zeros((4, 3)))
    with pytest.raises(DataError, match="nan at step 2, feature 1"):
        codec.encode(np.array([[0, 0], [np.nan, 0]]))
    with pytest.raises(DataError, match="inf at step 1, feature 2"):
        codec.encode(np.array([[0, 1e300]]))
    with pytest.raises(DataError, match=r"\[1, 2\] features"):
        SeriesCodec.learn([np.zeros((3, 2)), np.zeros((3, 1))])
    assert SeriesCodec.learn([np.zeros((3, 1))]).encode(np.zeros(5)).shape == (5, 1)


def test_label_and_series_codecs_are_saved_together_and_come_back_exact(tmp_path: Path) -> None:
    labels = LabelCodec.learn(["好", "坏"])
    series = SeriesCodec.learn([np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)])
    save_codecs(tmp_path, labels, series)
    assert '"好"' in (tmp_path / "codec.json").read_text(encoding="utf-8")
    loaded = load_codecs(tmp_path)
    loaded_series = loaded.series
    assert loaded.labels.labels == labels.labels
    assert loaded_series is not None
    np.testing.assert_array_equal(loaded_series.mean, series.mean)
    np.testing.assert_array_equal(loaded_series.scale, series.scale)
    save_codecs(tmp_path, labels)
    assert load_codecs(tmp_path).series is None


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "damaged"),
        ('{"version": 2, "labels": ["a"]}', "another version. Got: 2"),
        ('{"version": 1, "labels": []}', "Expected: a list of names"),
        ('{"version": 1, "labels": ["a", "a"]}', "twice"),
        ('{"version": 1, "labels": ["a"], "series": {"mean": [NaN], "scale": [1]}}', "a list of numbers"),
        ('{"version": 1, "labels": ["a"], "series": {"mean": [1], "scale": [0]}}', "one positive scale"),
        ('{"version": 1, "labels": ["a"], "series": 3}', "damaged"),
    ],
)
def test_a_damaged_codec_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "codec.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_codecs(tmp_path)


# ---- words and what they are spelled with


@given(st.text(alphabet="aB é9'-.\n\t好𠮷İΣ，", max_size=40))
def test_each_token_has_the_word_that_it_stands_for(text: str) -> None:
    codec = TextCodec.learn(["a b é 9 好"], "words", lowercase=True)
    words, ids = codec.words_of(text), codec.encode(text)
    assert len(words) == len(ids)
    for word, index in zip(words, ids, strict=True):
        assert word in text
        assert codec.encode(word) == [index]


def test_letters_spell_words_and_come_back() -> None:
    letters = Letters.learn(["ab", "cab"])
    assert letters.parts[4:] == ("a", "b", "c") and letters.width == 5
    assert letters.encode(["ba", "x", "abcab"]).tolist() == [[2, 5, 4, 3, 0], [2, 1, 3, 0, 0], [2, 4, 5, 5, 3]]
    assert letters.encode([]).shape == (0, 5)
    again = Letters.from_json(letters.to_json())
    assert (again.parts, again.width) == (letters.parts, letters.width)
    for damaged in (None, {}, {"parts": ["a"], "width": 5}, {**letters.to_json(), "width": 99}):
        with pytest.raises(ModelError, match="letters of the codec are damaged"):
            Letters.from_json(damaged)
