"""Texts that are not held in memory give what held ones give: text, errors, tokens, batches, models."""

from __future__ import annotations

import errno
import gzip
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recurra.data import pieces, text_files, tokens
from recurra.data.batches import StreamFeed, generator
from recurra.data.checking import leakage
from recurra.data.datasets import TextDataset
from recurra.data.pieces import FileText, cut, whole
from recurra.data.reading import read
from recurra.data.text_codec import TextCodec
from recurra.data.text_files import open_text, read_text
from recurra.data.tokens import ABOUT, TOKENS, encode_dataset, remove_tokens, tokens_spared
from recurra.errors import DataError, EnvironmentFailure

# one to four bytes a character, every newline, a mark inside, blanks, and what an earlier conversion left
CHARACTERS = "ab ,.'’é猫好\n\r\u3000\ufeff\ufffd😀"
TEXTS = st.text(alphabet=CHARACTERS, min_size=1, max_size=400)
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
LINES = [
    "the cat sat on the mat.",
    "一只猫坐在垫子上，想要一个苹果。",
    "it's 3.14 o'clock, 😀 déjà vu",
    "",
    "and the dog ran off",
]
TEXT = "".join(f"{LINES[i % 5]}{i * i % 97}\n" for i in range(500))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a text."""
    monkeypatch.chdir(tmp_path)
    Path("big.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every file a large one, read in blocks of so many bytes."""

    def made(block: int) -> None:
        monkeypatch.setattr(text_files, "LARGE", 1)
        monkeypatch.setattr(pieces, "BLOCK", block)
        monkeypatch.setattr(pieces, "PIECE", block)

    return made


def large(path: Path) -> FileText:
    text = open_text(path)
    assert isinstance(text, FileText)
    return text


def lazy(path: Path) -> TextDataset:
    return TextDataset([large(path)], path.name)


# ---- the text


@QUICK
@given(TEXTS, st.lists(st.integers(0, 400), max_size=6), st.integers(1, 50))
def test_pieces_depend_on_the_text_alone(text: str, cuts: list[int], size: int) -> None:
    before, pieces.PIECE = pieces.PIECE, size
    try:
        borders = [0, *sorted(cuts), len(text)]
        strings = [text[a:b] for a, b in itertools.pairwise(borders)]
        found = list(cut(strings))
        assert found == list(cut([text])) == list(cut(text))
        assert "".join(found) == text
        assert all(0 < len(piece) <= 2 * size for piece in found)
    finally:
        pieces.PIECE = before


def test_pieces_end_after_newlines_and_else_before_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 8)
    assert list(cut(["0123456\n89\nab"])) == ["0123456\n89\n", "ab"]
    assert list(cut(["one two  three four five six"])) == ["one two  three", " four five six"]
    assert list(cut(["一二三四五六七八九十一二三四五六七八"])) == ["一二三四五六七八九十一二三四五六", "七八"]


@QUICK
@given(TEXTS, st.booleans(), st.integers(16, 40), st.integers(0, 420), st.integers(0, 420))
def test_a_text_that_is_not_held_is_the_text(
    place: Path, tiny: Callable[[int], None], text: str, mark: bool, block: int, a: int, b: int
) -> None:
    path = place / "any.txt"
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode())
    held = read_text(path)
    assert held == text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff" * (not mark))
    tiny(block)
    found = large(path)
    assert (whole(found), len(found), found.file.damaged) == (held, len(held), held.count("\ufffd"))
    assert whole(found[a:b]) == held[a:b]
    assert whole(found[a:][:b]) == held[a:][:b]
    one, two = TextDataset([found], "x"), TextDataset([held], "x")
    assert list(one.pieces()) == list(two.pieces())
    assert list(one.lines()) == list(two.lines()) == held.split("\n")
    assert (one.digest, one.characters, one.documents) == (two.digest, two.characters, two.documents)
    assert not one.held and two.held


