"""States that their own gates all but tell: a page is given what is missing, and has every bit of them again.

The low digits of a state in single precision are noise to whoever packs bytes. But of h = (1 - z) n + z h[t-1] a page has z
and n to three digits and h[t-1] exactly, so it knows h to three digits before it is told. What is kept is the distance
between the number and that guess, counted in numbers of single precision: thirteen bits or so in place of twenty-eight.

Guesses are sums, products and quotients of doubles, which every machine rounds alike; `web/src/foretold.ts` makes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rule:
    """How a leaf of a cell is guessed, `of` which inner values and leaves: (these, the leaf before the step) -> a guess."""

    of: tuple[str, ...]
    guess: Callable[[Arrays, np.ndarray], np.ndarray]


RULES: Mapping[str, Rule] = {
    "gru.h": Rule(("z", "n"), lambda v, h: v["n"] + v["z"] * (h - v["n"])),
    "mingru.h": Rule(("z", "n"), lambda v, h: h + v["z"] * (v["n"] - h)),
    "lstm.c": Rule(("i", "f", "g"), lambda v, c: v["f"] * c + v["i"] * v["g"]),
    "lstm.h": Rule(("o", "c"), lambda v, _: v["o"] * nearly_tanh(v["c"])),
}
"""By cell and leaf. A leaf that is made of another one stands behind it in the state's order, or needs no leaf before it."""


def nearly_tanh(x: np.ndarray) -> np.ndarray:
    """tanh to within 1e-4, by its continued fraction: no two libraries have the same last bit of the true one."""
    x = np.minimum(5.0, np.maximum(-5.0, x))
    u = x * x
    return x * (135135 + u * (17325 + u * (378 + u))) / (135135 + u * (62370 + u * (3150 + u * 28)))


def residues(values: np.ndarray, rule: str, of: Arrays, initial: np.ndarray, reverse: bool) -> np.ndarray:
    """values[T, H] -> uint32[T, H]: how far each lies from its guess, small numbers for small distances of either sign.

    `of` are the numbers as the page has them; initial[H]: the leaf before the first step; `reverse`: whether that is the
    last one in time.
    """
    distance = _ordered(values) - _ordered(_guessed(values, rule, of, initial, reverse))
    wrapped = distance.astype(np.int32)  # of what lies further apart than 2^31 the rest
    return ((wrapped << 1) ^ (wrapped >> 31)).view(np.uint32)


def restored(found: np.ndarray, rule: str, of: Arrays, initial: np.ndarray, reverse: bool) -> np.ndarray:
    """What `residues` was given, bit for bit."""
    distance = (found >> 1).view(np.int32) ^ -(found & 1).view(np.int32)
    values = np.zeros(found.shape, np.float32)
    before = initial.astype(np.float32)
    for step in range(len(found) - 1, -1, -1) if reverse else range(len(found)):
        each = {name: value[step] for name, value in of.items()}
        guess = _in_single(RULES[rule].guess(_doubles(each), before.astype(np.float64)))
        bits = (_ordered(guess) + distance[step]).astype(np.int32)
        before = values[step] = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)
    return values


def _guessed(values: np.ndarray, rule: str, of: Arrays, initial: np.ndarray, reverse: bool) -> np.ndarray:
    first = initial[None].astype(np.float32)
    before = np.concatenate([values[1:], first] if reverse else [first, values[:-1]])
    return _in_single(RULES[rule].guess(_doubles(of), before.astype(np.float64)))


def _doubles(of: Arrays) -> Arrays:
    return {name: value.astype(np.float64) for name, value in of.items()}


def _in_single(guess: np.ndarray) -> np.ndarray:
    """A guess as a number of single precision; zero where it is none, as machines differ about the bits of those."""
    with np.errstate(over="ignore"):
        rounded = guess.astype(np.float32)
    return np.where(np.isfinite(rounded), rounded, np.float32(0.0))


def _ordered(values: np.ndarray) -> np.ndarray:
    """Numbers of single precision as whole numbers in the same order, neighbours one apart: -0.0 is -1, 0.0 is 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
