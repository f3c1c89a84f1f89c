"""Bad input as a table: how it is made, the command that meets it, the exit code, and what the message must say.

The models a command can name stand in the working folder: `texts` (classifies texts), `numbers` (classifies numeric
sequences of two features), `both` (a bidirectional classifier) and `language`; so do their good data `good.tsv`,
`good.npz` and `good.txt`, and the state `good.state` of `texts`.
"""

# ruff: noqa: E501 (a table reads best with a case on a line)

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import recurra
from recurra.cli.main import main
from recurra.errors import DataError, EnvironmentFailure, ModelError, RecurraError, StateError, UsageError

USAGE, DATA, MODEL, STATE, MACHINE = 2, 3, 4, 5, 6
FIT = "--hidden 8 --epochs 1 --no-baselines --out new"


@dataclass(frozen=True)
class Ending:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def run(*words: object, stdin: bytes = b"") -> Ending:
    """`recurra WORDS` inside this process; what is not an ordinary ending of the command goes through."""
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["recurra", *map(str, words)]
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"), out, err
    try:
        main()
    except SystemExit as ending:
        assert isinstance(ending.code, int)
        return Ending(ending.code, out.getvalue(), err.getvalue())
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before
    raise AssertionError("main() returned")


@dataclass(frozen=True)
class Case:
    """`make` makes the bad input in the working folder; `message` is what stderr must match."""

    name: str
    make: Callable[[], object]
    command: str
    code: int
    message: str
    stdin: bytes = b""


def nothing() -> None:
    """The command itself is what is wrong."""


def put(name: str, content: str | bytes) -> Callable[[], object]:
    """Write a file."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda: Path(name).write_bytes(data)


def rows(name: str, *records: dict[str, Any]) -> Callable[[], object]:
    """Write a file of JSON lines."""
    return put(name, "".join(json.dumps(record) + "\n" for record in records))


def arrays(name: str, **named: Any) -> Callable[[], object]:
    """Write a file of arrays."""
    return lambda: np.savez(name, **named)


def cut(name: str, share: float) -> Callable[[], object]:
    """Keep only the first part of a file."""
    return lambda: Path(name).write_bytes((data := Path(name).read_bytes())[: int(len(data) * share)])


def flip(name: str, place: int) -> Callable[[], object]:
    """Turn one bit of one byte."""

    def make() -> None:
        data = bytearray(Path(name).read_bytes())
        data[place] ^= 4
        Path(name).write_bytes(bytes(data))

    return make


def config(model: str, *path: str, value: Any) -> Callable[[], object]:
    """Set one entry of a model's config.json."""

    def make() -> None:
        whole = json.loads(Path(model, "config.json").read_text())
        inner = whole
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        Path(model, "config.json").write_text(json.dumps(whole))

    return make


def header(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[], object]:
    """Change the header of a safetensors file; the bytes of its tensors stay."""

    def make() -> None:
        data = Path(name).read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        values = json.loads(data[8 : 8 + length])
        change(values)
        text = json.dumps(values).encode()
        text += b" " * (-len(text) % 8)
        Path(name).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return make


def weights(value: float) -> Callable[[], object]:
    """Put `value` in the place of the last weight."""

    def make() -> None:
        path = Path("texts/weights.safetensors")
        path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", value))

    return make


def copy(source: str, target: str) -> Callable[[], object]:
    """Put one file in the place of another."""
    return lambda: Path(target).write_bytes(Path(source).read_bytes())


def table(*, label: str = "good", more: str = "", encoding: str = "utf-8") -> bytes:
    """Twenty rows of texts with labels."""
    lines = [f"a film of {i} acts, truly {label}\t{label if i % 2 else 'bad'}" for i in range(20)]
    return ("text\tlabel\n" + "\n".join(lines) + "\n" + more).encode(encoding)


def series(number: Any) -> list[dict[str, Any]]:
    """Ten numeric sequences; `number` stands in the third."""
    return [{"x": [[i, 2.0], [number if i == 2 else 1.0, 3.0]], "y": i % 2} for i in range(10)]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


DEEP = "[" * 200_000
DIGITS = "9" * 6_000
TS = "@problemName x\n@dimensions 2\n@classLabel true a b\n@data\n"
LABELS = np.arange(20) % 2


