"""The model card: a README.md for people, with the front matter that the Hugging Face hub reads.

It lays out what the run record says. It does not measure, and it knows no model and no task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recurra.files import write_file
from recurra.inspection.kinds import KINDS, kind_of
from recurra.inspection.markup import clean, shorten
from recurra.inspection.measures import (
    MEASURES,
    SPLITS,
    day,
    items,
    known,
    noun_of_tokens,
    number,
    part,
    plural,
    show,
)  # fmt: skip
from recurra.inspection.verdict import cautions, judge
from recurra.progress import duration

# The hub's own names of our metrics.
_HUB_METRICS = {"macro_f1": "f1"}
_MOST_LABELS = 100
# What Markdown or the HTML in it would take for markup.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def write_card(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write the model card of a run as Markdown, whole or not at all.

    `record` is the run record; keys that are missing leave their part out. Raises `EnvironmentFailure` where
    the file cannot be written.
    """
    write_file(Path(path), render(record))


def render(record: Mapping[str, Any]) -> str:
    """The model card as text."""
    kind = kind_of(record)
    name = shorten(part(record, "data").get("name") or record.get("out") or "model", 120)
    parts = [
        _front_matter(record, kind),
        f"# {plain(name)}: a Recurra {KINDS[kind].title}",
        _what(record, kind),
        _use(record, kind),
        _results(record),
        _data(record),
        _limits(record, kind),
        _made(record),
    ]
    return "\n\n".join(text for text in parts if text) + "\n"


def plain(value: object) -> str:
    """Text that Markdown shows as it stands, on one line; fit for a cell of a table."""
    return _MARKUP.sub(r"\\\1", " ".join(clean(value).split()))


