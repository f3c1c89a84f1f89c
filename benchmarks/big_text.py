"""A text larger than memory: what `recurra fit` takes for it, in memory and in time before the first step.

    python benchmarks/big_text.py FOLDER [--gigabytes 5] [--minutes 1] [--language english|chinese] [--threads 2] [OPTIONS]

writes a text into FOLDER, fits it in a process of its own with the OPTIONS of `recurra fit`, and removes both again. Two
peaks are told: RssAnon, the memory that cannot be dropped, and VmHWM, which counts mapped pages of libraries and files too.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

BLOCK = 1 << 24  # bytes written at once
SENTENCES = 200_000  # different ones, each with a number drawn anew
PASS = re.compile(r"(checking|hashing|counting|encoding)\b.*?([\d,]+) (MB|million characters)/s")


def write_text(path: Path, size: int, language: str) -> float:
    """Write a text of about `size` bytes of varied sentences; the seconds it took."""
    started, draw = time.monotonic(), random.Random(1)
    sentences = [_sentence(draw, language) for _ in range(SENTENCES)]
    with open(path, "wb") as file:
        while file.tell() < size:
            drawn = draw.choices(sentences, k=BLOCK // 64)
            block = "".join(sentence.replace("#", str(draw.randrange(10_000))) for sentence in drawn)
            file.write(block.encode())
    return time.monotonic() - started


def _sentence(draw: random.Random, language: str) -> str:
    if language == "chinese":
        # the frequent ones come first, as in any text
        words = [
            "".join(chr(0x4E00 + int(3000 * draw.random() ** 3)) for _ in range(draw.choice((1, 2, 2))))
            for _ in range(12)
        ]
        return "".join(words[:5]) + "，" + "".join(words[5:]) + draw.choice(("。", "。\n", "#年。", "！"))
    words = [_word(draw) for _ in range(draw.randrange(4, 14))]
    return " ".join([words[0].capitalize(), *words[1:]]) + draw.choice((".\n", ". ", ", # of them.\n", "? "))


def _word(draw: random.Random) -> str:
    place = int(14**3 * draw.random() ** 3)
    syllables = ("ka", "the", "ro", "mi", "sel", "tan", "o", "wen", "bri", "du", "al", "ing", "er", "po")
    return syllables[place % 14] + syllables[place // 14 % 14] + (syllables[place // 196] if place >= 196 else "")


class Watched:
    """A process whose memory is looked at twenty times a second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.peaks = {"RssAnon": 0, "VmHWM": 0}
        self._status = Path(f"/proc/{process.pid}/status")
        self._process = process
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while self._process.poll() is None:
            try:
                lines = self._status.read_text(encoding="utf-8").splitlines()
            except OSError:  # it has ended
                return
            for name, value in (line.split(":", 1) for line in lines):
                if name in self.peaks:
                    self.peaks[name] = max(self.peaks[name], 1024 * int(value.split()[0]))
            time.sleep(0.05)

    def join(self) -> None:
        self._thread.join()


def fit(text: Path, out: Path, minutes: float, threads: int, more: list[str]) -> Watched:
    """Fit; repeat what it says with the seconds and the peak of RssAnon before it, and tell when the first step came."""
    words = [sys.executable, "-m", "recurra", "fit", str(text), "--out", str(out), "--minutes", str(minutes), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TERM": "dumb"}
    started, passes, first, now = time.monotonic(), {}, None, 0.0
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        watched = Watched(process)
        assert process.stderr is not None
        for line in process.stderr:
            now = time.monotonic() - started
            print(f"{now:7.1f} s {watched.peaks['RssAnon'] / 1e9:5.2f} GB  {line}", end="", flush=True)
            if found := PASS.search(line):
                passes[found[1]] = f"{found[2]} {found[3]}/s"
            if first is None and re.search(r"\bstep \d", line):
                first = now
        watched.join()
    if process.returncode:
        raise SystemExit(f"recurra fit ended with {process.returncode}")
    print(f"\ntime to the first step: {first or 0:.1f} s of {now:.1f} s in all")
    for name, rate in passes.items():
        print(f"{name}: {rate} at the end")
    return watched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--language", choices=("english", "chinese"), default="english")
    parser.add_argument("--threads", type=int, default=2)
    given, more = parser.parse_known_args()
    place = given.folder / "big-text"
    place.mkdir(parents=True)
    try:
        text = place / "big.txt"
        spent = write_text(text, int(given.gigabytes * 1e9), given.language)
        print(f"{text.stat().st_size:,} bytes, {given.language}, written in {spent:.0f} s; {given.threads} threads")
        watched = fit(text, place / "model", given.minutes, given.threads, more)
        for name, peak in watched.peaks.items():
            print(f"peak of {name}: {peak / 1e9:.2f} GB")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
