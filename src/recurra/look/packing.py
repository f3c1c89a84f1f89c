"""A look as a page carries it: arrays packed into text, so that a file stays small and its numbers stay exact.

An array becomes `{"$array": "f4" | "f2", "shape": [...], "data": text}`. The text is base64 of raw deflate (RFC 1951) of the
bytes, little-endian, shuffled: first the lowest byte of all numbers, then the next one of all, so that the signs and
exponents, which hardly differ, stand together. A page has all of it built in: `DecompressionStream("deflate-raw")`.

In a large look a state may be told by its distance from what the gates beside it let guess (`foretold`): its entry then has
`"near"`, the rule of the guess, and its bytes are those of whole numbers without a sign. Its numbers are as exact as others'.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.errors import DataError
from recurra.look.foretold import RULES, residues

HALF_FROM = 1 << 20
"""Bytes of a packed look from which on rough values are told in half precision."""
MOST = 64 << 20
"""Bytes of arrays that a page carries at most."""
HALF_LARGEST = 65504.0


@dataclass(frozen=True)
class Rough:
    """An array whose numbers are for reading, such as a gate: half precision (three digits) tells them well enough."""

    values: np.ndarray


@dataclass(frozen=True)
class Foretold:
    """A leaf[T, H] of a state, exact, that a rule of `foretold.RULES` guesses from the arrays `of` that stand beside it."""

    values: np.ndarray
    rule: str
    of: Mapping[str, np.ndarray | Rough]
    initial: np.ndarray
    reverse: bool


Packable = np.ndarray | Rough | Foretold


def pack(values: np.ndarray, kind: str = "f4") -> dict[str, Any]:
    """An array as JSON: "f4" keeps single precision exactly, "f2" three digits."""
    flat = np.ascontiguousarray(values, dtype=f"<{kind}")
    return {"$array": kind, "shape": list(values.shape), "data": _squeezed(flat)}


def pack_near(leaf: Foretold) -> dict[str, Any]:
    """A leaf as JSON by its distance from the guess, which a page makes again from the arrays as they are told to it."""
    of = {name: numbers_of(array).astype(_kind(array)) for name, array in leaf.of.items()}
    found = residues(leaf.values, leaf.rule, of, leaf.initial, leaf.reverse)
    return {
        "$array": "f4", "near": leaf.rule, "shape": list(leaf.values.shape), "data": _squeezed(found.astype("<u4")),
    }  # fmt: skip


def _squeezed(values: np.ndarray) -> str:
    flat = values.reshape(-1)
    shuffled = flat.view(np.uint8).reshape(-1, flat.itemsize).T.tobytes()
    # the highest level takes up to four times as long and saves less than a hundredth
    squeezer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeezer.compress(shuffled) + squeezer.flush()).decode("ascii")


def unpack(entry: Mapping[str, Any]) -> np.ndarray:
    """What `pack` was given, in the precision that it was kept in; of `pack_near` the distances (`foretold.restored`)."""
    data = zlib.decompress(base64.b64decode(entry["data"]), -zlib.MAX_WBITS)
    size = int(entry["$array"][1:])
    flat = np.frombuffer(data, np.uint8).reshape(size, -1).T.tobytes()
    return np.frombuffer(flat, "<u4" if "near" in entry else f"<{entry['$array']}").reshape(entry["shape"])


def packed(tree: Any, beside: int = 0) -> Any:
    """A tree of dictionaries, lists and arrays with every array packed: rough ones exactly too, while all is below 1 MB.

    A number alone that is not finite becomes None. `beside`: characters that stand in the same page already.

    Raises `DataError` where it would be more than a page can carry.
    """
    size = _bytes_in(tree)
    if size > MOST:
        raise DataError(
            "There is too much to look at in one page",
            got=f"{size / (1 << 20):,.0f} MB of states and gates",
            expected=f"{MOST >> 20} MB at most",
            fix="Look at a shorter piece, or write --out FILE.json, which has no limit",
        )
    # numbers hardly ever pack to a quarter: of very many there is no need to try
    if size <= 4 * HALF_FROM:
        whole = _each(tree, lambda array: pack(numbers_of(array)))
        if beside + _text_in(whole) <= HALF_FROM:
            return whole
    return _each(tree, _small)


def _small(array: Packable) -> dict[str, Any]:
    """An array in as few bytes as it can be told in."""
    if isinstance(array, Foretold) and array.rule in RULES and array.values.size:
        return pack_near(array)
    return pack(numbers_of(array), _kind(array))


def plain(tree: Any) -> Any:
    """The same tree with arrays as nested lists; what is no finite number is None."""
    return _each(tree, lambda array: _listed(numbers_of(array).tolist()))


def _listed(values: Any) -> Any:
    """Without numbers that JSON does not have."""
    if isinstance(values, list):
        return [_listed(value) for value in values]
    return values if not isinstance(values, float) or math.isfinite(values) else None


def numbers_of(array: Packable) -> np.ndarray:
    """The array itself, however it is to be told."""
    return array if isinstance(array, np.ndarray) else array.values


def _kind(array: Packable) -> str:
    if not isinstance(array, Rough) or not array.values.size:
        return "f4"
    return "f2" if float(np.abs(array.values).max()) <= HALF_LARGEST else "f4"


def _each(tree: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, Packable):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: _each(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_each(value, change) for value in tree]
    return _listed(tree)


def _bytes_in(tree: Any) -> int:
    """Bytes of all arrays, as a large page holds them."""
    if isinstance(tree, Packable):
        return int(_kind(tree)[1]) * numbers_of(tree).size
    if isinstance(tree, Mapping):
        return sum(map(_bytes_in, tree.values()))
    return sum(map(_bytes_in, tree)) if isinstance(tree, list | tuple) else 0


def _text_in(tree: Any) -> int:
    """Characters of all packed arrays."""
    if isinstance(tree, Mapping):
        return len(tree["data"]) if "$array" in tree else sum(map(_text_in, tree.values()))
    return sum(map(_text_in, tree)) if isinstance(tree, list | tuple) else 0
