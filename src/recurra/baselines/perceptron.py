"""Tags by features of the words around: a structured perceptron with averaged weights (Collins 2002).

Each token is described by itself, its neighbours, its beginnings and ends and its shape; each feature has a weight for each
tag, each pair of neighbouring tags one more, and the best path is corrected where it is wrong. A few passes are as good as a
conditional random field over the same features, in a fraction of its time. Knows lists of words; no networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from recurra.data.spans import moves_allowed, scheme_of
from recurra.data.token_codec import level_of

Sentences = Sequence[Sequence[str]]

PASSES = 8
_SHAPES = ((re.compile(r"[^\W\d_]"), "a"), (re.compile(r"\d"), "0"))
_RUNS = re.compile(r"(.)\1+")
_OUT = "\x02"


class Perceptron:
    """Weights learnt by `PASSES` over the training sentences, in an order drawn by `seed`."""

    def __init__(self, sentences: Sentences, tags: Sentences, seed: int = 0) -> None:
        self._tags = sorted({tag for row in tags for tag in row})
        numbers = {tag: place for place, tag in enumerate(self._tags)}
        # of a single character there is nothing more to say
        self._spelled = level_of(sentences) == "words"
        self._features: dict[str, int] = {}
        inputs = [self._numbered(sentence, learn=True) for sentence in sentences]
        truth = [np.array([numbers[tag] for tag in row]) for row in tags]
        count = len(self._tags)
        # float32 holds sums of whole numbers well enough; the last line is for features that training does not have
        self._weights = np.zeros((len(self._features) + 1, count), np.float32)
        self._moves = np.zeros((count + 1, count), np.float32)
        self._learn(inputs, truth, np.random.default_rng(seed))
        allowed = moves_allowed(scheme_of(tags))
        forbidden = [[not allowed(before, tag) for tag in self._tags] for before in (*self._tags, "O")]
        self._moves[np.array(forbidden)] = -1e9

    def predict(self, sentences: Sentences) -> list[list[str]]:
        """The tags of each sentence."""
        found = []
        for sentence in sentences:
            path = self._path(self._numbered(sentence, learn=False)) if sentence else []
            found.append([self._tags[place] for place in path])
        return found

    def _learn(self, inputs: list[np.ndarray], truth: list[np.ndarray], random: np.random.Generator) -> None:
        # the average is the weights less what each correction lacked, weighed by how late it came
        late = np.zeros_like(self._weights), np.zeros_like(self._moves)
        clock = 1
        for _ in range(PASSES):
            for place in random.permutation(len(inputs)):
                features, right = inputs[place], truth[place]
                if len(right):
                    path = self._path(features)
                    wrong = np.flatnonzero(path != right)
                    if len(wrong):
                        self._correct(features, right, path, wrong, clock, late)
                    clock += 1
        self._weights -= late[0] / clock
        self._moves -= late[1] / clock

    def _correct(
        self,
        features: np.ndarray,
        right: np.ndarray,
        path: np.ndarray,
        wrong: np.ndarray,
        clock: int,
        late: tuple[np.ndarray, np.ndarray],
    ) -> None:
        count = len(self._tags)
        for tags, sign in ((right, 1.0), (path, -1.0)):
            at = features[wrong], np.broadcast_to(tags[wrong, None], features[wrong].shape)
            moves = np.concatenate([[count], tags[:-1]]), tags
            for weights, sums, places in ((self._weights, late[0], at), (self._moves, late[1], moves)):
                np.add.at(weights, places, sign)
                np.add.at(sums, places, sign * clock)

    def _path(self, features: np.ndarray) -> np.ndarray:
        """The best tags[T] of features[T, N]."""
        scores = self._weights[features].sum(1)
        moves = self._moves[:-1]
        best = self._moves[-1] + scores[0]
        came = np.zeros(scores.shape, np.int64)
        for step in range(1, len(scores)):
            totals = best[:, None] + moves
            came[step] = totals.argmax(0)
            best = totals[came[step], np.arange(len(best))] + scores[step]
        path = np.zeros(len(scores), np.int64)
        path[-1] = best.argmax()
        for step in range(len(scores) - 1, 0, -1):
            path[step - 1] = came[step, path[step]]
        return path

    def _numbered(self, sentence: Sequence[str], learn: bool) -> np.ndarray:
        """The numbers [T, N] of a sentence's features."""
        known = self._features
        rows = list(_described(sentence, self._spelled))
        if learn:
            return np.array([[known.setdefault(one, len(known)) for one in row] for row in rows]).reshape(len(rows), -1)
        unknown = len(known)
        return np.array([[known.get(one, unknown) for one in row] for row in rows])


def _described(sentence: Sequence[str], spelled: bool) -> Iterator[list[str]]:
    """The features of each token, how it is spelled among them."""
    words = [_OUT, _OUT, *(word.lower() for word in sentence), _OUT, _OUT]
    shapes = [_OUT, *map(_shape, sentence), _OUT] if spelled else []
    for place, token in enumerate(sentence):
        far, before, word, after, farther = words[place : place + 5]
        parts = [token, before, word, after, far, farther]
        parts += [f"{before} {word}", f"{word} {after}", f"{before} {after}", f"{far} {before}", f"{after} {farther}"]
        if not spelled:
            yield [f"{number}{part}" for number, part in enumerate(parts)]
            continue
        parts += [token[:size] for size in (1, 2, 3, 4)] + [token[-size:] for size in (1, 2, 3, 4)]
        parts += [*shapes[place : place + 3], " ".join(shapes[place : place + 3])]
        yield [f"{number}{part}" for number, part in enumerate(parts)]


def _shape(token: str) -> str:
    """ "Xx0-": capitals, letters, digits and signs, runs of one kind as one."""
    shaped = "".join("A" if character.isupper() else character for character in token)
    for pattern, letter in _SHAPES:
        shaped = pattern.sub(lambda found, letter=letter: "A" if found[0] == "A" else letter, shaped)
    return _RUNS.sub(r"\1", shaped)