def huge(values: dict[str, Any]) -> None:
    values["bias"]["shape"] = [1 << 40, 1 << 40]


def newer(values: dict[str, Any]) -> None:
    values["__metadata__"]["version"] = "2"


def more_steps(values: dict[str, Any]) -> None:
    values["__metadata__"]["extra.steps"] = "7"


CASES = [
    # ---- files of data
    Case("data: none there", nothing, f"fit nowhere.tsv {FIT}", DATA, r"No such data file: nowhere\.tsv"),
    Case("data: nearly the name", nothing, f"fit goood.tsv {FIT}", DATA, r"Did you mean good\.tsv"),
    Case("data: an empty name", nothing, f"fit '' {FIT}", DATA, r"path is empty"),
    Case("data: a text for a path", nothing, f"fit '{'word ' * 300}' {FIT}", DATA, r"taken as a path"),
    Case("data: a name too long", nothing, f"fit {'x' * 300} {FIT}", DATA, r"No such data file"),
    Case("data: a folder", nothing, f"fit texts {FIT}", DATA, r"texts is a folder.*config\.json"),
    Case("data: empty", put("bad.tsv", ""), f"fit bad.tsv {FIT}", DATA, r"bad\.tsv is empty"),
    Case("data: only blanks", put("bad.txt", "\n  \n\t\n"), f"fit bad.txt {FIT}", DATA, r"bad\.txt is empty"),
    Case("data: a header alone", put("bad.tsv", "text\tlabel\n"), f"fit bad.tsv {FIT}", DATA, r"header and no rows"),
    Case("data: one token", put("bad.txt", "a"), f"fit bad.txt {FIT}", DATA, r"too short.*1 characters.*--valid"),
    Case("data: GB18030", put("bad.txt", ("这是我们的电影，他说不好看。" * 20).encode("gb18030")), f"fit bad.txt {FIT}", DATA, r"probably GB18030.*line 1.*iconv -f GB18030"),
    Case("data: UTF-16", put("bad.tsv", table(encoding="utf-16")), f"fit bad.tsv {FIT}", DATA, r"probably UTF-16LE.*iconv"),
    Case("data: Latin-1", put("bad.tsv", table(label="schön", encoding="latin-1")), f"fit bad.tsv {FIT}", DATA, r"WINDOWS-1252.*line 2.*iconv"),
    Case("data: binary", put("bad.txt", bytes(range(256))), f"fit bad.txt {FIT}", DATA, r"binary file.*NUL byte at byte 0"),
    Case("data: a picture", put("bad.txt", b"\x89PNG\r\n"), f"fit bad.txt {FIT}", DATA, r"a PNG picture"),
    Case("data: an unknown ending", put("bad.xyz", "some text"), f"fit bad.xyz {FIT}", DATA, r"bad\.xyz.*not read.*\.jsonl"),
    Case("data: half a gzip file", put("bad.txt.gz", b"\x1f\x8b\x08"), f"fit bad.txt.gz {FIT}", DATA, r"not a whole gzip"),
    Case("data: half a Parquet file", put("bad.parquet", b"PAR1xx"), f"fit bad.parquet {FIT}", DATA, r"not a whole Parquet"),
    Case("data: one class", put("bad.tsv", table(label="bad")), f"fit bad.tsv {FIT}", DATA, r"all 20 rows have the label 'bad'.*two classes"),
    Case("data: no such column", nothing, f"fit good.tsv --text txt {FIT}", DATA, r"no column 'txt'.*text, label.*Did you mean 'text'\?"),
    Case("data: one column for both", nothing, f"fit good.tsv --text text --label text {FIT}", USAGE, r"both the text and the label"),
    Case("data: columns of plain text", nothing, f"fit good.txt --label x {FIT}", DATA, r"without columns"),
    Case("data: mostly ragged rows", put("bad.tsv", "text\tlabel\na\n" + "b\n" * 9 + "c d\tx\n"), f"fit bad.tsv {FIT}", DATA, r"10 of 11 rows cannot be used"),
    Case("data: a quote left open", put("bad.csv", 'text,label\n"a,b\n'), f"fit bad.csv {FIT}", DATA, r"line 2: a quoted field is never closed"),
    Case("data: no JSON", put("bad.jsonl", '{"text":"a"'), f"fit bad.jsonl {FIT}", DATA, r"line 1 is not JSON"),
    Case("data: JSON without end", put("bad.jsonl", DEEP + "\n"), f"fit bad.jsonl {FIT}", DATA, r"line 1 cannot be read.*depth"),
    Case("data: a number of 6000 digits", put("bad.jsonl", '{"y":' + DIGITS + "}\n"), f"fit bad.jsonl {FIT}", DATA, r"line 1 cannot be read.*digits"),
    Case("data: a series file that is cut", put("bad.ts", TS + "1,2:3,4:a\n1,2:3"), f"fit bad.ts {FIT}", DATA, r"bad\.ts, line 6 has another number of dimensions.*Got: 1.*Expected: 2.*cut"),
    Case("data: a series file with a class of no header", put("bad.ts", TS + "1,2:3,4:c\n"), f"fit bad.ts {FIT}", DATA, r"line 5 has a class that the header does not name.*'c'.*a, b"),
    Case("data: a series file with words among numbers", put("bad.ts", TS + "1,2:3,x:a\n"), f"fit bad.ts {FIT}", DATA, r"line 5: dimension 2, step 2 is no number.*'x'"),
    Case("data: a series file without data", put("bad.ts", TS.replace("@data", "")), f"fit bad.ts {FIT}", DATA, r"no line @data"),
    Case("data: a series file without its time stamps", put("bad.ts", "@timeStamps true\n" + TS + "1,2:3,4:a\n"), f"fit bad.ts {FIT}", DATA, r"line 6: dimension 1 is no series with time stamps.*'1,2'.*@timeStamps true"),
    Case("data: an infinity in a series file", put("bad.ts", TS + "1,2:3,inf:a\n1,2:3,4:b\n" * 9), f"fit bad.ts {FIT}", DATA, r"line 5 has an infinity at step 2, feature 2"),
    Case("data: pictures that are cut", put("x-images-idx3-ubyte", b"\0\0\x08\x03" + bytes([0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3])), f"fit x-images-idx3-ubyte {FIT}", DATA, r"is cut.*3 bytes.*8 bytes for shape \[2, 2, 2\]"),
    Case("data: no pictures", put("x-images-idx3-ubyte", b"text"), f"fit x-images-idx3-ubyte {FIT}", DATA, r"no IDX file.*74 65 78 74"),
    Case("data: labels for pictures", put("x-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x02ab"), f"fit x-labels-idx1-ubyte {FIT}", DATA, r"holds no pictures.*labels alone"),
    Case("data: NaN in JSON lines", rows("bad.jsonl", *series(float("nan"))), f"fit bad.jsonl --level words {FIT}", USAGE, r"are for text"),
    Case("data: infinity in JSON lines", rows("bad.jsonl", *series(1e39)), f"fit bad.jsonl {FIT}", DATA, r"line 3 has an infinity at step 2"),
    Case("data: a whole number too large", rows("bad.jsonl", *[{"x": [[10**400]], "y": i % 2} for i in range(9)]), f"fit bad.jsonl {FIT}", DATA, r"too large"),
    Case("data: words among numbers", rows("bad.jsonl", *[{"x": [[1, "a"]], "y": i % 2} for i in range(9)]), f"fit bad.jsonl {FIT}", DATA, r"not a number"),
    Case("data: ragged features", rows("bad.jsonl", *[{"x": [[1, 2], [3]], "y": i % 2} for i in range(9)]), f"fit bad.jsonl {FIT}", DATA, r"different numbers of features"),
    Case("data: sequences of no steps", rows("bad.jsonl", *[{"x": [[i, 1]] if i > 7 else [], "y": i % 2} for i in range(12)]), f"fit bad.jsonl {FIT}", DATA, r"no steps"),
    Case("data: NaN in arrays", arrays("bad.npz", x=np.full((20, 3, 2), np.nan), y=LABELS), f"fit bad.npz {FIT}", DATA, r"features 1 and 2 have no value in any row \(row 1 has NaN at step 1, feature 1\)"),
    Case("data: infinity in arrays", arrays("bad.npz", x=np.full((20, 3, 2), np.inf), y=LABELS), f"fit bad.npz {FIT}", DATA, r"row 1 has an infinity"),
    Case("data: complex numbers", arrays("bad.npz", x=noise(20, 3, 2) * 1j, y=LABELS), f"fit bad.npz {FIT}", DATA, r"complex numbers"),
    Case("data: no features", arrays("bad.npz", x=noise(20, 3, 0), y=LABELS), f"fit bad.npz {FIT}", DATA, r"no features"),
    Case("data: lengths beyond the end", arrays("bad.npz", x=noise(20, 3, 2), y=LABELS, lengths=np.full(20, 9)), f"fit bad.npz {FIT}", DATA, r"row 1: the length.*9.*0 to 3"),
    Case("data: Python objects", arrays("bad.npz", x=np.array([object()] * 20), y=LABELS), f"fit bad.npz {FIT}", DATA, r"can run code and are never read"),
    Case("data: nothing to tell apart", arrays("bad.npz", x=np.zeros((20, 3, 2)), y=LABELS), f"fit bad.npz {FIT}", DATA, r"identical while their labels differ"),
    Case("data: nothing twice", put("bad.txt", " ".join(f"w{i}" for i in range(300))), f"fit bad.txt --level words {FIT}", DATA, r"come twice.*--level characters"),
    # ---- other files of a run
    Case("valid: none there", nothing, f"fit good.tsv --valid nowhere.tsv {FIT}", DATA, r"No such data file: nowhere"),
    Case("valid: a label never seen", put("bad.tsv", table(label="odd")), f"fit good.tsv --valid bad.tsv {FIT}", DATA, r"1 label that good.tsv does not have.*'odd'; lines 3, 5.*'bad', 'good'"),
    Case("valid: of another kind", nothing, f"fit good.tsv --valid good.txt {FIT}", DATA, r"without columns"),
    Case("test: other features", arrays("bad.npz", x=noise(20, 3, 5), y=LABELS), f"fit good.npz --test bad.npz {FIT}", DATA, r"number of features.*5.*2"),
    # ---- options
    Case("option: unknown command", nothing, "fitt good.tsv", USAGE, r"No such command 'fitt'"),
    Case("option: unknown", nothing, f"fit good.tsv --hiden 3 {FIT}", USAGE, r"No such option: --hiden.*--hidden"),
    Case("option: none for a file", nothing, "fit", USAGE, r"Missing argument 'DATA'"),
    Case("option: no number", nothing, "fit good.tsv --epochs many", USAGE, r"--epochs.*integer"),
    Case("option: unknown cell", nothing, f"fit good.tsv --cell gruu {FIT}", USAGE, r"no cell 'gruu'.*elman, gru, lstm, .*mlstm\. Did you mean 'gru'\?"),
    Case("option: activation for gru", nothing, f"fit good.tsv --activation relu {FIT}", USAGE, r"'gru' has no free activation.*elman"),
    Case("option: unknown activation", nothing, f"fit good.tsv --cell elman --activation rel {FIT}", USAGE, r"no activation 'rel'.*relu"),
    Case("option: unknown level", nothing, f"fit good.txt --level letters {FIT}", USAGE, r"'level'.*'letters'.*'characters', 'words' or 'bpe'"),
    Case("option: unknown task", nothing, f"fit good.txt --task clasify {FIT}", USAGE, r"'task'.*'clasify'.*'classify'"),
    Case("option: level for numbers", nothing, f"fit good.npz --level words {FIT}", USAGE, r"--level, --vocabulary and --normalise are for text"),
    Case("option: widths of numbers", nothing, f"fit good.npz --normalise {FIT}", USAGE, r"--level, --vocabulary and --normalise are for text"),
    Case("option: bpe of ten tokens", nothing, f"fit good.txt --level bpe --vocabulary 10 {FIT}", USAGE, r"bpe cannot be that small.*256"),
    Case("option: both ways for language", nothing, f"fit good.txt --bidirectional {FIT}", USAGE, r"--bidirectional and --summary are for classifiers"),
    *(
        Case(f"option: {name} {value}", nothing, f"fit good.tsv {FIT} --{name} {value}", USAGE, rf"'{name}' is wrong.*{said}")
        for name, value, said in [
            ("hidden", "0", "greater than 0"), ("hidden", "-8", "greater than 0"), ("hidden", str(10**9), "less than"),
            ("layers", "0", "greater than 0"), ("layers", str(10**9), "less than or equal to 1000"),
            ("epochs", "0", "greater than 0"), ("epochs", str(10**30), "less than"), ("rows", str(10**30), "less than"),
            ("steps", "-1", "greater than 0"), ("minutes", "-1", "greater than 0"), ("minutes", "inf", "finite"),
            ("rate", "nan", "finite"), ("rate", "0", "greater than 0"), ("dropout", "1", "less than 1"),
            ("seed", "-1", "greater than or equal"), ("seed", str(1 << 70), "less than"), ("vocabulary", "1", "greater than 1"),
        ]
    ),
    Case("option: more memory than there is", nothing, f"fit good.tsv {FIT} --hidden 1000000", USAGE, r"does not fit into the memory.*parameters.*--hidden"),
    Case("option: a rate too high", nothing, f"fit good.tsv {FIT} --rate 1e30", DATA, r"no longer a number.*step \d, .*first in the .*--rate 0.01 --fresh"),
    Case("option: top 0", nothing, "predict texts word --top 0", USAGE, r"--top"),
    # ---- where a run writes
    Case("out: a file", nothing, "fit good.tsv --epochs 1 --hidden 8 --out good.txt", USAGE, r"good\.txt is a file"),
    Case("out: a name that cannot be shown", nothing, "fit good.tsv --epochs 1 --hidden 8 --out 'a\x1bb'", USAGE, r"'a\\x1bb' is no good name"),
    Case("out: below a file", nothing, "fit good.tsv --epochs 1 --hidden 8 --out good.txt/new", MACHINE, r"Cannot write good\.txt/new.*A file stands where a folder"),
    Case("out: no place to write", nothing, "fit good.tsv --epochs 1 --hidden 8 --out /proc/new", MACHINE, r"Cannot write /proc/new"),
    Case("out: a device", nothing, "fit good.tsv --epochs 1 --hidden 8 --out /dev/null --fresh", USAGE, r"/dev/null is a file"),
    Case("out: a model", nothing, "fit good.tsv --epochs 1 --hidden 8 --out texts", USAGE, r"already holds a model.*--fresh"),
    Case("out: a folder of one's own", put("mine/diary.txt", "dear diary"), "fit good.tsv --epochs 1 --hidden 8 --out mine", USAGE, r"not empty.*diary\.txt"),
    Case("out: fresh on one's own", put("mine/diary.txt", "dear diary"), "fit good.tsv --epochs 1 --hidden 8 --out mine --fresh", USAGE, r"would be lost.*diary\.txt"),
    Case("out: fresh on a model with one's own", put("texts/diary.txt", "dear diary"), "fit good.tsv --epochs 1 --hidden 8 --out texts --fresh", USAGE, r"would be lost.*diary\.txt"),
    Case("out: the folder one is in", nothing, "fit good.tsv --epochs 1 --hidden 8 --out . --fresh", USAGE, r"the folder you are in"),
    Case("out: the folder above", nothing, "fit good.tsv --epochs 1 --hidden 8 --out .. --fresh", USAGE, r"the folder you are in"),
    Case("out: the root", nothing, "fit good.tsv --epochs 1 --hidden 8 --out / --fresh", USAGE, r"the folder you are in"),
    # ---- using a model
    Case("use: no such file", nothing, "predict texts nowhere.tsv", DATA, r"No such data file: nowhere\.tsv"),
    Case("use: arrays for a model of texts", nothing, "predict texts good.npz", DATA, r"reads text.*ndarray"),
    Case("use: texts for a model of numbers", nothing, "predict numbers good.tsv", DATA, r"not a number.*\[T, 2\]"),
    Case("use: arrays for a language model", nothing, "predict language good.npz", DATA, r"needs text"),
    Case("use: nothing to go on from", nothing, "predict language ''", DATA, r"Text 1 is empty"),
    Case("use: no JSON", nothing, "predict numbers", DATA, r"reads numbers.*'\{'.*\[\[1\.0, 2\.0\]", b"{\n"),
    Case("use: JSON without end", nothing, "predict numbers", DATA, r"reads numbers", DEEP.encode()),
    Case("use: no list", nothing, "predict numbers", DATA, r"reads numbers.*null", b"null"),
    Case("use: a whole number too large", nothing, "predict numbers", DATA, r"not finite.*inf at step 1, feature 2", f"[1, {DIGITS}]".encode()),
    Case("use: NaN", nothing, "predict numbers", DATA, r"Input 2.*not finite.*nan", b"[1, 2]\n[NaN, 1]\n"),
    Case("use: ragged steps", nothing, "predict numbers", DATA, r"different numbers of features", b"[[1,2],[3]]"),
    Case("use: another number of features", nothing, "predict numbers '[[1,2,3]]'", DATA, r"number of features.*3.*2"),
    Case("use: no UTF-8 on stdin", nothing, "predict texts", DATA, r"Line 2 of stdin.*0xFF.*iconv", b"good\n\xff\xfe\n"),
    # ---- check and compare
    Case("check: no such file", nothing, "check nowhere.tsv", DATA, r"No such data file"),
    Case("check: a label never seen", put("bad.tsv", table(label="odd")), "check good.tsv --valid bad.tsv", DATA, r"'odd'.*no model can answer with what it has never seen"),
    Case("check: level for numbers", nothing, "check good.npz --level words", USAGE, r"--normalise are for text"),
    Case("check: unknown level", nothing, "check good.txt --level letters", USAGE, r"'level'.*'letters'"),
    Case("compare: one model", nothing, "compare texts good.tsv", USAGE, r"nothing to compare.*1 model"),
    Case("compare: another task", nothing, "compare texts language good.tsv", USAGE, r"different tasks.*texts is a classifier, language a language model"),
    Case("compare: other labels", nothing, "compare texts numbers good.tsv", USAGE, r"different labels.*'0', '1', 'bad', 'good'"),
    Case("compare: no such model", nothing, "compare texts nowhere good.tsv", MODEL, r"No such model folder"),
    Case("compare: no such data", nothing, "compare texts texts nowhere.tsv", DATA, r"No such data file"),
    Case("compare: no labels", nothing, "compare texts texts good.txt", DATA, r"(has no|without) labels"),
    Case("compare: few resamples", nothing, "compare texts texts good.tsv --resamples 3", USAGE, r"--resamples"),
    Case("use: a label never seen", put("bad.tsv", table(label="odd")), "evaluate texts bad.tsv", DATA, r"1 label that the model does not have.*'odd'; line.*'bad', 'good'"),
    Case("use: no labels", nothing, "evaluate texts good.txt", DATA, r"(has no|without) labels"),
    Case("use: one token to judge", put("bad.txt", "a"), "evaluate language bad.txt", DATA, r"too short to predict.*1 token"),
    Case("use: a classifier that should write", nothing, "generate texts", USAGE, r"'classify' cannot generate"),
    Case("use: temperature -1", nothing, "generate language --temperature -1", USAGE, r"'temperature'.*-1"),
    Case("use: temperature inf", nothing, "generate language --temperature inf", USAGE, r"'temperature'.*inf"),
    Case("use: top_p 0", nothing, "generate language --top-p 0", USAGE, r"'top_p'.*0\.0.*0 < top_p"),
    Case("use: top_p nan", nothing, "generate language --top-p nan", USAGE, r"'top_p'.*nan"),
    Case("use: length -1", nothing, "generate language --length -1", USAGE, r"--length"),
    Case("use: a stream both ways", nothing, "stream both", USAGE, r"cannot stream.*--causal"),
    # ---- model folders
    Case("model: none there", nothing, "info nowhere", MODEL, r"No such model folder: nowhere"),
    Case("model: a name too long", nothing, f"info {'x' * 300}", MODEL, r"No such model folder"),
    Case("model: a file", nothing, "info good.tsv", MODEL, r"good\.tsv is no model.*config\.json"),
    Case("model: no model", lambda: Path("void").mkdir(), "info void", MODEL, r"void is no model"),
    Case("model: no weights", lambda: Path("texts/weights.safetensors").unlink(), "info texts", MODEL, r"No such model file: .*weights"),
    Case("model: no codec", lambda: Path("texts/codec.json").unlink(), "info texts", MODEL, r"No such model file: .*codec"),
    Case("model: weights cut", cut("texts/weights.safetensors", 0.9), "info texts", MODEL, r"weights\.safetensors is damaged.*another copy"),
    Case("model: weights empty", cut("texts/weights.safetensors", 0), "info texts", MODEL, r"weights\.safetensors is damaged"),
    Case("model: one bit of the weights", flip("texts/weights.safetensors", -100), "info texts", MODEL, r"content hash|NaN"),
    Case("model: NaN among the weights", weights(float("nan")), "info texts", MODEL, r"NaN or infinity"),
    Case("model: weights of another", copy("language/weights.safetensors", "texts/weights.safetensors"), "info texts", MODEL, r"does not fit config\.json|different tensors"),
    Case("model: weights that claim too much", header("texts/weights.safetensors", huge), "info texts", MODEL, r"damaged"),
    Case("model: a header of 2^62 bytes", put("texts/weights.safetensors", struct.pack("<Q", 1 << 62) + b"{}"), "info texts", MODEL, r"damaged.*header"),
    Case("model: config cut", cut("texts/config.json", 0.5), "info texts", MODEL, r"config\.json is damaged"),
    Case("model: config without end", put("texts/config.json", DEEP), "info texts", MODEL, r"config\.json is damaged"),
    Case("model: config a list", put("texts/config.json", "[]"), "info texts", MODEL, r"no configuration"),
    Case("model: config not UTF-8", put("texts/config.json", b"\xff\xfe{}"), "info texts", MODEL, r"no UTF-8"),
    Case("model: newer", config("texts", "format", value=2), "info texts", MODEL, r"newer Recurra.*format 2.*pip install --upgrade"),
    Case("model: format -1", config("texts", "format", value=-1), "info texts", MODEL, r"damaged.*format -1"),
    Case("model: unknown kind", config("texts", "kind", value="poem"), "info texts", MODEL, r"unknown kind.*'poem'.*language, classify"),
    Case("model: a kind that is a list", config("texts", "kind", value=["classify"]), "info texts", MODEL, r"unknown kind"),
    Case("model: another kind", config("texts", "kind", value="language"), "info texts", MODEL, r"setting 'features'"),
    Case("model: a setting of a wrong type", config("texts", "config", "classes", value="two"), "info texts", MODEL, r"'classes'.*'two'"),
    Case("model: one setting more", config("texts", "config", "speed", value=1), "info texts", MODEL, r"'speed'.*not permitted"),
    Case("model: one entry more", config("texts", "speed", value=1), "info texts", MODEL, r"content hash"),
    Case("model: a billion units", config("texts", "config", "stack", "hidden", value=10**9), "info texts", MODEL, r"'stack\.hidden'.*less than"),
    Case("model: a million units", config("texts", "config", "stack", "hidden", value=10**6), "info texts", MODEL, r"does not fit config\.json.*1000000"),
    Case("model: a billion layers", config("texts", "config", "stack", "layers", value=10**9), "info texts", MODEL, r"'stack\.layers'"),
    Case("model: a billion classes", config("texts", "config", "classes", value=10**9), "info texts", MODEL, r"labels do not fit"),
    Case("model: tokenizer of another", copy("language/tokenizer.json", "texts/tokenizer.json"), "info texts", MODEL, r"do not belong together"),
    Case("model: tokenizer cut", cut("texts/tokenizer.json", 0.7), "info texts", MODEL, r"tokenizer\.json is damaged"),
    Case("model: a token that is none", lambda: put("texts/tokenizer.json", Path("texts/tokenizer.json").read_text().replace('"film"', '"\\ud800"'))(), "info texts", MODEL, r"surrogate"),
    Case("model: codec of 6000 digits", put("texts/codec.json", '{"version":' + DIGITS + "}"), "info texts", MODEL, r"codec\.json is damaged"),
    Case("model: other labels", lambda: put("texts/codec.json", Path("texts/codec.json").read_text().replace('"good"', '"odd"'))(), "info texts", MODEL, r"content hash"),
    # ---- runs
    Case("runs: none there", lambda: Path("void").mkdir(), "runs void", USAGE, r"no runs in void.*recurra fit"),
    Case("runs: no folder", nothing, "runs nowhere", USAGE, r"no folder nowhere.*nothing"),
    Case("runs: a file", nothing, "runs good.txt", USAGE, r"no folder good\.txt.*a file"),
    # ---- states
    Case("state: of another model", nothing, "stream numbers --state good.state", STATE, r"belongs to another model"),
    Case("state: cut", cut("good.state", 0.9), "stream texts --state good.state", STATE, r"cut or altered"),
    Case("state: one bit", flip("good.state", -3), "stream texts --state good.state", STATE, r"altered"),
    Case("state: steps made up", header("good.state", more_steps), "stream texts --state good.state", STATE, r"altered"),
    Case("state: newer", header("good.state", newer), "stream texts --state good.state", STATE, r"newer Recurra.*format 2"),
    Case("state: empty", put("good.state", ""), "stream texts --state good.state", STATE, r"no readable state"),
    Case("state: weights", nothing, "stream texts --state texts/weights.safetensors", STATE, r"not a state"),
    Case("state: text", nothing, "stream texts --state good.txt", STATE, r"no readable state"),
    Case("state: a folder", nothing, "stream texts --state texts", STATE, r"texts is a folder"),
    Case("state: a device", nothing, "stream texts --state /dev/null", MACHINE, r"/dev/null"),
    Case("state: below a file", nothing, "stream texts --state good.txt/new", MACHINE, r"Cannot write good\.txt/new", b"good\n"),
    Case("state: no place to write", nothing, "stream texts --state /proc/new", MACHINE, r"Cannot write /proc/new", b"good\n"),
    Case("state: a name too long", nothing, f"stream texts --state {'x' * 300}", MACHINE, r"shorter name", b"good\n"),
]  # fmt: skip

