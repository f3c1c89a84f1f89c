"""The commands and their options. Each imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra import __version__

app = typer.Typer(
    name="recurra",
    help="Recurrent networks: fit one on your sequences, use it, carry its state.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object for each answer, on stdout.")]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, made by `recurra fit`.")]
TextColumn = Annotated[str | None, typer.Option(help="Column with the inputs, where the guess is wrong.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the labels, where the guess is wrong.")]
TagsColumn = Annotated[str | None, typer.Option(help="Column with a list of tags, where the guess is wrong.")]
TargetColumn = Annotated[
    str | None, typer.Option(help="Column with the translations, or the values to forecast, where the guess is wrong.")
]
Horizon = Annotated[int | None, typer.Option(min=1, help="Forecast: so many values ahead.")]
Season = Annotated[int | None, typer.Option(min=1, help="Forecast: steps after which things come again; found.")]
Fill = Annotated[
    str | None, typer.Option(help="Forecast: missing values become previous, linear, zero or mean; or rows with gaps.")
]
TimeColumn = Annotated[
    str | None, typer.Option(help="Rows of series: column with the moments, where the guess is wrong.")
]
SeriesColumn = Annotated[str | None, typer.Option(help="Rows of series: column that names the series of a row.")]
Ahead = Annotated[str | None, typer.Option(metavar="COLUMNS", help="Forecast: columns that are known ahead.")]
Past = Annotated[str | None, typer.Option(metavar="COLUMNS", help="Forecast: columns known up to the present.")]
Static = Annotated[str | None, typer.Option(metavar="COLUMNS", help="Forecast: columns that never change in a series.")]
TaskName = Annotated[str | None, typer.Option(help="language, classify, regress, tag, translate or forecast; guessed.")]
Level = Annotated[str | None, typer.Option(help="Tokens: characters, words or bpe.")]
Vocabulary = Annotated[int | None, typer.Option(help="At most so many tokens.")]
Normalise = Annotated[bool, typer.Option("--normalise", help="Take full and half width (Ａ, A) as one.")]
HeldBack = Annotated[str | None, typer.Option(help="Validation file; without it a tenth is held back.")]
Top = Annotated[int, typer.Option(min=1, help="How many of the likeliest to show.")]


_NO_CHOICES = ("data", "valid", "test", "out", "fresh", "processes", "json")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def fit(
    data: Annotated[str, typer.Argument(metavar="DATA", help=".txt, .tsv, .csv, .jsonl, .parquet, .npz, .ts or IDX")],
    task: TaskName = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    tags: TagsColumn = None,
    target: TargetColumn = None,
    cell: Annotated[
        str, typer.Option(help="feedforward, elman, gru, lstm, mingru, minlstm, rglru, lru, slstm or mlstm.")
    ] = "gru",
    size: Annotated[str, typer.Option(help="small, base or large: units beside what the data suggest.")] = "base",
    hidden: Annotated[int | None, typer.Option(help="Units in a layer.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers.")] = None,
    activation: Annotated[str | None, typer.Option(help="For feedforward, elman and lru: tanh, relu, ...")] = None,
    bidirectional: Annotated[
        bool | None, typer.Option("--bidirectional/--causal", help="Read both ways (cannot stream), or forward only.")
    ] = None,
    level: Level = None,
    vocabulary: Vocabulary = None,
    form: Annotated[str | None, typer.Option(help="Translate with attention, or word-by-word.")] = None,
    shared: Annotated[
        bool | None, typer.Option("--shared/--separate", help="One vocabulary for both languages, or two.")
    ] = None,
    beam: Annotated[int | None, typer.Option(help="Translations that are followed at a time.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="How much long translations are favoured.")] = None,
    normalise: Normalise = False,
    horizon: Horizon = None,
    lookback: Annotated[int | None, typer.Option(help="Forecast from so many last rows; else from all.")] = None,
    season: Season = None,
    parts: Annotated[
        str | None, typer.Option(help="Forecast with plain cells, segments, a residual over a line, or smoothed.")
    ] = None,
    block: Annotated[
        int | None, typer.Option(help="Forecast so many values at once, and go on from them; else all at once.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Forecast a point, quantiles, or laplace: a distribution.")] = None,
    fill: Fill = None,
    time: TimeColumn = None,
    series: SeriesColumn = None,
    ahead: Ahead = None,
    past: Past = None,
    static: Static = None,
    summary: Annotated[
        str | None, typer.Option(help="Answer from the last output, the max, by attention, or from all.")
    ] = None,
    missing: Annotated[
        str | None, typer.Option(help="Missing numbers are filled with the previous one, zero, or the mean.")
    ] = None,
    read: Annotated[str | None, typer.Option(help="Pictures by rows, by pixels, or whole, as one step.")] = None,
    convolution: Annotated[bool | None, typer.Option(help="Read numbers through convolutions that look back.")] = None,
    augment: Annotated[bool | None, typer.Option(help="Change numbers a little in training.")] = None,
    members: Annotated[int | None, typer.Option(help="Train so many networks that answer together.")] = None,
    probes: Annotated[bool | None, typer.Option(help="Fixed convolutions beside, by ridge regression.")] = None,
    class_weights: Annotated[
        str, typer.Option(help="none; balanced: rare classes count as much as common ones.")
    ] = "none",
    consistency: Annotated[
        float | None, typer.Option(help="How much two readings of a row with other dropout are to agree.")
    ] = None,
    ngrams: Annotated[
        bool | None, typer.Option(help="Weigh a linear model of n-grams in beside the network that reads texts.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Share dropped in training, 0 to 1.")] = None,
    weight_drop: Annotated[float | None, typer.Option(help="Share of recurrent weights dropped in training.")] = None,
    valid: HeldBack = None,
    test: Annotated[str | None, typer.Option(help="Test file, measured once at the end.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train for so many minutes.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Train for so many passes over the data.")] = None,
    optimiser: Annotated[str, typer.Option(help="adamw, sgd or muon.")] = "adamw",
    rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    schedule: Annotated[str, typer.Option(help="cosine, linear, constant, one-cycle or plateau.")] = "cosine",
    warmup: Annotated[float | None, typer.Option(help="Part of the run in which the rate rises.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="How fast the weights fade; biases do not.")] = None,
    clip: Annotated[float | None, typer.Option(help="Greatest norm of the gradient.")] = None,
    average: Annotated[float | None, typer.Option(help="Keep an average of the weights with this decay.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many validations without a better one.")] = None,
    rows: Annotated[int | None, typer.Option(help="Rows in a batch.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in a chunk of a text.")] = None,
    accumulate: Annotated[int, typer.Option(help="Work a batch off in so many parts, for less memory.")] = 1,
    recompute: Annotated[int | None, typer.Option(help="Hold so many steps at once; compute others again.")] = None,
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 for the products.")] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="Have torch.compile translate the step.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    processes: Annotated[int, typer.Option(min=1, help="Share the work among so many processes.")] = 1,
    checkpoint_every: Annotated[str, typer.Option(help="30s, 5m, 1h, or a number of steps.")] = "60s",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write for TensorBoard too.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed draws the same numbers.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Measure simple baselines beside the result.")] = True,
    out: Annotated[str | None, typer.Option(help="Model folder; named after DATA if left out.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, and replace what is in the folder.")] = False,
    json: Json = False,
) -> None:
    """Train a recurrent network on DATA and write a model folder. With only a path, all else is worked out."""
    # all that was given but what has to do with this command: the fields of `FitOptions`
    choices = {name: value for name, value in locals().items() if name not in _NO_CHOICES}
    from recurra.cli import launching

    if processes > 1:
        launching.run(processes)
    launching.end_with_launcher()
    import recurra

    model = recurra.fit(data, valid=valid, test=test, out=out, fresh=fresh, **choices)
    if json and model.record:
        from recurra.cli.talk import say_json

        keys = ("kind", "out", "seconds", "total_seconds", "model", "metrics", "baselines", "streaming", "fingerprint")
        say_json({key: model.record[key] for key in (*keys, "choice", "next") if key in model.record})


_NOT_SEARCHED = ("test", "minutes", "epochs", "processes", "checkpoint_every", "tensorboard", "baselines")


def _with_options_of_fit(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `fit` beside its own, but those that a search has no use for."""
    own = [part for part in inspect.signature(command, eval_str=True).parameters.values() if part.name != "given"]
    names = {part.name for part in own}
    of_fit = inspect.signature(fit, eval_str=True).parameters.values()
    parts = [*own, *(part for part in of_fit if part.name not in (*names, *_NOT_SEARCHED))]
    parts = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parts]
    command.__signature__ = inspect.Signature(parts)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {part.name: part.annotation for part in parts}
    return command