def fenced(text: object, language: str) -> str:
    """A block of code; the fence is longer than any run of backticks inside."""
    body = clean(text).strip("\n")
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right. Cells come escaped."""
    rule = [":---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _front_matter(record: Mapping[str, Any], kind: str) -> str:
    model = part(record, "model")
    reads_text = model.get("vocabulary") is not None or kind == "language"
    task = KINDS[kind].hub if reads_text else None
    cell = str(model.get("cell") or "").lower()
    tags = ["recurra", "recurrent-neural-network", *([cell] if cell else []), *([task] if task else [])]
    measured = [part(record, "metrics", split) for split in ("test", "valid")]
    metrics = [_HUB_METRICS.get(name, name) for name in MEASURES if any(name in found for found in measured)]
    lines = ["---", "library_name: recurra"]
    if task:
        lines.append(f"pipeline_tag: {task}")
    # JSON strings are YAML strings, whatever they hold.
    for key, values in (("tags", tags), ("metrics", metrics)):
        if values:
            lines += [f"{key}:", *(f"- {json.dumps(clean(value), ensure_ascii=False)}" for value in values)]
    return "\n".join([*lines, "---"])


def _what(record: Mapping[str, Any], kind: str) -> str:
    model = part(record, "model")
    layers, hidden = number(model.get("layers")), number(model.get("hidden"))
    parameters, vocabulary = number(model.get("parameters")), number(model.get("vocabulary"))
    shape = [
        f"{plural(layers, 'layer')} of {hidden:,.0f} units" if layers is not None and hidden is not None else "",
        plural(parameters, "parameter") if parameters is not None else "",
        f"a vocabulary of {vocabulary:,.0f} {model.get('level') or ''}".strip() if vocabulary is not None else "",
    ]
    cell = f"A recurrent network ({plain(model['cell'])})" if model.get("cell") else "A recurrent network"
    said = ", ".join(plain(text) for text in shape if text)
    text = f"{cell}{': ' + said if said else ''}. {KINDS[kind].does}"
    labels = items(model, "labels")
    if labels:
        shown = ", ".join(plain(shorten(label, 60)) for label in labels[:_MOST_LABELS])
        more = f" and {len(labels) - _MOST_LABELS:,} more" if len(labels) > _MOST_LABELS else ""
        text += f"\n\n{plural(len(labels), 'label')}: {shown}{more}."
    return text


def _use(record: Mapping[str, Any], kind: str) -> str:
    folder = clean(record.get("out") or "the-model-folder")
    quoted = json.dumps(folder, ensure_ascii=False)
    python = f"import recurra\n\nmodel = recurra.load({quoted})\n{KINDS[kind].call}"
    shell = KINDS[kind].command.format(
        folder if re.fullmatch(r"[\w./-]+", folder) else "'" + folder.replace("'", "'\\''") + "'"
    )
    return (
        f"## How to use it\n\nFrom Python:\n\n{fenced(python, 'python')}\n\n"
        f"From the command line:\n\n{fenced(shell, 'sh')}"
    )


def _results(record: Mapping[str, Any]) -> str:
    verdict = judge(record)
    sections = [
        "## Results",
        f"**{plain(verdict.headline)}.** {plain(verdict.sentence)}",
        *(plain(caution) for caution in cautions(record, verdict)),
    ]
    for split in ("test", "valid"):
        own = part(record, "metrics", split)
        rivals = [
            entry for entry in items(record, "baselines") if isinstance(entry, Mapping) and entry.get("split") == split
        ]
        if not own and not rivals:
            continue
        found = [(f"**{plain(part(record, 'model').get('cell') or 'this model')}**", own, record.get("seconds"))]
        found += [(plain(e.get("name", "baseline")), part(e, "metrics"), e.get("seconds")) for e in rivals]
        seen = {name for _, metrics, _ in found for name in metrics}
        names = [name for name in MEASURES if name in seen] + sorted(seen - MEASURES.keys())
        rows = [
            [title, *(show(name, metrics.get(name)) for name in names), _took(seconds)]
            for title, metrics, seconds in found
        ]
        heads = [f"On {SPLITS[split]}", *(plain(known(name).title) for name in names), "time"]
        sections.append(table(heads, rows))
    return "\n\n".join(sections)


def _took(seconds: object) -> str:
    found = number(seconds)
    return "–" if found is None else duration(found)


def _data(record: Mapping[str, Any]) -> str:
    data = part(record, "data")
    if not data:
        return ""
    rows = []
    for split in ("train", "valid", "test"):
        counts = [number(part(data, split).get(key)) for key in ("rows", "tokens")]
        if any(count is not None for count in counts):
            rows.append([SPLITS[split], *("–" if count is None else f"{count:,.0f}" for count in counts)])
    parts = ["## Training data"]
    if data.get("name"):
        parts.append(f"Trained on {plain(data['name'])}.")
    if rows:
        parts.append(table(["split", "rows", f"{noun_of_tokens(record)}s"], rows))
    if guess := [f"- {plain(reason)}" for reason in items(data, "guess")]:
        parts.append("\n".join(guess))
    if problems := items(data, "problems"):
        parts.append(f"{plural(len(problems), 'problem')} in the data; report.html lists them.")
    return "\n\n".join(parts)


def _limits(record: Mapping[str, Any], kind: str) -> str:
    limits = list(KINDS[kind].limits)
    if judge(record).split != "test":
        limits = [*limits, "It was not measured on test data of its own."]
    limits = [*limits, *(plain(warning) for warning in items(part(record, "streaming"), "warnings"))]
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _made(record: Mapping[str, Any]) -> str:
    said = [
        f"Recurra {plain(record['version'])}" if record.get("version") else "",
        plain(day(record["date"])) if record.get("date") else "",
        f"{_took(record.get('seconds'))} of training" if number(record.get("seconds")) is not None else "",
        f"fingerprint {plain(record['fingerprint'])}" if record.get("fingerprint") else "",
    ]
    line = ", ".join(text for text in said if text)
    parts = ["## How it was made", f"{line}." if line else ""]
    if record.get("command"):
        parts.append(fenced(record["command"], "sh"))
    return "\n\n".join(text for text in parts if text) if len([p for p in parts if p]) > 1 else ""