def test_the_digest_tells_texts_apart() -> None:
    known = {TextDataset(texts, "x").digest for texts in (["ab"], ["ac"], ["a", "b"], ["b", "a"])}
    assert len(known) == 4


def test_files_are_held_below_the_limit_and_packed_ones_always(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Path("big.txt").stat().st_size
    Path("big.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    monkeypatch.setattr(text_files, "LARGE", size)
    assert isinstance(open_text(Path("big.txt")), FileText)
    monkeypatch.setattr(text_files, "LARGE", size + 1)
    assert open_text(Path("big.txt")) == TEXT
    monkeypatch.setattr(text_files, "LARGE", 1)
    assert open_text(Path("big.txt.gz")) == TEXT


# ---- what is wrong with it

GOOD = "好的一句话，a line of text\n" * 3
WRONG: dict[str, bytes] = {
    "a broken byte": GOOD.encode() + b"ab\xffcd\n" + GOOD.encode() * 4,
    "a broken byte after a mark": b"\xef\xbb\xbf" + GOOD.encode() + b"ab\xffcd\n" + GOOD.encode() * 4,
    "a character that is cut": (GOOD * 4).encode() + "好".encode()[:2],
    "a surrogate": GOOD.encode() * 4 + b"\xed\xa0\x80" + GOOD.encode(),
    "a NUL": GOOD.encode() + b"\0" + GOOD.encode(),
    "a NUL after a broken byte": GOOD.encode() + b"\xff" + GOOD.encode() + b"\0",
    "Chinese of another encoding": (GOOD * 9).encode("gb18030"),
    "an accent of another encoding": ("voilà l'été\n" * 20).encode("latin-1"),
    "two bytes a character": ("plain text\n" * 20).encode("utf-16-le"),
    "two bytes a character and a mark": ("plain text\n" * 20).encode("utf-16"),
    "an archive": b"PK\x03\x04" + bytes(range(1, 90)),
    "blanks": b" \n\t\r\n" * 20,
    "nothing": b"",
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_those_of_a_small_file(place: Path, tiny: Callable[[int], None], case: str) -> None:
    path = place / "bad.txt"
    path.write_bytes(WRONG[case])
    with pytest.raises(DataError) as small:
        read(path)
    for block in (16, 17, 31):
        tiny(block)
        with pytest.raises(DataError) as big:
            read(path)
        assert str(big.value) == str(small.value)


def test_errors_tell_the_byte_of_the_file(place: Path, tiny: Callable[[int], None]) -> None:
    tiny(16)
    for before in (b"", b"\xef\xbb\xbf"):
        start = before + "好\r\nb\n".encode() * 10
        Path("bad.txt").write_bytes(start + "猫".encode() + b"\xe7\x8c!" + GOOD.encode() * 9)
        with pytest.raises(DataError, match=rf"1 broken character.*0xE7 at byte {len(start) + 3}, line 21\b"):
            read("bad.txt")


@QUICK
@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\0", b"\xff", b"\xe5\xa5\xbd", b"\xe5", b"\xf0\x9f"]), max_size=40)
)
def test_errors_of_any_bytes_are_those_of_a_small_file(place: Path, tiny: Callable[[int], None], parts: list) -> None:
    path = place / "bad.txt"
    path.write_bytes(GOOD.encode() + b"".join(parts))
    tiny(16)
    told: list[str] = []
    for opened in (read_text, lambda path: whole(large(path))):
        try:
            told.append(opened(path))
        except DataError as error:
            told.append(str(error))
    assert told[0] == told[1]


def test_a_file_that_changes_is_refused(place: Path, tiny: Callable[[int], None]) -> None:
    tiny(64)
    text = large(Path("big.txt"))
    strings = text.strings()
    assert next(strings)
    with open("big.txt", "a") as file:
        file.write("more")
    with pytest.raises(DataError, match=r"changed while it was read.*Start again"):
        list(strings)
    with pytest.raises(DataError, match="changed while it was read"):
        whole(text)


def test_what_is_guessed_is_the_same(place: Path, tiny: Callable[[int], None]) -> None:
    Path("rows.txt").write_text("".join(f"{'ab'[i % 2]}\tfilm number {i}\n" for i in range(40)))
    Path("fast.txt").write_text("".join(f"__label__{'ab'[i % 2]} film number {i}\n" for i in range(40)))
    Path("hurt.txt").write_text("a caf\ufffd\n" * 4)
    small = [read(name) for name in ("rows.txt", "fast.txt", "hurt.txt")]
    tiny(16)
    big = [read(name) for name in ("rows.txt", "fast.txt", "hurt.txt")]
    assert big[:2] == small[:2]
    assert big[2][1:] == small[2][1:] and "4 replacement characters" in big[2][2][0].message


def test_leaks_are_found_without_holding_the_text(place: Path, tiny: Callable[[int], None]) -> None:
    long = "this line is long enough to be no accident at all"
    Path("train.txt").write_text(f"x\n{long}\ny\n{long}\n")
    train, valid = TextDataset([Path("train.txt").read_text()], "train.txt"), TextDataset([f"{long.upper()}\nx\n"], "v")
    small = leakage(train, valid)
    assert small is not None and "1 of 1 long lines" in small.message and "line 2" in small.message
    tiny(16)
    assert leakage(lazy(Path("train.txt")), valid) == small


# ---- tokens


@pytest.mark.parametrize("level", ["characters", "words", "bpe"])
@QUICK
@given(text=TEXTS, block=st.integers(16, 40))
def test_tokens_are_those_of_a_held_text(
    place: Path, tiny: Callable[[int], None], text: str, block: int, level: str
) -> None:
    path = place / "any.txt"
    path.write_text(text, encoding="utf-8", newline="")
    held = TextDataset([read_text(path)], "any.txt")
    learnt = TextCodec.learn([TEXT, "'’"], level, size=300 if level == "bpe" else None, minimum=1)
    expected = learnt.encode(held.documents[0])
    tiny(block)
    found = encode_dataset(lazy(path), learnt)
    assert len(found) == len(expected)
    assert found[:].tolist() == encode_dataset(held, learnt)[:].tolist() == expected
    assert found[3:9].tolist() == expected[3:9] and found[3:9].dtype == torch.int64


@pytest.mark.parametrize("level", ["characters", "words", "bpe"])
def test_a_vocabulary_is_that_of_a_held_text(place: Path, tiny: Callable[[int], None], level: str) -> None:
    Path("mixed.txt").write_text(TEXT.replace("\n9", "\r\n9") + "'", newline="")
    one = TextCodec.learn(TextDataset([read_text(Path("mixed.txt"))], "x").pieces(), level, size=400)
    tiny(33)
    two = TextCodec.learn(lazy(Path("mixed.txt")).pieces(), level, size=400)
    assert one.to_text() == two.to_text() and one.size > 10


def test_documents_are_joined_by_newlines_and_learnt_without() -> None:
    dataset = TextDataset(["ab", "", "ba"], "three")
    codec = TextCodec.learn(dataset.pieces())
    assert sorted(codec.token(i) for i in range(codec.size)) == ["a", "b", "\ufffd"]
    assert codec.decode(encode_dataset(dataset, codec)[:].tolist()) == "ab\ufffd\ufffdba"


def test_tokens_take_as_few_bytes_as_they_need(place: Path, tiny: Callable[[int], None]) -> None:
    for count, width in ((255, 1), (256, 2), (65_535, 2), (65_536, 4)):
        text = "".join(map(chr, range(0x10000, 0x10000 + count)))
        Path("wide.txt").write_text(text)
        codec = TextCodec.learn([text])
        tiny(4096)
        found = encode_dataset(lazy(Path("wide.txt")), codec, Path("store"))
        assert codec.size == count + 1 and Path("store", TOKENS).stat().st_size == width * count
        assert codec.decode(found[:].tolist()) == text


def test_batches_are_those_of_a_tensor(place: Path, tiny: Callable[[int], None]) -> None:
    codec = TextCodec.learn([TEXT])
    tiny(64)
    kept = encode_dataset(lazy(Path("big.txt")), codec, Path("store"))
    ids = torch.tensor(codec.encode(TEXT))
    for rows, steps, shift in ((4, 32, True), (3, 7, False), (32, 4096, True), (1, 1024, False)):
        one, two = (StreamFeed(given, rows, steps, seed=5, shift=shift) for given in (ids, kept))
        assert len(one) == len(two) > 0
        for epoch, start in ((0, 0), (3, len(one) // 2)):
            for left, right in zip(one.batches(epoch, start), two.batches(epoch, start), strict=True):
                assert torch.equal(left.inputs, right.inputs) and left.carries == right.carries
                assert left.targets is not None and right.targets is not None
                assert torch.equal(left.targets, right.targets)


def test_batches_cut_one_stream_a_row() -> None:
    ids = torch.arange(1000)
    feed = StreamFeed(ids, 3, 10, seed=1, shift=True)
    for epoch in range(4):
        begins = int(torch.randint(11, (), generator=generator(1, epoch)))
        batches = list(feed.batches(epoch))
        inputs = torch.cat([batch.inputs for batch in batches], dim=1)
        offset, width = int(inputs[0, 0]), (len(ids) - 1 - 10) // 3
        assert offset == begins
        assert torch.equal(inputs, ids[offset : offset + 3 * width].view(3, width))
        assert all(torch.equal(batch.targets, batch.inputs + 1) for batch in batches if batch.targets is not None)
        assert [batch.carries for batch in batches] == [False] + [True] * (len(batches) - 1) and len(batches) == len(
            feed
        )


def test_a_batch_to_measure_is_bounded() -> None:
    feed = StreamFeed(torch.arange(1000), 4, 50, most=100)
    batches = list(feed.batches(0))
    assert {batch.inputs.shape for batch in batches[:-1]} == {(4, 25)}
    assert torch.equal(torch.cat([batch.inputs for batch in batches], 1), torch.arange(996).view(4, 249))


# ---- the file of tokens


@pytest.mark.parametrize("damage", ["none", "cut", "altered", "away", "about", "half", "text", "vocabulary"])
def test_tokens_are_used_again_only_where_they_are_right(
    place: Path, tiny: Callable[[int], None], written: list[int], damage: str
) -> None:
    tiny(64)
    codec, store = TextCodec.learn([TEXT]), Path("store")
    first = encode_dataset(lazy(Path("big.txt")), codec, store)
    expected = codec.encode(TEXT)
    path, about = store / TOKENS, store / ABOUT
    data = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(data[:-1])
        case "altered":
            path.write_bytes(data[:700] + bytes([data[700] ^ 1]) + data[701:])
        case "away":
            path.unlink()
        case "about":
            about.unlink()
        case "half":
            about.write_text(about.read_text()[:20])
        case "text":
            Path("big.txt").write_text(TEXT.replace("cat", "cot"))
            expected = codec.encode(TEXT.replace("cat", "cot"))
        case "vocabulary":
            codec = TextCodec.learn([TEXT], minimum=110)
            expected = codec.encode(TEXT)
    second = encode_dataset(lazy(Path("big.txt")), codec, store)
    assert len(written) == (1 if damage == "none" else 2)
    assert second[:].tolist() == expected
    if damage not in ("cut", "altered"):
        assert first[:].tolist() == TextCodec.learn([TEXT]).encode(TEXT)  # whoever reads the old one goes on
    assert sorted(entry.name for entry in store.iterdir()) == [TOKENS, ABOUT]


def test_tokens_cut_under_way_are_noticed(place: Path, tiny: Callable[[int], None]) -> None:
    tiny(64)
    found = encode_dataset(lazy(Path("big.txt")), TextCodec.learn([TEXT]), Path("store"))
    os.truncate(Path("store", TOKENS), 100)
    assert len(found[:100]) == 100
    with pytest.raises(EnvironmentFailure, match="was cut while it was read"):
        found[90:110]


class Full:
    """A file on a disk with room for so many bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file.write(data)


def test_a_full_disk_leaves_what_was_there(
    place: Path, tiny: Callable[[int], None], written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(64)
    codec, store = TextCodec.learn([TEXT]), Path("model/training")
    Path("other.txt").write_text(TEXT[::-1])

    def opened(path: Any, mode: str, *more: Any, **named: Any) -> Any:
        file = open(path, mode, *more, **named)  # noqa: SIM115 (closed by whoever opened it)
        return Full(file, 5000) if mode == "wb" else file

    with monkeypatch.context() as patch:
        patch.setattr(tokens, "open", opened, raising=False)
        with pytest.raises(
            EnvironmentFailure, match=r"Cannot write model/training/tokens\.bin.*No space.*disk is full"
        ):
            encode_dataset(lazy(Path("big.txt")), codec, store)
        assert not Path("model").exists()
    encode_dataset(lazy(Path("big.txt")), codec, store)
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "open", opened, raising=False)
        with pytest.raises(EnvironmentFailure, match="disk is full"):
            encode_dataset(lazy(Path("other.txt")), codec, store)
    assert sorted(entry.name for entry in store.iterdir()) == [TOKENS, ABOUT]
    del written[:]
    assert encode_dataset(lazy(Path("big.txt")), codec, store)[:].tolist() == codec.encode(TEXT)
    assert written == []


def test_tokens_that_nothing_is_known_about_do_not_stay(
    place: Path, tiny: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(64)

    def full(path: Path, content: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tokens, "write_file", full)
    with pytest.raises(EnvironmentFailure, match="disk is full"):
        encode_dataset(lazy(Path("big.txt")), TextCodec.learn([TEXT]), Path("model/training"))
    assert not Path("model").exists()


def test_tokens_without_a_place_of_their_own(
    place: Path, tiny: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(64)
    monkeypatch.setattr(tokens.tempfile, "tempdir", str(place / "temporary"))
    Path("temporary").mkdir()
    codec = TextCodec.learn([TEXT])
    found = encode_dataset(lazy(Path("big.txt")), codec)
    assert found[:].tolist() == codec.encode(TEXT) and not any(Path("temporary").iterdir())
    temporary = tokens.tempfile.TemporaryFile
    monkeypatch.setattr(tokens.tempfile, "TemporaryFile", lambda: Full(temporary(), 5000))
    with pytest.raises(EnvironmentFailure, match=r"Cannot write tokens in .*temporary.*disk is full"):
        encode_dataset(lazy(Path("big.txt")), codec)


def test_tokens_wait_while_their_folder_is_replaced(
    place: Path, tiny: Callable[[int], None], written: list[int]
) -> None:
    tiny(64)
    codec, store = TextCodec.learn([TEXT]), Path("model/training")
    with tokens_spared(store):  # there is nothing yet
        assert not Path("model").exists()
    assert not Path("model").exists()
    encode_dataset(lazy(Path("big.txt")), codec, store)
    with pytest.raises(KeyError), tokens_spared(store):
        shutil.rmtree("model")
        raise KeyError
    assert sorted(entry.name for entry in place.iterdir()) == ["big.txt", "model"]
    encode_dataset(lazy(Path("big.txt")), codec, store)
    assert len(written) == 1
    Path(store, "position.json").touch()
    remove_tokens(store)
    assert [entry.name for entry in store.iterdir()] == ["position.json"]