@app.command()
@_with_options_of_fit
def tune(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for `recurra fit`.")],
    minutes: Annotated[float, typer.Option(help="For all trials together.")],
    trials: Annotated[int, typer.Option(min=2, help="Trials of full length that the minutes are shared among.")] = 10,
    valid: HeldBack = None,
    out: Annotated[str | None, typer.Option(help="Folder of the search; named after DATA if left out.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, and replace the search in the folder.")] = False,
    json: Json = False,
    **given: Any,
) -> None:
    """Search for options of `fit` that suit DATA, by validation data. An option that is typed is not searched."""
    from recurra.cli import tuning

    typed = [name for name in given if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
    tuning.tune(data, minutes, trials, valid, out, fresh, {name: given[name] for name in typed}, json)


@app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help=".txt, .tsv, .csv, .jsonl, .parquet, .npz, .ts or IDX")],
    valid: Annotated[str | None, typer.Option(help="Validation file.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file.")] = None,
    task: TaskName = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    tags: TagsColumn = None,
    target: TargetColumn = None,
    level: Level = None,
    vocabulary: Vocabulary = None,
    normalise: Normalise = False,
    horizon: Horizon = None,
    season: Season = None,
    fill: Fill = None,
    time: TimeColumn = None,
    series: SeriesColumn = None,
    ahead: Ahead = None,
    past: Past = None,
    static: Static = None,
    json: Json = False,
) -> None:
    """Tell all that is known of DATA before training: how it is understood, what is wrong, what `fit` would do."""
    choices = {name: value for name, value in locals().items() if name not in _NO_CHOICES}
    from recurra.cli import checking

    checking.check(data, valid, test, choices, json)


