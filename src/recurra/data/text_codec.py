"""Text ↔ token ids on three levels: characters, words, or byte-pair encoding (bpe).

Everything a codec is stands in one `tokenizer.json`, which the `tokenizers` library reads too and gives the same ids
from. Characters go through a table here, because that is many times faster.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recurra.data.pieces import cut
from recurra.data.writing import WIDTHS, join_words
from recurra.errors import DataError, ModelError, UsageError
from recurra.files import open_for_reading, write_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
LEVELS = ("characters", "words", "bpe")
UNKNOWN = "\ufffd"  # in text this character means "one that could not be read", which is what the token means
_BPE_SIZE = 8_000
_BYTES = 256
_EAST_ASIAN = r"\p{Han}\p{Hiragana}\p{Katakana}"  # scripts without spaces: each character is a word
_LETTERS = rf"[\w&&[^{_EAST_ASIAN}]]+"
_WORD = rf"\n|\d+(?:[.,]\d+)*|[{_EAST_ASIAN}]|{_LETTERS}(?:['’]{_LETTERS})*|[^\w\s]"
# No token reaches over the borders of these chunks: a newline, or blanks with what follows them. The blanks are those
# of Unicode; Python's own \s has four more, which the library takes for punctuation.
_BLANK = " \t\r\x0b\x0c\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_HAN = "\u4e00-\u9fa5"  # of words, each of these is one; so it is a chunk by itself
_CHUNKS = {
    "words": re.compile(rf"\n|[{_HAN}]|[{_BLANK}]*[^{_BLANK}{_HAN}\n]+|[{_BLANK}]+"),
    "bpe": re.compile(rf"\n|[{_BLANK}]*[^{_BLANK}\n]+|[{_BLANK}]+"),
}
_SHORT = 32  # characters
_KNOWN = 1 << 21  # characters of chunks remembered


class TextCodec:
    """A vocabulary of `size` tokens, numbered 0..V-1, on one `level`.

    `unknown` is the id of the token for everything that is not in the vocabulary; None for bpe, which can spell any
    text in bytes. Characters keep the text as it is; words drop spaces, and keep each newline as a token. `lowercase` and
    `normalise` (full and half width as one, see `WIDTHS`) say what is no difference to it.
    """

    def __init__(
        self,
        level: str,
        tokens: Sequence[str],
        merges: Sequence[tuple[str, str]],
        lowercase: bool,
        normalise: bool = False,
    ) -> None:
        self.level = level
        self.lowercase = lowercase
        self.normalise = normalise
        self._tokens = list(tokens)
        self._merges = list(merges)
        self._known: dict[str, list[int]] = {}
        self._known_words: dict[str, list[str]] = {}
        self._size = 0  # of what is known, in characters
        self.unknown: int | None = None if level == "bpe" else 0

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The ids of the tokens that are one character each."""
        return {token: place for place, token in enumerate(self._tokens) if len(token) == 1 and place != self.unknown}

    @property
    def size(self) -> int:
        """V, the number of tokens, the unknown one included."""
        return len(self._tokens)

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        level: str = "characters",
        size: int | None = None,
        minimum: int = 1,
        lowercase: bool = False,
        normalise: bool = False,
    ) -> Self:
        """Learn a vocabulary: tokens that occur at least `minimum` times, the `size` most frequent of them at most.

        Raises `UsageError` for an unknown level or a size that is too small, `DataError` where there is no text.
        """
        _check_settings(level, size, minimum)
        if level == "characters":
            return cls.of_counts(count_characters(texts, lowercase), size, minimum, lowercase, normalise)
        clean = map(_without_surrogates, texts)
        if normalise:
            clean = (text.translate(WIDTHS) for text in clean)
        return cls(level, *_train(level, _some(clean), size, minimum, lowercase), lowercase, normalise)

    @classmethod
    def of_counts(
        cls,
        counts: np.ndarray,
        size: int | None = None,
        minimum: int = 1,
        lowercase: bool = False,
        normalise: bool = False,
    ) -> Self:
        """A vocabulary of characters, as `learn` makes it, from what `count_characters` gives."""
        _check_settings("characters", size, minimum)
        if not counts.any():
            raise DataError("There is no text to learn a vocabulary from", got="no characters")
        counts = counts.copy()
        counts[ord(UNKNOWN)] = 0
        if normalise:
            for code, plain in WIDTHS.items():
                counts[ord(plain)] += counts[code]
                counts[code] = 0
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts >= minimum)]
        tokens = [UNKNOWN, *map(chr, order[: None if size is None else size - 1].tolist())]
        return cls("characters", tokens, [], lowercase, normalise)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text. For characters, encode(a) + encode(b) == encode(a + b)."""
        if self.level == "characters":
            if len(text) <= _SHORT and not self.lowercase and not self.normalise:
                # a dictionary is quicker than an array for the few characters of one push
                ids = [self._ids.get(character, -1) for character in text]
                if -1 not in ids:
                    return ids
            return self.encode_array(text).tolist()
        return self._encode_chunks(self._plain(text))

    def encode_many(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    def words_of(self, text: str) -> list[str]:
        """What stands in the text for each token of `encode`, as it is written there; for words."""
        chunks = _CHUNKS["words"].findall(_without_surrogates(text))
        known = self._known_words
        new = [chunk for chunk in dict.fromkeys(chunks) if chunk not in known]
        if new:
            if len(known) > _KNOWN >> 3:
                known = self._known_words = {}
                new = list(dict.fromkeys(chunks))
            for chunk, found in zip(new, self._tokenizer.encode_batch(new, add_special_tokens=False), strict=True):
                known[chunk] = [chunk[first:last] for first, last in found.offsets]
        return list(itertools.chain.from_iterable(map(known.__getitem__, chunks)))

    def encode_array(self, text: str) -> np.ndarray:
        """Token ids as int32 [T]: the way for texts of many megabytes."""
        if self.level == "characters":
            codes = _code_points(_lower(text) if self.lowercase else text)
            table = self._table
            return table[np.minimum(codes, len(table) - 1)]
        parts = [np.array(self._encode_chunks(piece), np.int32) for piece in cut([self._plain(text)])]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    def unknown_in(self, text: str) -> list[str]:
        """What of a text is not in the vocabulary, as it stands there and in order; nothing for bpe, which can spell all."""
        if self.level == "characters":
            return [text[place] for place in np.flatnonzero(self.encode_array(text) == self.unknown).tolist()]
        if self.level == "bpe":
            return []
        plain = self._plain(text)
        found = self._tokenizer.encode(plain, add_special_tokens=False)
        pairs = zip(found.ids, found.offsets, strict=True)
        return [plain[start:end] for index, (start, end) in pairs if index == self.unknown]

    def _plain(self, text: str) -> str:
        """A text as the library is given it."""
        text = _without_surrogates(text)
        return text.translate(WIDTHS) if self.normalise else text

    def _encode_chunks(self, text: str) -> list[int]:
        """Ids chunk by chunk, each different chunk once: running text repeats itself, and the library is slow."""
        chunks = _CHUNKS[self.level].findall(text)
        known = self._known
        new = [chunk for chunk in dict.fromkeys(chunks) if chunk not in known]
        if new:
            encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            known.update(zip(new, (found.ids for found in encoded), strict=True))
            self._size += sum(map(len, new))
            if self._size > _KNOWN:
                self._known, self._size = {}, 0  # a new one: another thread may be reading the old
        return list(itertools.chain.from_iterable(map(known.__getitem__, chunks)))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids: exact for characters and bpe, with sensible spaces for words.

        Raises `DataError` for an id outside 0..V-1. Part of a character, cut off by bpe, reads as "�".
        """
        tokens = self._tokens_of(ids)
        if self.level == "characters":
            return "".join(tokens)
        if self.level == "words":
            return join_words(tokens)
        return b"".join(map(self._bytes_of, tokens)).decode("utf-8", "replace")

    def token(self, index: int) -> str:
        """The token of an id as a person reads it; bytes that are no whole character as <E4>."""
        token = self._token(index)
        if self.level != "bpe":
            return token
        data = self._bytes_of(token)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<{byte:02X}>" for byte in data)

    def characters(self, ids: Iterable[int], unknown_length: float = 1.0) -> float:
        """How many characters the tokens spell out, and unknown ones hide: what bits per character are counted by."""
        listed = list(ids)
        if self.level == "bpe":
            return len(self.decode(listed))
        return sum(map(self._widths.__getitem__, listed)) + unknown_length * listed.count(0)

    @cached_property
    def _widths(self) -> list[int]:
        """Characters of each token, none of the unknown one; a word brings the space before it."""
        space = 1 if self.level == "words" else 0
        return [space + (0 if index == self.unknown else len(token)) for index, token in enumerate(self._tokens)]

    def unknown_length(self, texts: Iterable[str]) -> float:
        """How many characters a token that is not in the vocabulary hides, on average over texts; 1 where there is none."""
        if self.level != "words":
            return 1.0
        tokens = characters = 0
        for text in map(self._plain, texts):
            ids = self._encode_chunks(text)
            if 0 in ids:
                hidden = [len(word) for index, word in zip(ids, self.words_of(text), strict=True) if index == 0]
                tokens, characters = tokens + len(hidden), characters + sum(hidden)
        return characters / tokens if tokens else 1.0

    def to_text(self) -> str:
        """The content of `tokenizer.json`, which `tokenizers.Tokenizer` reads too."""
        whole = _build(self.level, self._tokens, self._merges, self.lowercase, self.normalise)
        return whole.to_str(pretty=False) + "\n"

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` into a folder."""
        write_file(Path(folder) / TOKENIZER_FILE, self.to_text())

    @classmethod
    def load(cls, folder: str | Path, name: str = TOKENIZER_FILE) -> Self:
        """Read `tokenizer.json`. Raises `ModelError` where it is missing, damaged, or not one that `save` wrote."""
        path = Path(folder) / name
        values = read_json(path)
        model = values.get("model")
        if not isinstance(model, dict):
            raise ModelError(f"{path} is damaged", got="no model in it")
        tokens = _read_tokens(model.get("vocab"), path)
        merges = _read_merges(model.get("merges", []), set(tokens), path)
        lowercase, normalise = _read_normalizer(values.get("normalizer"))
        for level in LEVELS:
            if (level == "bpe") != (model.get("type") == "BPE"):
                continue
            codec = cls(level, tokens, merges, lowercase, normalise)
            if codec._is_whole() and _same_make(codec._described, values):
                return codec
        raise ModelError(
            f"{path} was not written by this version of Recurra, or was altered",
            got=f"a tokenizer of type {model.get('type')!r}",
            expected="characters, words or bpe as TextCodec.save writes them",
        )

    def _is_whole(self) -> bool:
        """Whether the tokens are of the kind the level needs; only a file that was altered has others."""
        if self.level == "characters":
            return all(len(token) == 1 for token in self._tokens)
        alphabet = self._byte_values.keys()
        return self.level == "words" or (
            alphabet <= set(self._tokens) and all(alphabet >= set(t) for t in self._tokens)
        )

    def _tokens_of(self, ids: Iterable[int]) -> list[str]:
        listed = list(ids)
        for index in (min(listed), max(listed)) if listed else ():
            self._token(index)  # complains of an id that is out of range
        return list(map(self._tokens.__getitem__, listed))

    def _token(self, index: int) -> str:
        if not 0 <= index < len(self._tokens):
            raise DataError("No such token", got=int(index), expected=f"0 to {len(self._tokens) - 1}")
        return self._tokens[index]

    def _bytes_of(self, token: str) -> bytes:
        return bytes(self._byte_values[character] for character in token)

    @cached_property
    def _byte_values(self) -> dict[str, int]:
        """The byte each letter of a byte-level token stands for: printable Latin-1 for itself, the rest from U+0100."""
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(_BYTES) if byte not in set(printable)]
        return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point → id, int32; its last row, unknown, also serves all code points beyond."""
        codes = [ord(token) for token in self._tokens]
        table = np.zeros(max(codes + list(WIDTHS) if self.normalise else codes) + 2, dtype=np.int32)
        table[codes] = np.arange(len(codes))
        if self.normalise:
            table[list(WIDTHS)] = table[[ord(plain) for plain in WIDTHS.values()]]
        return table

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        # what it is given has its ordinary width already: two hundred replacements would cost it more than all else
        return _build(self.level, self._tokens, self._merges, self.lowercase)

    @cached_property
    def _described(self) -> dict[str, Any]:
        """A small tokenizer of the same make as JSON: all of it but the vocabulary."""
        empty = _build(self.level, self._tokens[:1], [], self.lowercase, self.normalise)
        return json.loads(empty.to_str())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model's folder. Raises `ModelError` where it is missing or damaged."""
    with open_for_reading(path, "model") as file:
        data = file.read()
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a number of thousands of digits
        fix = "The file was cut or altered: copy the model's folder again"
        raise ModelError(f"{path} is damaged", got=error, fix=fix) from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is damaged", got=type(values).__name__, expected="a JSON object")
    return values


def _check_settings(level: str, size: int | None, minimum: int) -> None:
    if level not in LEVELS:
        raise UsageError("No such level of tokens", got=repr(level), expected=" or ".join(map(repr, LEVELS)))
    smallest = _BYTES if level == "bpe" else 2
    if size is not None and size < smallest:
        raise UsageError(f"A vocabulary of {level} cannot be that small", got=size, expected=f"at least {smallest}")
    if minimum < 1:
        raise UsageError("The least count of a token is too small", got=minimum, expected="at least 1")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _lower(text: str) -> str:
    # A final Σ would be lowered by its neighbours: a character's id must not depend on where the text is cut.
    return text.replace("Σ", "σ").lower()


def _without_surrogates(text: str) -> str:
    """Half a surrogate pair, which broken JSON can hold, is no character: it becomes the unknown one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(UNKNOWN if "\ud800" <= character <= "\udfff" else character for character in text)
    return text


def count_characters(
    texts: Iterable[str], lowercase: bool = False, seen: Callable[[float], None] = lambda millions: None
) -> np.ndarray:
    """How often each code point comes, int64 [0x110000]; half a surrogate pair counts as the unknown character.

    `seen` is told how many millions more were counted.
    """
    counts = np.zeros(0x110000, dtype=np.int64)
    for piece in cut(texts):
        seen(len(piece) / 1e6)
        found = np.bincount(_code_points(_lower(piece) if lowercase else piece))
        counts[: len(found)] += found
    counts[ord(UNKNOWN)] += counts[0xD800:0xE000].sum()
    counts[0xD800:0xE000] = 0
    return counts


def _some(texts: Iterable[str]) -> Iterator[str]:
    """The texts, one after another. Raises `DataError` at the end where there was nothing in any."""
    count, empty = 0, True
    for text in texts:
        count, empty = count + 1, empty and not text
        yield text
    if empty:
        raise DataError("There is no text to learn a vocabulary from", got=f"{count} empty texts")


def _build(
    level: str, tokens: Sequence[str], merges: Sequence[tuple[str, str]], lowercase: bool, normalise: bool = False
) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate(tokens)}
    if level == "bpe":
        tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
        lines = pre_tokenizers.Split("\n", "isolated")
        pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([lines, pieces])
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        if level == "characters":
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
            tokenizer.decoder = decoders.Fuse()
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    lower = [normalizers.Lowercase()] if lowercase else []
    if normalise:
        widths = [normalizers.Replace(chr(code), plain) for code, plain in WIDTHS.items()]
        tokenizer.normalizer = normalizers.Sequence([*widths, *lower])
    elif lower:
        tokenizer.normalizer = lower[0]
    return tokenizer


def _train(
    level: str, texts: Iterable[str], size: int | None, minimum: int, lowercase: bool
) -> tuple[list[str], list[tuple[str, str]]]:
    from tokenizers import pre_tokenizers, trainers

    tokenizer = _build(level, [UNKNOWN], [], lowercase)
    pieces = (line for text in texts for line in text.splitlines(keepends=True))
    if level == "words":
        everything = 1 << 31
        trainer = trainers.WordLevelTrainer(vocab_size=everything, min_frequency=minimum, show_progress=False)
        tokenizer.train_from_iterator(pieces, trainer)
        tokens = [token for token in _in_order(tokenizer.get_vocab()) if token != UNKNOWN]
        return [UNKNOWN, *tokens[: None if size is None else size - 1]], []
    trainer = trainers.BpeTrainer(
        vocab_size=size or _BPE_SIZE,
        min_frequency=max(minimum, 2),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    return _in_order(tokenizer.get_vocab()), merges


def _in_order(vocabulary: dict[str, int]) -> list[str]:
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _read_normalizer(value: object) -> tuple[bool, bool]:
    """(lowercase, normalise) as a file has them; `_same_make` then tells whether it has nothing else."""
    steps = value.get("normalizers") if isinstance(value, dict) else None
    if isinstance(steps, list):
        last = steps[-1] if steps else None
        return isinstance(last, dict) and last.get("type") == "Lowercase", True
    return value is not None, False


def _read_tokens(vocabulary: object, path: Path) -> list[str]:
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ModelError(f"{path} is damaged", got="no vocabulary in it")
    ids = list(vocabulary.values())
    if not all(type(i) is int for i in ids) or sorted(ids) != list(range(len(ids))):
        raise ModelError(f"{path} is damaged", got="a vocabulary whose ids are not 0, 1, 2, … each once")
    if any(_without_surrogates(token) != token for token in vocabulary):
        raise ModelError(f"{path} is damaged", got="a token with half a surrogate pair")
    return _in_order(vocabulary)


def _read_merges(merges: object, tokens: set[str], path: Path) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for merge in merges if isinstance(merges, list) else [None]:
        if (
            not isinstance(merge, list)
            or len(merge) != 2
            or not all(isinstance(part, str) and part in tokens for part in merge)
            or "".join(merge) not in tokens
        ):
            raise ModelError(f"{path} is damaged", got=f"the merge {merge!r}", expected="two tokens that make a third")
        pairs.append((merge[0], merge[1]))
    return pairs


def _same_make(expected: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether a file differs from what `save` writes in nothing but its vocabulary."""
    vocabulary = values["model"]["vocab"]
    if expected["model"].get("unk_token") is not None and vocabulary.get(UNKNOWN) != 0:
        return False
    model = {**values["model"], "vocab": expected["model"]["vocab"]}
    if "merges" in expected["model"]:
        model["merges"] = expected["model"]["merges"]
    return {**values, "model": model} == expected
