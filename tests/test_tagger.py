"""The tagger: tokens as numbers, scores as tags, figures worked out by hand, streams, and the folder on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra
from recurra.data.batches import Batch
from recurra.data.codecs import CODEC_FILE, LabelCodec
from recurra.data.datasets import TaggedDataset
from recurra.data.token_codec import UNKNOWN, TokenCodec, plain
from recurra.errors import DataError, ModelError, UsageError
from recurra.kernels import crf_loss, filtered
from recurra.layers import StackConfig, hidden_tokens, rows_of
from recurra.models import Tagger, TaggerCodecs, TaggerConfig, fingerprint, load_model, save_model
from recurra.streaming import Session

SENTENCES = [["The", "cat", "sat"], ["A", "cat", "ran", "home"], ["the", "dog"], ["1990", "cats"]]
TAGS = ("B-a", "I-a", "O")


def make(
    tokens: TokenCodec | None = None,
    tags: tuple[str, ...] = TAGS,
    scheme: str = "BIO",
    labels: tuple[str, ...] = ("x", "y"),
    **options: Any,
) -> Tagger:
    """A small tagger with random parameters that reads forward unless `bidirectional` is said."""
    tokens = tokens or TokenCodec.learn(SENTENCES)
    stack = StackConfig(cell="gru", hidden=6, bidirectional=options.pop("bidirectional", False))
    level: Any = tokens.level
    config = TaggerConfig(
        stack=stack, tags=len(tags), labels=len(labels), level=level, words=len(tokens.words), parts=len(tokens.parts),
        once=tokens.once, width=tokens.width, embedding=5, part_embedding=3, spelling=4, **options,
    )  # fmt: skip
    torch.manual_seed(1)
    codecs = TaggerCodecs(tokens, LabelCodec(tags), scheme, LabelCodec(labels) if labels else None)
    model = Tagger(config, codecs)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    return model.eval()


# ---- tokens as numbers


def test_words_with_their_characters() -> None:
    codec = TokenCodec.learn(SENTENCES)
    assert codec.level == "words" and codec.words[:3] == (UNKNOWN, "cat", "the")
    assert codec.once == 3 and set(codec.words[3:]) == {"sat", "a", "ran", "home", "dog", "0000", "cats"}
    assert codec.width == 3 + len("1990")
    (row,) = codec.encode(["The"])
    spelled = [codec.parts[place] for place in row[1:] if place]
    assert codec.words[row[0]] == "the" and spelled == ["\x02", "T", "h", "e", "\x03"]
    (row,) = codec.encode(["xylophones"])  # no such word; of what is too long both ends are seen
    assert row[0] == 0 and [codec.parts[place] for place in row[1:]] == ["\x02", UNKNOWN, UNKNOWN, "e", "s", "\x03"]
    assert codec.encode([]).shape == (0, 7)


def test_characters_with_their_neighbours() -> None:
    codec = TokenCodec.learn([[*"在北京"], [*"在北海"]])
    assert codec.level == "characters" and codec.width == 3
    found = codec.encode([*"在北方"])
    assert [codec.words[place] for place in found[:, 0]] == ["在", "北", UNKNOWN]
    pairs = [[codec.parts[place] for place in row[1:]] for row in found]
    assert pairs == [["\x02在", "在北"], ["在北", UNKNOWN], [UNKNOWN, UNKNOWN]]
    assert TokenCodec.learn([[*"在北京"]], neighbours=False).encode([*"北"]).shape == (1, 1)


def test_forms_of_a_token() -> None:
    assert (
        plain("Ｒｅｃｕｒｒａ２０") == "recurra00" and plain("ÉTÉ 99") == "été 00" and plain("\ud800x") == UNKNOWN + "x"
    )


@pytest.mark.parametrize(
    ("sentences", "text", "tokens"),
    [
        ([["He", "ran", "."]], "He can't, can he?", ["He", "can't", ",", "can", "he", "?"]),
        ([["he", "ran"]], " he can't,  can he? ", ["he", "can't,", "can", "he?"]),
        ([[*"他跑了"]], "他 跑𠮷了\n", ["他", "跑", "𠮷", "了"]),
    ],
)
def test_a_text_is_cut_as_the_training_data_were(sentences: list[list[str]], text: str, tokens: list[str]) -> None:
    assert TokenCodec.learn(sentences).cut(text) == tokens


def test_rare_words_are_hidden_in_training_alone() -> None:
    tokens, rare = torch.arange(1, 801).view(2, 400), torch.arange(1, 801).view(2, 400) % 2 == 0
    assert torch.equal(hidden_tokens(tokens, rare, 0.5, False), tokens)
    found = hidden_tokens(tokens, rare, 0.5, True)
    assert torch.equal(found[~rare], tokens[~rare]) and 100 < (found[rare] == 0).sum() < 300
    torch.manual_seed(3)
    whole = hidden_tokens(tokens, rare, 0.5, True)
    torch.manual_seed(3)
    with rows_of(400, slice(100, 150)):
        assert torch.equal(hidden_tokens(tokens[:, 100:150], rare[:, 100:150], 0.5, True), whole[:, 100:150])


# ---- what is optimised and measured


def scored(path: list[int], label: int | None = None, count: int = 3) -> Tensor:
    """Outputs[T, K + L] that choose a path, whatever the field thinks."""
    found = torch.nn.functional.one_hot(torch.tensor(path), count) * 1000.0
    return found if label is None else torch.cat([found, torch.tensor([[0.0, 1.0]] * len(path)) * (2 * label - 1)], 1)


def test_figures_by_hand() -> None:
    model = make()
    # truth: B-a I-a O | B-a O, of which the second row is answered O O; labels x, y answered y, y
    targets = torch.tensor([[0, 0, 1, 2], [1, 0, 2, -1]])
    outputs = torch.stack([scored([0, 1, 2], 1), scored([2, 2, 0], 1)])
    batch = Batch(torch.zeros(2, 3, 7, dtype=torch.int64), targets, torch.tensor([3, 2]))
    sums = model.measure(outputs, batch)
    found = model.metrics(sums)
    assert found["precision"] == 1.0 and found["recall"] == 0.5 and found["f1"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 4 / 5 and found["label_accuracy"] == 0.5
    assert model.by_type(sums) == {"a": (1, 2, 1)}
    assert sums["confusion"].tolist() == [[0, 1], [0, 1]]


def test_the_loss_is_that_of_tags_and_labels() -> None:
    model = make()
    outputs, field = torch.randn(2, 3, 5), model.field
    targets, lengths = torch.tensor([[0, 0, 1, 2], [1, 0, 2, -1]]), torch.tensor([3, 2])
    total, count = model.loss(outputs, Batch(torch.zeros(2, 3, 7, dtype=torch.int64), targets, lengths))
    assert field is not None
    tags = crf_loss(
        outputs[..., :3].transpose(0, 1), targets[:, 1:].T, field["transitions"], field["start"], field["end"], lengths
    )
    ends = torch.stack([outputs[0, 2, 3:], outputs[1, 1, 3:]])
    labels = nn.functional.cross_entropy(ends, targets[:, 0], reduction="sum")
    assert count == 5 and float((total - tags - labels).detach().abs()) < 1e-5


def test_each_tag_for_itself_without_a_field() -> None:
    model = make(decoder="softmax", labels=())
    outputs, targets = torch.randn(1, 3, 3), torch.tensor([[-1, 0, 1, 2]])
    total, count = model.loss(outputs, Batch(torch.zeros(1, 3, 7, dtype=torch.int64), targets))
    wanted = nn.functional.cross_entropy(outputs[0], targets[0, 1:], reduction="sum")
    assert count == 3 and float(total) == pytest.approx(float(wanted))
    assert "decoding" not in model.predict("the cat")[0]


def test_a_tag_unknown_to_training_can_only_be_missed() -> None:
    model = make(labels=())
    data = TaggedDataset([["the", "cat"], ["a", "dog"]], [["O", "B-z"], ["O", "O"]], None, [1, 2], "test")
    (batch,) = model.feed(data, rows=2, steps=1, training=False).batches(0)
    outputs = torch.stack([scored([2, 0]), scored([2, 2])])
    sums = model.measure(outputs, batch)
    assert model.by_type(sums) == {"a": (0, 0, 1), "": (0, 1, 0)}
    assert model.metrics(sums)["accuracy"] == 3 / 4
    assert int(sums["count"]) == 2  # the loss is told of the row that could be foretold


def test_the_loss_of_a_batch_is_that_of_its_parts() -> None:
    model = make()
    data = TaggedDataset(
        SENTENCES, [["O"] * len(row) for row in SENTENCES], ["x", "y", "x", "y"], [1, 2, 3, 4], "train"
    )
    (batch,) = model.feed(data, rows=4, steps=1, training=False).batches(0)
    whole, count, _ = model.step_loss(batch)
    parts = [model.step_loss(batch.part(slice(start, start + 1))) for start in range(4)]
    assert sum(part[1] for part in parts) == count == 11
    assert float(torch.stack([part[0] for part in parts]).sum().detach()) == pytest.approx(
        float(whole.detach()), rel=1e-5
    )
    outputs, _ = model(batch.inputs, None, batch.lengths)
    assert float(model.loss(outputs, batch)[0].detach()) == pytest.approx(float(whole.detach()), rel=1e-5)


# ---- answers


@pytest.mark.parametrize("bidirectional", [False, True])
def test_answers(bidirectional: bool) -> None:
    model = make(bidirectional=bidirectional)
    one, other = model.predict(["the cat sat", ["A", "dog", "ran", "home"]])
    assert one["tokens"] == ["the", "cat", "sat"] and len(one["tags"]) == 3 and len(other["tags"]) == 4
    assert set(one["probabilities"]) == {"x", "y"} and one["label"] in one["probabilities"]
    assert one["decoding"] == "viterbi"
    assert model.predict("the cat sat") == [one]
    for answer in (one, other):
        for span in answer["spans"]:
            assert span["text"] == " ".join(answer["tokens"][span["start"] : span["end"]])
    json.dumps([one, other])


def test_answers_keep_to_the_scheme() -> None:
    model = make(labels=())
    with torch.no_grad():
        model.bias.copy_(torch.tensor([-9.0, 9.0, 0.0]))  # I-a above all
    (answer,) = model.predict("the cat sat")
    assert answer["tags"] == ["B-a", "I-a", "I-a"]
    assert answer["spans"] == [{"type": "a", "start": 0, "end": 3, "text": "the cat sat"}]
    assert make(labels=(), scheme="plain", tags=("D", "N", "V")).predict("a b")[0].keys() == {
        "tokens",
        "tags",
        "decoding",
    }


def test_empty_and_foreign_inputs() -> None:
    model = make()
    (answer,) = model.predict([[]])
    assert answer["tokens"] == answer["tags"] == answer["spans"] == []
    assert model.predict(["", "the"])[0]["tags"] == []
    for wrong in ([3], [["a", 3]], [None]):
        with pytest.raises(DataError, match=r"cannot be read.*a list of its words"):
            model.predict(wrong)
    with pytest.raises(UsageError, match="'top' is out of range"):
        model.predict("a", top=0)


# ---- streams


def test_a_stream_is_filtered() -> None:
    """Pushed in pieces or whole: each tag is the likeliest given the tokens up to its own, by the forward algorithm."""
    model = make()
    tokens = ["the", "cat", "sat", "home", "a", "dog"]
    outputs, _ = model(model.encode([tokens]).inputs)
    assert model.field is not None
    with torch.no_grad():
        scores = outputs[..., :3].transpose(0, 1)
        beliefs, _ = filtered(scores, model.field["transitions"], model.field["start"], torch.zeros(1, 3))
    wanted = [TAGS[place] for place in beliefs[:, 0].argmax(1).tolist()]
    for cuts in ([6], [1, 1, 1, 1, 1, 1], [2, 0, 4]):
        session, found, start = Session(model), [], 0
        for size in cuts:
            answer = session.push(tokens[start : start + size])
            assert answer["decoding"] == "filtered"
            found += answer["tags"]
            start += size
        assert found == wanted and session.steps == 6
    assert model.predict([tokens])[0]["decoding"] == "viterbi"


def test_a_stream_of_characters_and_its_state(tmp_path: Path) -> None:
    model = make(TokenCodec.learn([[*"在北京"], [*"在北海"]], neighbours=False))
    session = Session(model)
    first = session.push("在北")
    session.save(tmp_path / "state")
    second = session.push("京")
    assert Session.load(model, tmp_path / "state").push("京") == second
    both = Session(model).push("在北京")
    assert both["tags"] == first["tags"] + second["tags"] and both["label"] == second["label"]


def test_what_cannot_stream() -> None:
    with pytest.raises(UsageError, match="needs the whole sequence"):
        Session(make(bidirectional=True))
    with pytest.raises(UsageError, match="no neighbours"):
        make(TokenCodec.learn([[*"在北京"]]))


# ---- on disk


@pytest.mark.parametrize("tokens", [SENTENCES, [[*"在北京"], [*"在北海𠮷"]]], ids=["words", "characters"])
def test_a_saved_model_is_the_same(tmp_path: Path, tokens: list[list[str]]) -> None:
    model = make(TokenCodec.learn(tokens), bidirectional=True)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert fingerprint(again) == fingerprint(model) and again.predict(tokens) == model.predict(tokens)


DAMAGE: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("version", lambda codec: codec.update(version=9), "another version"),
    ("scheme", lambda codec: codec.update(scheme="BIX"), "scheme 'BIX'"),
    ("tags", lambda codec: codec["tags"].update(labels=["O", "O"]), "stands there twice"),
    ("one tag less", lambda codec: codec["tags"]["labels"].pop(), "do not belong together"),
    ("labels", lambda codec: codec.update(labels=None), "do not belong together"),
    ("words", lambda codec: codec["tokens"]["words"].append(3), "words of the codec are damaged"),
    ("no unknown word", lambda codec: codec["tokens"]["words"].pop(0), "is missing or stands there twice"),
    ("parts", lambda codec: codec["tokens"].update(parts=None), "parts of the codec are damaged"),
    ("once", lambda codec: codec["tokens"].update(once=0), "once 0"),
    ("width", lambda codec: codec["tokens"].update(width=99), "width 99"),
    ("level", lambda codec: codec["tokens"].update(level="bytes"), "vocabulary of the codec is damaged"),
    ("tokens", lambda codec: codec.update(tokens=None), "vocabulary of the codec is damaged"),
    ("punctuation", lambda codec: codec["tokens"].update(punctuation="no"), "punctuation 'no'"),
    ("another word", lambda codec: codec["tokens"]["words"].__setitem__(1, "zebra"), "another content hash"),
]


@pytest.mark.parametrize(("damage", "message"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_codec_is_named(tmp_path: Path, damage: Callable[[dict[str, Any]], Any], message: str) -> None:
    save_model(make(), tmp_path / "model")
    path = tmp_path / "model" / CODEC_FILE
    codec = json.loads(path.read_text(encoding="utf-8"))
    damage(codec)
    path.write_text(json.dumps(codec), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "model")


def test_bytes_changed_at_random_never_load_as_a_model(tmp_path: Path) -> None:
    save_model(make(), tmp_path / "model")
    drawn = random.Random(0)
    for name in ("config.json", CODEC_FILE, "weights.safetensors"):
        path = tmp_path / "model" / name
        whole = path.read_bytes()
        for _ in range(40):
            place = drawn.randrange(len(whole))
            part = whole[:place] + bytes([whole[place] ^ (1 << drawn.randrange(8))]) + whole[place + 1 :]
            path.write_bytes(drawn.choice([part, whole[:place]]))
            try:
                found = load_model(tmp_path / "model")
            except ModelError:
                continue
            assert fingerprint(found) == fingerprint(make())  # only white space was changed
        path.write_bytes(whole)


# ---- from the data to the model

NAMES, PLACES = ["Ana", "Ben Lee", "Eva", "Hugo"], ["Paris", "New York", "Oslo"]
FORMS = [
    ("NAME lives in PLACE .", "fact"),
    ("call NAME now", "call"),
    ("who is NAME ?", "fact"),
    ("a flight to PLACE", "call"),
]


def sentences(count: int) -> list[dict[str, Any]]:
    drawn, rows = random.Random(count), []
    for _ in range(count):
        form, label = drawn.choice(FORMS)
        tokens, tags = [], []
        for word in form.split():
            chosen = {"NAME": NAMES, "PLACE": PLACES}.get(word)
            words = drawn.choice(chosen).split() if chosen else [word]
            tokens += words
            tags += ["O"] if not chosen else [f"B-{word}"] + [f"I-{word}"] * (len(words) - 1)
        rows.append({"tokens": tokens, "tags": tags, "label": label})
    return rows


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> recurra.Model:
    folder = tmp_path_factory.mktemp("tagger")
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in sentences(160)), encoding="utf-8")
    test = [*sentences(30), {"tokens": ["call", "Zed"], "tags": ["O", "B-ROBOT"], "label": "call"}]
    return recurra.fit(
        path, test={key: [row[key] for row in test] for key in test[0]}, out=folder / "model", hidden=24, epochs=6, rate=0.01,
        quiet=True,
    )  # fmt: skip


def test_a_tagger_is_fitted(fitted: recurra.Model) -> None:
    record = fitted.record
    assert fitted.kind == "tag" and fitted.metrics["valid"]["f1"] > 0.9
    assert fitted.metrics["test"]["recall"] < 1.0  # the robot
    named = {(row["name"], row["split"]): row["metrics"] for row in record["baselines"]}
    assert named["perceptron", "valid"]["f1"] > 0.9 and named["perceptron", "valid"]["label_accuracy"] > 0.9
    assert {name for name, _ in named} == {"usual tag", "perceptron", "feed-forward network"}
    assert record["types"][""] == [0, 1, 0] and set(record["types"]) == {"NAME", "PLACE", ""}
    assert all(set(entry) == {"tokens", "truth", "answer"} for entry in record["tagged"]) and record["tagged"]
    assert any(
        "has tags that the training data have not ('B-ROBOT'" in problem["message"]
        for problem in record["data"]["problems"]
    )
    (answer,) = fitted.predict("call Ben Lee now")
    assert answer["label"] == "call" and answer["spans"] == [{"type": "NAME", "start": 1, "end": 3, "text": "Ben Lee"}]
    assert fitted.folder is not None
    page = (fitted.folder / "report.html").read_text(encoding="utf-8")
    assert "What was marked" in page and "<sub>NAME</sub>" in page and "Every type on its own" in page


def test_evaluation_of_data_without_fitting_tags(fitted: recurra.Model) -> None:
    assert fitted.evaluate({"tokens": [["call", "Eva"]], "tags": [["O", "B-NAME"]]})["f1"] == 1.0
    with pytest.raises(DataError, match="row 1 has 2 tokens but 1 tags"):
        fitted.evaluate({"tokens": [["call", "Eva"]], "tags": [["O"]]})
    with pytest.raises(
        DataError, match=r"has no tags\. Expected: a list of tags for each row\. Name the column with --tags"
    ):
        fitted.evaluate({"tokens": [["call", "Eva"]]})


def test_settings_that_are_not_for_taggers() -> None:
    data = {key: [row[key] for row in sentences(20)] for key in ("tokens", "tags")}
    with pytest.raises(UsageError, match="--level bpe is not for taggers"):
        recurra.fit(data, level="bpe", quiet=True)
