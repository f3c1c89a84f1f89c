"""What was found, in a sentence of English and one of Chinese."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recurra.data.writing import join_words
from recurra.look.flow import Flow
from recurra.look.kinds import Asker
from recurra.look.why import Why, without

Words = dict[str, str]
LONGEST = 3
"""Tokens of a stretch that is taken out together, at most."""
LITTLE = 0.01
"""A change of a probability that is not worth a sentence."""
_MOST = 256
"""Steps of an input up to which words are looked for; of a longer one what was taken out together, a step or a stretch."""


def of_why(asker: Asker, why: Why, texts: Sequence[str] | None, own: tuple[int, int] | None = None) -> Words:
    """Which stretch of the input changed the answer most: 手机 raised “phone” from 48 % to 97 %.

    Of two inputs that begin or end alike only their `own` steps, from the first to before the last, are looked at.
    """
    what = _named(asker, why, texts)
    last = asker.part(why.target).shape[1]
    spans = [(step, step + 1) for step in range(last)] if texts is None else _spans(texts, last)
    spans = [span for span in spans if span[1] <= last]
    if own is not None:
        spans = [(start, end) for start, end in spans if own[0] <= start and end <= own[1]] or spans
    if not spans:
        return _untried(what)
    if last > _MOST:
        # each was taken out already
        spans = [(start, min(start + why.stretch, last)) for start in range(0, last, why.stretch)]
        values = why.value - np.array([why.deletion[start:end].sum() for start, end in spans])
    else:
        values = without(asker, why.target, spans)
    lost = why.value - values
    if not np.isfinite(lost).any():
        return _untried(what)
    # of two stretches that matter alike the shorter one says more
    sizes = np.sqrt([end - start for start, end in spans])
    best = int(np.nanargmax(np.abs(lost) / sizes))
    start, end = spans[best]
    name = _joined(texts[start:end]).strip() if texts is not None else ""
    place = _place(start, end) if not name else _quoted(name)
    return _changed(place, what, why, float(values[best])) or _nothing(what)


def of_columns(why: Why) -> Words | None:
    """Which of several columns changed the answer most, and where: Column “y”, most of all step 7, raised “wide” from ..."""
    columns = why.columns
    if columns is None or not np.isfinite(columns.whole).any():
        return None
    best = int(np.nanargmax(np.abs(columns.whole)))
    lost = float(columns.whole[best])
    each = np.where(np.sign(columns.deletion[:, best]) == np.sign(lost), np.abs(columns.deletion[:, best]), 0.0)
    start = int(each.argmax())
    end = min(start + columns.stretch, len(each))
    where = _place(start, end)
    name = columns.names[best]
    place = {
        "en": f"Column “{name}”, most of all {where['en'][0].lower()}{where['en'][1:]},",
        "zh": f"“{name}”列（尤其是{where['zh']}）",
    }
    what = _quoted(why.target.text)
    return _changed(place, what, why, why.value - lost) or {
        "en": f"No column by itself changed {what['en']} by a hundredth.",
        "zh": f"没有哪一列单独使{what['zh']}改变百分之一。",
    }


def of_members(why: Why) -> Words | None:
    """Whether the networks that answer together have the same reasons."""
    members = why.members
    if members is None or members.agreement is None:
        return None
    count, alike = len(members.values), members.agreement
    apart = int(np.nanargmax(members.spread)) + 1
    verdict, zh = next(words for least, words in _ALIKE if alike >= least)
    return {
        "en": f"The {count} networks have {verdict} reasons (mean correlation {alike:.2f}); "
        f"they differ most about step {apart}.",
        "zh": f"{count} 个网络的理由{zh}（平均相关系数 {alike:.2f}）；分歧最大的是第 {apart} 步。",
    }


_ALIKE = ((0.9, ("the same", "一致")), (0.5, ("similar", "相近")), (-math.inf, ("different", "不同")))
"""How reasons whose correlation is at least so high are called."""


def _quoted(text: str) -> Words:
    return {"en": f"“{text}”", "zh": f"“{text}”"}


def _named(asker: Asker, why: Why, texts: Sequence[str] | None) -> Words:
    """What is explained; of an answer that each step has, as a tag is one, with whose it is."""
    text = why.target.text
    if texts is None or not asker.moves(why.target):
        return _quoted(text)
    own = texts[why.target.step]
    return {"en": f"“{text}” for “{own}”", "zh": f"“{own}”的“{text}”"}


def _changed(place: Words, what: Words, why: Why, without: float) -> Words | None:
    """What a part of the input did: the value was `without` when it was not there. None where that is little."""
    if why.target.unit != "nats":
        return _number(place, what, without, why.value)
    before, after = math.exp(without), math.exp(why.value)
    if abs(after - before) < LITTLE:
        return None
    verb, zh = ("raised", "提高") if after > before else ("lowered", "降低")
    return {
        "en": f"{place['en']} {verb} {what['en']} from {_percent(before)} to {_percent(after)}.",
        "zh": f"{place['zh']}把{what['zh']}从 {_percent(before)} {zh}到 {_percent(after)}。",
    }


def _spans(texts: Sequence[str], steps: int) -> list[tuple[int, int]]:
    """Stretches to take out: whole words where letters are tokens, else up to `LONGEST` neighbours; no blanks alone."""
    texts = list(texts[:steps])
    found: set[tuple[int, int]] = set()
    start = 0
    while start < len(texts):
        if _is_letter(texts[start]):
            end = start
            while end < len(texts) and _is_letter(texts[end]):
                end += 1
            found.add((start, end))
            start = end
            continue
        for size in range(1, LONGEST + 1):
            part = texts[start : start + size]
            # a stretch does not reach over a blank, a sign, or into a word
            if len(part) == size and all(_counts(text) for text in part):
                found.add((start, start + size))
        start += 1
    return sorted(found)


def _joined(texts: Sequence[str]) -> str:
    """Tokens as a text: words of an alphabet stand apart."""
    return join_words(list(texts)) if any(len(text) > 1 and text.isalpha() for text in texts) else "".join(texts)


def _is_letter(text: str) -> bool:
    """A single letter of an alphabet: a word is made of several tokens."""
    return len(text) == 1 and text.isalpha() and ord(text) < 0x2E80


def _counts(text: str) -> bool:
    return any(character.isalnum() for character in text) and not _is_letter(text)


def _place(start: int, end: int) -> Words:
    if end - start == 1:
        return {"en": f"Step {start + 1}", "zh": f"第 {start + 1} 步"}
    return {"en": f"Steps {start + 1} to {end}", "zh": f"第 {start + 1} 至 {end} 步"}


def _nothing(what: Words) -> Words:
    return {
        "en": f"No short stretch by itself changed {what['en']} by a hundredth.",
        "zh": f"没有哪一小段单独使{what['zh']}改变百分之一。",
    }


def _untried(what: Words) -> Words:
    return {
        "en": f"Nothing of the input can be taken out to see what it did to {what['en']}.",
        "zh": f"输入中没有可以单独去掉的部分，无从看出它对{what['zh']}的影响。",
    }


def _number(place: Words, what: Words, before: float, after: float) -> Words | None:
    if f"{before:.4g}" == f"{after:.4g}":
        return None
    verb, zh = ("raised", "提高") if after > before else ("lowered", "降低")
    return {
        "en": f"{place['en']} {verb} {what['en']} from {before:.4g} to {after:.4g}.",
        "zh": f"{place['zh']}把{what['zh']}从 {before:.4g} {zh}到 {after:.4g}。",
    }


def _percent(share: float) -> str:
    percent = 100 * share
    digits = 0 if 1 <= percent <= 99 or percent == 100 else 1 if 0.05 <= percent <= 99.95 else 2
    return f"{percent:.{digits}f} %"


def of_flow(flow: Flow) -> Words:
    """How much of the signal comes back over the whole input, in the layer where most does.

    Of layers with steps of their own, a decoder beside its encoder, those with the most steps are told of.
    """
    longest = max(map(len, flow.norms.values()), default=0)
    keys = [key for key, norms in flow.norms.items() if len(norms) == longest]
    found = [(share, back) for back, share in (flow.left[key] for key in keys) if back]
    memories = [steps for steps in (flow.memory[key] for key in keys) if steps is not None]
    if not found or not memories:
        return {"en": "No signal comes back through the states.", "zh": "没有信号经状态传回。"}
    share, back = max(found)
    steps, reached = (f"{count} step{'' if count == 1 else 's'}" for count in (back, max(memories)))
    en, zh = f"a hundredth of it reaches back {reached}.", f"其百分之一能传回 {max(memories)} 步。"
    if not share > 0:
        # less than single precision can tell, though what is nearer does come back
        return {
            "en": f"From {steps} back nothing measurable of the signal is left; {en}",
            "zh": f"{back} 步之前的信号已小得无法测出；{zh}",
        }
    told = f"{share:.0e}" if share < 0.001 else _percent(share)
    return {
        "en": f"From {steps} back {told} of the signal is left; {en}",
        "zh": f"{back} 步之前的信号还剩 {told}；{zh}",
    }
