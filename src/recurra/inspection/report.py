"""The report of a run: one HTML file that needs nothing beside itself.

It lays out what the run record says. It does not measure, and it knows no model and no task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recurra.files import write_file
from recurra.inspection import amounts, attention, choice, confusion, examples, forecasts, spans, streams, tokens
from recurra.inspection.curves import learning_curves
from recurra.inspection.kinds import KINDS, kind_of
from recurra.inspection.markup import Html, join, shorten, tag
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
    whole,
)  # fmt: skip
from recurra.inspection.style import STYLE
from recurra.inspection.verdict import Verdict, best_point, cautions, curve_notes, judge
from recurra.progress import duration

_SIGNS = {"better": "✓", "even": "≈", "worse": "✕", "unknown": "?"}
_MOST_PROBLEMS = 40
_OF_TRANSLATORS = ("form", "reading layers", "target vocabulary", "bleu counts words by")
# Nothing may be loaded from anywhere, whatever a label or a text contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write the report of a run as one HTML file, whole or not at all.

    `record` is the run record; keys that are missing leave their part out. Raises `EnvironmentFailure` where
    the file cannot be written.
    """
    write_file(Path(path), render(record))


def render(record: Mapping[str, Any]) -> str:
    """The report as text."""
    verdict = judge(record)
    kind = kind_of(record)
    title = str(part(record, "data").get("name") or record.get("out") or "A run")
    sections = [
        _baselines(record, verdict),
        _forecasts(record),
        _curves(record),
        _choice(record),
        _streaming(record),
        _spans(record),
        _confusion(record),
        _amounts(record),
        _examples(record),
        _tokens(record),
        _translations(record),
        _data(record),
        _model(record),
        _next(record),
    ]
    body = tag(
        "main",
        _header(record, title, kind),
        _verdict(record, verdict),
        _tiles(record),
        *(section for section in sections if section),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        *([tag("meta", http_equiv="refresh", content="10")] if record.get("under_way") else []),
        tag("meta", name="generator", content=f"recurra {record.get('version', '')}".strip()),
        tag("title", f"{shorten(title, 80)} – {KINDS[kind].title} – Recurra"),
        tag("style", Html(STYLE)),
    )
    page = tag("html", head, tag("body", body, _footer(record)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _forecasts(record: Mapping[str, Any]) -> Html | None:
    drawn, steps = forecasts.pictures(record), forecasts.per_step(record)
    if drawn is None and steps is None:
        return None
    told = "Grey is what was, orange what came, blue the forecast; the bands hold 80 and 95 of 100 values."
    parts = [_caption(told), drawn] if drawn is not None else []
    if steps is not None:
        parts += [
            tag("h3", "By steps ahead"),
            _caption("On the set measured last. Dotted: what the intervals promise."),
            steps,
        ]
    return _section("Forecasts", *parts)


def _section(title: str, *children: object) -> Html:
    return tag("section", tag("h2", title), *children)


def _caption(text: str) -> Html:
    return tag("p", text, class_="caption")


def _facts(pairs: Sequence[tuple[str, object]]) -> Html:
    kept = [(name, value) for name, value in pairs if value not in (None, "", "–")]
    rows = [join([tag("dt", name), tag("dd", value)]) for name, value in kept]
    return tag("dl", *rows, class_="facts") if rows else Html("")


def _header(record: Mapping[str, Any], title: str, kind: str) -> Html:
    model = part(record, "model")
    size = number(model.get("parameters"))
    said = [
        str(model["cell"]) if model.get("cell") else "",
        plural(size, "parameter") if size is not None else "",
        f"trained for {duration(seconds)}" if (seconds := number(record.get("seconds"))) is not None else "",
        day(record["date"]) if record.get("date") else "",
    ]
    return tag(
        "header",
        tag("p", f"Recurra report · {KINDS[kind].title}", class_="eyebrow"),
        tag("h1", title),
        tag("p", " · ".join(word for word in said if word), class_="meta"),
    )


def _verdict(record: Mapping[str, Any], verdict: Verdict) -> Html:
    notes = [tag("p", note, class_="caution") for note in cautions(record, verdict)]
    return tag(
        "section",
        tag("div", _SIGNS[verdict.outcome], class_="sign", aria_hidden="true"),
        tag("h2", verdict.headline),
        tag("div", tag("p", verdict.sentence), *notes),
        class_=f"verdict {verdict.outcome}",
    )


def _tiles(record: Mapping[str, Any]) -> Html:
    """The measures of the model itself, large; test data first."""
    results = {split: part(record, "metrics", split) for split in ("test", "valid")}
    results = {split: metrics for split, metrics in results.items() if metrics}
    if not results:
        return Html("")
    main, *others = results
    tiles = []
    for name in [*(name for name in MEASURES if name in results[main]), *_unknown(results[main])]:
        beside = [f"{show(name, results[split].get(name))} on {SPLITS[split]}" for split in others]
        small = [tag("span", line, class_="split") for line in (f"on {SPLITS[main]}", *beside)]
        value = show(name, results[main][name])
        tiles.append(tag("div", tag("dt", known(name).title), tag("dd", value, *small)))
    return tag("dl", *tiles, class_="tiles")


def _unknown(metrics: Mapping[str, Any]) -> list[str]:
    return [name for name in metrics if name not in MEASURES]


def _baselines(record: Mapping[str, Any], verdict: Verdict) -> Html | None:
    entries = [entry for entry in items(record, "baselines") if isinstance(entry, Mapping)]
    splits = [verdict.split, *(split for split in ("test", "valid") if split != verdict.split)]
    tables = [
        (
            split,
            _comparison(record, [entry for entry in entries if entry.get("split") == split], split, verdict),
        )
        for split in splits
        if any(entry.get("split") == split for entry in entries)
    ]
    if not tables:
        return None
    measure = known(verdict.measure)
    direction = "longer bars are better" if measure.higher else "shorter bars are better"
    first, *rest = tables
    folded = [tag("details", tag("summary", f"The same on {SPLITS[split]}"), rows) for split, rows in rest]
    said = (
        f"The same {SPLITS[first[0]]}, measured with methods that have no recurrent state. "
        f"Bars show {measure.title}: {direction}."
    )
    return _section("Beside the baselines", _caption(said), first[1], *folded)


def _comparison(record: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], split: str, verdict: Verdict) -> Html:
    model = part(record, "model")
    rows: list[tuple[str, str, Mapping[str, Any], object, bool]] = [
        (
            str(e.get("name", "baseline")),
            str(e.get("detail") or ""),
            part(e, "metrics"),
            e.get("seconds"),
            False,
        )
        for e in entries
    ]
    own = part(record, "metrics", split)
    if own:
        name = str(model.get("cell") or "recurrent model")
        rows.append((name, "this model", own, record.get("seconds"), True))
    seen = {name for row in rows for name in row[2]}
    main, sign = verdict.measure, -1 if known(verdict.measure).higher else 1
    # What is judged by comes first, beside its bar.
    names = [name for name in MEASURES if name in seen] + sorted(seen - MEASURES.keys())
    names.sort(key=lambda name: name != main)
    values = {id(row): number(row[2].get(main)) for row in rows}
    rows.sort(key=lambda row: sign * value if (value := values[id(row)]) is not None else float("inf"))
    longest = max((value for value in values.values() if value is not None), default=0.0)
    longest = 1.0 if known(main).share else longest
    body = []
    for row in rows:
        title, detail, metrics, seconds, ours = row
        value = values[id(row)]
        width = 0.0 if value is None or longest <= 0 else min(max(value / longest, 0.0), 1.0) * 100
        bar = tag("i", style=f"--w:{width:.1f}%") if value is not None else "–"
        label = tag("th", shorten(title, 80), tag("small", shorten(detail, 120)) if detail else "", scope="row")
        took = number(seconds)
        cells = [*(show(name, metrics.get(name)) for name in names), "–" if took is None else duration(took)]
        first, *others = (tag("td", cell) for cell in cells)
        drawn = tag("td", bar, class_="bar")
        body.append(tag("tr", label, first, drawn, *others, class_="ours" if ours else None))
    first, *others = (tag("th", word, scope="col") for word in [*(known(name).title for name in names), "time"])
    head = tag("tr", tag("th", "method", scope="col"), first, tag("th", class_="bar", aria_hidden="true"), *others)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll comparison")


def _curves(record: Mapping[str, Any]) -> Html:
    history, best = items(record, "history"), best_point(record)
    if not history:
        return _section("Learning curves", tag("p", "No history was kept.", class_="quiet"))
    # Two drawings, of which the style sheet shows the one that fits: shrunk letters cannot be read.
    drawings = [
        tag("div", learning_curves(history, best, width), class_=f"curves {style}")
        for width, style in ((736.0, "wide"), (350.0, "narrow"))
    ]
    notes = [tag("li", note) for note in curve_notes(record)]
    return _section("Learning curves", *drawings, tag("ul", *notes) if notes else "")


def _choice(record: Mapping[str, Any]) -> Html | None:
    found = choice.draw(record)
    return None if found is None else _section("How the recipe was chosen", _caption(found[0]), found[1])


def _streaming(record: Mapping[str, Any]) -> Html | None:
    found = streams.read(record)
    if found is None:
        return None
    sentences, warnings = found
    drawings = [
        tag("div", drawing, class_=f"curves {style}")
        for width, style in ((736.0, "wide"), (350.0, "narrow"))
        if (drawing := streams.draw(record, width)) is not None
    ]
    return _section(
        "Streaming",
        *(tag("p", warning, class_="warning") for warning in warnings),
        tag("ul", *(tag("li", sentence) for sentence in sentences)),
        *drawings,
    )


def _spans(record: Mapping[str, Any]) -> Html | None:
    sentences, table = spans.read(record), spans.per_type(record)
    if not sentences and table is None:
        return None
    apart = part(record, "model").get("level") != "characters"
    drawn = [spans.legend(), spans.draw(sentences, apart)] if sentences else []
    figures = [tag("h3", "Every type on its own"), table] if table is not None else []
    said = "Sentences of the validation data: some that the model reads wrongly, some that it reads right."
    return _section("What was marked", _caption(said if sentences else ""), *drawn, *figures)


def _confusion(record: Mapping[str, Any]) -> Html | None:
    found = confusion.read(record)
    if found is None:
        return None
    labels, matrix = found
    total = sum(map(sum, matrix))
    right = sum(matrix[i][i] for i in range(len(labels)))
    said = (
        f"{right:,} of {plural(total, 'row')} were given their true label. "
        "Each line of the picture is a true label, each column what the model said."
    )
    return _section(
        "What is taken for what",
        _caption(said),
        tag("div", confusion.draw(labels, matrix), class_="scroll"),
        confusion.legend(),
        tag("h3", "Most frequent mistakes"),
        confusion.worst(labels, matrix),
        tag("details", tag("summary", "Every label on its own"), confusion.per_label(labels, matrix)),
    )


def _amounts(record: Mapping[str, Any]) -> Html | None:
    drawn = amounts.draw(record)
    if drawn is None:
        return None
    said = "Rows of the validation data: on the dashed line a row was told what is true, above it too much, below too little."
    return _section("What is told, beside what is true", _caption(said), drawn)


def _examples(record: Mapping[str, Any]) -> Html | None:
    found = examples.draw(record)
    return None if found is None else _section("What they look like", _caption(found[0]), found[1])


def _tokens(record: Mapping[str, Any]) -> Html | None:
    found = tokens.read(record)
    if found is None:
        return None
    level = str(part(record, "model").get("level") or "characters")
    return _section(
        "Where the model is surprised",
        _caption(f"{tokens.summary(found[1])} Point at a token to see its loss and the chance it was given."),
        tokens.legend(),
        tokens.draw(*found, level),
    )


def _translations(record: Mapping[str, Any]) -> Html | None:
    table, pictures = attention.examples(record), attention.read(record)
    if table is None and not pictures:
        return None
    said = "Each line is a token that was said, each column one of the source: the darker, the more it looked there."
    drawn = [
        tag("h3", "Where it looked"),
        _caption(said),
        *(tag("div", attention.draw(looked), class_="scroll") for looked in pictures),
    ]
    return _section(
        "Translations",
        _caption("Some pairs of the validation data, and what the model says for them."),
        table or "",
        *(drawn if pictures else []),
    )


def _data(record: Mapping[str, Any]) -> Html | None:
    data = part(record, "data")
    if not data:
        return None
    sizes = []
    noun_of_rows = KINDS[kind_of(record)].row
    for split in ("train", "valid", "test"):
        counts = part(data, split)
        said = [
            plural(value, noun)
            for key, noun in (("rows", noun_of_rows), ("tokens", noun_of_tokens(record)))
            if (value := number(counts.get(key))) is not None
        ]
        sizes.append((SPLITS[split], ", ".join(said)))
    reasons = [tag("li", reason) for reason in items(data, "guess")]
    guess = [tag("h3", "What was guessed"), tag("ul", *reasons)] if reasons else []
    return _section("Data", _facts([("source", data.get("name")), *sizes]), *guess, *_problems(items(data, "problems")))


def _problems(problems: Sequence[Any]) -> list[Html]:
    if not problems:
        return []
    entries = []
    for problem in problems[:_MOST_PROBLEMS]:
        known_problem = problem if isinstance(problem, Mapping) else {"message": problem}
        line = number(known_problem.get("line"))
        where = f"line {line:,.0f}: " if line is not None else ""
        entries.append(tag("li", where, shorten(known_problem.get("message", ""), 400)))
    if len(problems) > _MOST_PROBLEMS:
        entries.append(tag("li", f"and {len(problems) - _MOST_PROBLEMS:,} more", class_="quiet"))
    return [tag("h3", plural(len(problems), "problem") + " in the data"), tag("ul", *entries)]


def _model(record: Mapping[str, Any]) -> Html:
    model = part(record, "model")
    labels = [shorten(label, 40) for label in items(model, "labels")]
    named = ", ".join(labels[:60]) + (f" and {len(labels) - 60:,} more" if len(labels) > 60 else "")
    level = f" {model['level']}" if model.get("level") else ""
    vocabulary = number(model.get("vocabulary"))
    facts = _facts(
        [
            ("cell", model.get("cell")),
            ("layers × hidden", _shape(model)),
            ("parameters", whole(model.get("parameters"))),
            ("vocabulary", "" if vocabulary is None else f"{vocabulary:,.0f}{level}"),
            *((name, model.get(name)) for name in _OF_TRANSLATORS),
            ("labels", f"{len(labels):,}: {named}" if labels else ""),
            ("folder", tag("code", record["out"]) if record.get("out") else ""),
            ("fingerprint", tag("code", record["fingerprint"]) if record.get("fingerprint") else ""),
        ]
    )
    command = record.get("command")
    run = [tag("h3", "The command"), tag("pre", tag("code", command))] if command else []
    return _section("Model", facts, *run)


def _shape(model: Mapping[str, Any]) -> str:
    layers, hidden = number(model.get("layers")), number(model.get("hidden"))
    return "" if layers is None or hidden is None else f"{layers:,.0f} × {hidden:,.0f}"


def _next(record: Mapping[str, Any]) -> Html | None:
    steps = [tag("pre", tag("code", step)) for step in items(record, "next")]
    return _section("What to do next", *steps) if steps else None


def _footer(record: Mapping[str, Any]) -> Html:
    said = [
        f"Recurra {record['version']}" if record.get("version") else "Recurra",
        day(record["date"]) if record.get("date") else "",
        f"model {record['fingerprint']}" if record.get("fingerprint") else "",
    ]
    return tag("footer", " · ".join(word for word in said if word))