@app.command()
def predict(
    model: ModelFolder,
    inputs: Annotated[
        str, typer.Argument(metavar="[FILE|TEXT|-]", help="A file, a text, or - for lines on stdin.")
    ] = "-",
    top: Annotated[
        int | None, typer.Option(min=1, help="How many of the likeliest to show; 5 (of translations: 1).")
    ] = None,
    text: TextColumn = None,
    beam: Annotated[int | None, typer.Option(help="Of a translator: translations followed at a time.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="How much long translations are favoured.")] = None,
    horizon: Horizon = None,
    levels: Annotated[
        str | None, typer.Option(metavar="80,95", help="Forecast: intervals that hold so many of 100.")
    ] = None,
    fill: Fill = None,
    out: Annotated[
        Path | None, typer.Option(help="Forecast: .csv, .tsv, .jsonl or .parquet; stdout if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Answer for each input: classes with probabilities, the next tokens, a translation, or what follows each series."""
    from recurra.cli import using

    frame = {"horizon": horizon, "levels": levels, "fill": fill, "out": out}
    using.predict(model, inputs, top, text, {"beam": beam, "length_penalty": length_penalty}, json, frame)


@app.command()
def generate(
    model: ModelFolder,
    prompt: Annotated[str, typer.Option(help="Where to begin.")] = "",
    length: Annotated[int, typer.Option(min=0, help="How many tokens to add.")] = 200,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest, 1 draws as learnt, more ventures.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that make up this probability.")] = 0.95,
    seed: Annotated[int, typer.Option(help="The same seed draws the same text.")] = 0,
    json: Json = False,
) -> None:
    """Continue a text with a language model."""
    from recurra.cli import using

    using.generate(model, prompt, length, temperature, top_p, seed, json)


@app.command()
def evaluate(
    model: ModelFolder,
    data: Annotated[str, typer.Argument(metavar="DATA", help="Text, or rows with answers.")],
    text: TextColumn = None,
    label: LabelColumn = None,
    tags: TagsColumn = None,
    target: TargetColumn = None,
    dynamic: Annotated[
        float | None, typer.Option(metavar="RATE", help="Learn on while reading (language), about 0.0003 a step.")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="An n-gram cache of what was read (language).")] = False,
    windows: Annotated[
        int | None, typer.Option(min=1, help="Forecast from so many last moments of each series; from all if left out.")
    ] = None,
    step: Annotated[int | None, typer.Option(min=1, help="Forecast: rows from one moment to the next; 1.")] = None,
    history: Annotated[str | None, typer.Option(help="Forecast: a file with the rows before DATA.")] = None,
    fill: Fill = None,
    out: Annotated[Path | None, typer.Option(help="Forecast: write each forecast beside what came.")] = None,
    json: Json = False,
) -> None:
    """Measure a model on data of your own."""
    from recurra.cli import using

    columns = {"text": text, "label": label, "tags": tags, "target": target}
    frame = {"windows": windows, "step": step, "history": history, "fill": fill, "out": out}
    using.evaluate(model, data, {**columns, "dynamic": dynamic, "cache": cache}, json, frame)


@app.command()
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL MODEL... DATA", help="Model folders, and data at the end.")
    ],
    text: TextColumn = None,
    label: LabelColumn = None,
    tags: TagsColumn = None,
    target: TargetColumn = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same rows again.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="How often rows are drawn again for the intervals.")] = 1000,
    json: Json = False,
) -> None:
    """Measure models on the same data, with intervals that tell whether a difference can be luck."""
    from recurra.cli import comparing

    columns = {"text": text, "label": label, "tags": tags, "target": target}
    comparing.compare(models[:-1], models[-1], columns, seed, resamples, json)


