"""SequenceTagger of flair: characters and words into a bidirectional LSTM over packed sentences, with a CRF; converted.

The sentences are made up: a word that follows "mr" or "mrs" is a name, and so is the one after it if it ends in "son".
"""

# The program is installed by whoever wants to run this.
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import io
import logging
import random
import string
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sides import Clock, Outcome, need, show, weights_of

import recurra.nn as ours

need("flair", "flair")

import flair  # noqa: E402
from flair.data import Corpus, Dictionary, Sentence  # noqa: E402
from flair.datasets import FlairDatapointDataset  # noqa: E402
from flair.embeddings import CharacterEmbeddings, OneHotEmbeddings, StackedEmbeddings  # noqa: E402
from flair.models import SequenceTagger  # noqa: E402
from flair.trainers import ModelTrainer  # noqa: E402

flair.device = torch.device("cpu")
warnings.filterwarnings("ignore", module="flair")
for name in ("flair", "flair.trainers.trainer"):
    logging.getLogger(name).setLevel(logging.WARNING)


def sentences(count: int, seed: int) -> list[Sentence]:
    draw = random.Random(seed)
    words = ["".join(draw.choices(string.ascii_lowercase[:12], k=draw.randint(2, 7))) for _ in range(300)]
    made: list[Sentence] = []
    for _ in range(count):
        text = [
            draw.choice([*words, "mr", "mrs", *(word + "son" for word in words[:20])])
            for _ in range(draw.randint(3, 40))
        ]
        sentence = Sentence(text)
        named = False
        for before, token in zip(["", *text], sentence, strict=False):
            named = before in ("mr", "mrs") or (named and token.text.endswith("son"))
            token.add_label("kind", "name" if named else "word")
        made.append(sentence)
    return made


def train(change: Callable[[Any], object]) -> Outcome:
    flair.set_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):  # bars of progress
        return _train(change)


def _train(change: Callable[[Any], object]) -> Outcome:
    corpus = Corpus(
        train=FlairDatapointDataset(sentences(256, 1)), dev=FlairDatapointDataset(sentences(16, 2)),
        test=FlairDatapointDataset(sentences(16, 3)), name="made-up",
    )  # fmt: skip
    letters, words = Dictionary(), Dictionary()
    for letter in string.ascii_lowercase:
        letters.add_item(letter)
    for sentence in corpus.train:
        for token in sentence:
            words.add_item(token.text)
    tagger = SequenceTagger(
        hidden_size=256,
        embeddings=StackedEmbeddings([CharacterEmbeddings(letters), OneHotEmbeddings(words, embedding_length=100)]),
        tag_dictionary=corpus.make_label_dictionary("kind", add_unk=False),
        tag_type="kind",
    )
    change(tagger)
    clock, losses = Clock(), []

    def seen(original: Any, batch: list[Sentence]) -> tuple[torch.Tensor, int]:
        with clock("of which forward"):
            loss, count = original(batch)
        losses.append(float(loss.detach()) / count)
        return loss, count

    tagger.forward_loss = partial(seen, tagger.forward_loss)
    with tempfile.TemporaryDirectory() as folder, clock("train, 2 epochs"):
        ModelTrainer(tagger, corpus).train(
            folder, learning_rate=0.1, mini_batch_size=32, max_epochs=2, shuffle=True, save_final_model=False,
            monitor_test=False,
        )  # fmt: skip
    del tagger.forward_loss
    new = sentences(128, 4)
    with clock("predict, 128 sentences"):
        tagger.predict(new, mini_batch_size=32)
    scores = torch.tensor([token.get_label("kind").score for sentence in new for token in sentence])
    return Outcome(losses, scores, weights_of(tagger), clock.seconds)


if __name__ == "__main__":
    show(
        "flair SequenceTagger, packed bidirectional LSTM 256, CRF",
        {"torch": partial(train, lambda model: None), "converted": partial(train, ours.convert)},
    )
