"""How the commands speak: answers as JSON or plain text on stdout, talk on stderr."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from recurra.data.writing import default_level

# what turns the direction of all that follows; words written from right to left need none of it
_TURNING = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def tell(text: str) -> None:
    """A line of talk on stderr; a stderr that nobody reads is no reason to stop."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def printable(text: str) -> str:
    """A text that cannot command the terminal: control characters but new lines and tabs as escapes."""
    if text.isprintable():
        return text
    text = text.translate(_TURNING)
    return "".join(
        character
        if (character >= " " and not "\x7f" <= character < "\xa0") or character in "\n\t"
        else ascii(character)[1:-1]
        for character in text
    )


def say_json(value: Any) -> None:
    """One JSON object on one line; NaN and infinity, which JSON does not have, as null."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def show_answer(answer: dict[str, Any], raw: Any = "", *, all_of_them: bool = False) -> str:
    """The answer to `raw` as a line for a person; of translations the best, or `all_of_them`, parted by tabs."""
    if "next" in answer:
        return "  ".join(f"{visible(item['token'])} {item['probability']:.3f}" for item in answer["next"])
    if "tags" in answer:
        return printable(_tagged(answer, raw)).replace("\n", "⏎")
    if "translation" in answer:
        texts = [each["text"] for each in answer["best"]] if all_of_them else [answer["translation"]]
        return "\t".join(printable(text).replace("\n", "⏎").replace("\t", "⇥") for text in texts)
    if "value" in answer or "values" in answer:
        numbers = answer.get("values") or {"": answer["value"]}
        line = "  ".join(f"{name} {number:.6g}".strip() for name, number in numbers.items())
        return printable(f"{line}\t{raw}" if isinstance(raw, str) and raw else line).replace("\n", "⏎")
    if "mean" in answer:
        return " ".join(f"{value:.6g}" for value in answer["mean"])
    shares = "  ".join(f"{name} {share:.3f}" for name, share in answer["probabilities"].items())
    line = f"{answer['label']}\t{shares}"
    # one line for each input, whatever it holds
    return printable(f"{line}\t{raw}" if isinstance(raw, str) and raw else line).replace("\n", "⏎")


def _tagged(answer: dict[str, Any], raw: Any) -> str:
    """Tokens with their spans in brackets, or each with its tag; the label of the sentence first."""
    tokens, tags = answer["tokens"], answer["tags"]
    if "spans" in answer:
        marked = list(tokens)
        for span in answer["spans"]:
            start, end = span["start"], span["end"]
            marked[start] = f"[{marked[start]}"
            marked[end - 1] = f"{marked[end - 1]}]" + (span["type"] and f"({span['type']})")
    else:
        marked = [f"{token}/{tag}" for token, tag in zip(tokens, tags, strict=True)]
    # characters of a text without spaces stand as they came
    whole = "".join(tokens)
    together = raw.strip() == whole if isinstance(raw, str) and raw else default_level([whole]) == "characters"
    line = ("" if together and all(len(token) == 1 for token in tokens) else " ").join(marked)
    return f"{answer['label']}\t{line}" if "label" in answer else line


def visible(token: str) -> str:
    """A token with white space that can be seen."""
    return printable(token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")) or "∅"