@app.command()
def stream(
    model: ModelFolder,
    state: Annotated[Path | None, typer.Option(help="State file: continued from, and written at the end.")] = None,
    top: Top = 3,
    json: Json = False,
) -> None:
    """Read lines from stdin as one sequence: an answer after each, the state kept for the next time."""
    from recurra.cli import using

    using.stream(model, state, top, json)


@app.command("look")
def look(
    model: ModelFolder,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT [INPUT]", help="A text or a file; two to compare.")
    ] = None,
    row: Annotated[list[int] | None, typer.Option(min=1, help="Which row of a file; again for a second one.")] = None,
    text: TextColumn = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page (.html), a picture (.svg, .png) or numbers (.json).")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    why: Annotated[int | None, typer.Option(min=0, help="How many answers to explain.")] = None,
    corpus: Annotated[
        str | None, typer.Option(metavar="FILE", help="Find where each unit is largest, and stretches like this one.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Show the state while lines come in on stdin.")] = False,
    json: Json = False,
) -> None:
    """Look inside while it reads: every state and gate, why it answers so, how far back the signal reaches."""
    from recurra.cli import looking

    if not live:
        looking.look(model, inputs or [], row or [], text, out, show, why, corpus, json)
        return
    given = {
        "INPUT": inputs,
        "--row": row,
        "--text": text,
        "--out": out,
        "--open": show,
        "--why": why,
        "--corpus": corpus,
    }
    looking.follow(model, [name for name, value in given.items() if value], json)


@app.command()
def export(
    model: ModelFolder,
    onnx: Annotated[Path, typer.Option(metavar="FILE", help="ONNX file to write.")],
    lengths: Annotated[
        bool, typer.Option("--lengths", help="With an input `lengths`: the valid steps of each row.")
    ] = False,
    opset: Annotated[int | None, typer.Option(help="Version of ONNX's operators; 17 if left out.")] = None,
    json: Json = False,
) -> None:
    """Write a model as ONNX, its state as inputs and outputs, so that other runtimes can stream it."""
    from recurra.cli import exporting

    exporting.export(model, onnx, opset, lengths, json)


@app.command()
def info(model: ModelFolder, json: Json = False) -> None:
    """What a model is, how it was made, and what it reached."""
    from recurra.cli import about

    about.info(model, json)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to look; two levels of folders.")] = Path("."),
    json: Json = False,
) -> None:
    """List the runs in DIR beside one another: finished, stopped or under way, the best first."""
    from recurra.cli import listing

    listing.runs(folder, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Which kernels run where, and why."""
    from recurra.cli import about

    about.doctor(json)


bench = typer.Typer(
    help="Measure cells on tasks that are generated.", no_args_is_help=True, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.add_typer(bench, name="bench")


@bench.callback()
def _bench() -> None:
    """Measure cells on tasks that are generated."""


@bench.command("memory")
def bench_memory(
    task: Annotated[
        list[str] | None, typer.Option(help="adding, copy, selective-copy, parity or dyck; again for more. All.")
    ] = None,
    cell: Annotated[list[str] | None, typer.Option(help="A cell; again for more. All there are.")] = None,
    length: Annotated[int | None, typer.Option(min=1, help="The length to be solved, where the usual is not.")] = None,
    minutes: Annotated[float | None, typer.Option(help="For each cell on each task, at most; 5.")] = None,
    steps: Annotated[int | None, typer.Option(help="At most so many steps, however long they take.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Units in a layer; 128.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers; 1.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; 0.003.")] = None,
    rows: Annotated[int | None, typer.Option(help="Sequences in a batch; 32.")] = None,
    clip: Annotated[float | None, typer.Option(help="Greatest norm of the gradient; 1.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same sequences.")] = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the rows are kept.")] = Path("recurra-memory.json"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, and replace the rows in the file.")] = False,
    json: Json = False,
) -> None:
    """How long each cell remembers: trained on generated tasks until it solves them, or the minutes are over."""
    from recurra.cli import remembering

    choices = {
        "minutes": minutes, "steps": steps, "hidden": hidden, "layers": layers, "rate": rate, "rows": rows, "clip": clip,
        "seed": seed,
    }  # fmt: skip
    remembering.memory(task or [], cell or [], length, out, fresh, choices, json)