# the same in Python: what it is, the call, the error, and what it must say
API: list[tuple[str, Callable[[], object], type[RecurraError], str]] = [
    *(
        (f"fit {what!r:.30}", lambda what=what: recurra.fit(what, out="new", quiet=True), DataError, r"\w")
        for what in [None, 5, [], [1, 2], [None], {}, {"text": 5}, b"abc", (["a"], ["b", "c"]), np.zeros(5), [[]], [{}], ["a", 5], "\0"]
    ),
    ("fit with a misspelt choice", lambda: recurra.fit("good.tsv", hiden=3), UsageError, "'hiden'"),
    ("fit with a choice of a wrong type", lambda: recurra.fit("good.tsv", hidden="8"), UsageError, "'hidden'.*'8'"),
    ("fit with a truth for a number", lambda: recurra.fit("good.tsv", hidden=True), UsageError, "'hidden'.*True"),
    ("predict a number", lambda: recurra.load("texts").predict(5), DataError, "int"),
    ("predict numbers for texts", lambda: recurra.load("texts").predict([5]), DataError, "reads text"),
    ("predict nothing", lambda: recurra.load("numbers").predict([None]), DataError, "dimensions"),
    ("predict other features", lambda: recurra.load("numbers").predict([np.zeros((3, 3))]), DataError, "features.*3"),
    ("predict with top 0", lambda: recurra.load("texts").predict(["a"], top=0), UsageError, "'top'"),
    ("push with top -1", lambda: recurra.load("texts").session().push("a", top=-1), UsageError, "'top'"),
    ("push a number", lambda: recurra.load("language").session().push(5), DataError, "reads text"),
    ("generate from a number", lambda: recurra.load("language").generate(5), DataError, "prompt"),  # pyright: ignore[reportArgumentType]
    ("go on from a word", lambda: recurra.load("texts").session("state"), StateError, "no state"),
    ("go on from another's state", lambda: recurra.load("texts").session(recurra.load("language").task.initial_state(1)), StateError, "another kind"),
    ("go on from two at once", lambda: recurra.load("texts").session(recurra.load("texts").task.initial_state(2)), StateError, "does not fit"),
    ("resume a name that is none", lambda: recurra.load("texts").resume("\0"), StateError, "No such state"),
    ("load a name that is none", lambda: recurra.load("\0"), ModelError, "No such model"),
    ("load nothing", lambda: recurra.load(""), ModelError, "no model"),
    ("evaluate nothing", lambda: recurra.load("texts").evaluate([]), DataError, "empty"),
    ("save over a file", lambda: recurra.load("texts").save("good.txt"), UsageError, "is a file"),
    ("save over all there is", lambda: recurra.load("texts").save("."), UsageError, "you are in"),
    ("save over one's own", lambda: recurra.load("texts").save("mine"), UsageError, r"diary"),
    ("save a state over a device", lambda: recurra.load("texts").session().save("/dev/null"), EnvironmentFailure, "device"),
    ("save a state over a folder", lambda: recurra.load("texts").session().save("texts"), EnvironmentFailure, "folder"),
]  # fmt: skip
