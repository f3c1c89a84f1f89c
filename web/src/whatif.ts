/** What if: the inputs can be changed, and the network runs again in the page. Old and new states stand one above the other. */

import { h, put, seen, sized } from "./dom";
import { editor, shown, type Editing } from "./editors";
import { Heat } from "./heat";
import type { Run, Runner } from "./network";
import type { Item } from "./reading";
import { MOST, type Reruns } from "./reruns";
import { leavesOf, OUTPUTS, type Loaded } from "./scene";
import { changed, type Store } from "./store";
import { typing } from "./typing";
import type { Guess } from "./types";
import { both, layerName, number, percent, say } from "./words";

/** What was changed by typing: the line that was typed in stays. */
const TYPED = "#free-text";
/** Answers that are shown, the likeliest. */
const GUESSES = 5;
/** Unknown texts that are named. */
const NAMED = 5;

export class WhatIfPanel {
  readonly element = h("section", { id: "whatif", "aria-labelledby": "whatif-title" });
  private readonly originals: Item[][];
  private readonly edited: Item[][];
  private readonly checked = new Set<number>();
  private network: Runner | null = null;
  private place = 0;

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
    private readonly reruns: Reruns,
  ) {
    this.originals = scenes.map((each) => each.items());
    this.edited = this.originals.map((each) => [...each]);
    store.on((now, before) => {
      if (changed(now, before, "scene", "language", "layer", "direction")) this.render();
    });
  }

  async load(): Promise<void> {
    this.network = await this.reruns.network();
    this.render();
  }

  render(focus = ""): void {
    const title = h("h2", { id: "whatif-title" }, say("whatif"));
    const network = this.network;
    if (!network) {
      put(this.element, title, h("p", { class: "quiet" }, this.refusal()));
      return;
    }
    const scene = this.store.now.scene;
    const loaded = this.scenes[scene]!;
    const [original, items] = [this.originals[scene]!, this.edited[scene]!];
    const old = this.reruns.run(network, scene);
    if (!this.checked.has(scene)) this.check(loaded, old);
    this.checked.add(scene);
    const run = network.run(items);
    const scrolled = this.element.querySelector(".numbers-table")?.scrollTop ?? 0;
    const about = [title, h("p", { class: "quiet" }, say(typeof original[0] === "string" ? "whatifHelp" : "whatifRows"))];
    const below = [
      editor(this.editing(network, original, items)),
      unknown(items.filter((item) => network.unknown(item)).map(String)),
      run.tags.length ? h("p", { class: "quiet small" }, say("tagsHelp")) : null,
      h("div", { class: "answers", "aria-live": "polite" }, answers("oldState", old, original), answers("newState", run, items, old)),
      this.states(loaded, old, run),
    ];
    const kept = focus === TYPED ? this.element.querySelector(".free") : null;
    if (kept) {
      // who types goes on in the same line, with the cursor where it was
      while (kept.nextSibling) kept.nextSibling.remove();
      kept.after(...below.filter((each) => each !== null));
      return;
    }
    put(this.element, ...about, byLetters(network) ? this.line(items) : null, ...below);
    const region = this.element.querySelector(".numbers-table");
    if (region) region.scrollTop = scrolled;
    if (!focus) return;
    const wanted = this.element.querySelector<HTMLButtonElement>(focus);
    // what can no longer be done gives way to what was done it to
    (wanted?.disabled ? this.element.querySelector<HTMLElement>(`[data-place="${this.place}"]`) : wanted)?.focus();
  }

  private line(items: Item[]): HTMLElement {
    return typing(items.join(""), MOST, (tokens) => {
      items.splice(0, items.length, ...tokens);
      this.place = 0;
      this.render(TYPED);
    });
  }

  private refusal(): string {
    const { weights, unrun } = this.store.look;
    const reason = weights ? say("whatifLong", { most: MOST }) : unrun ? both(unrun) : "";
    return say("whatifNone", { reason });
  }

  private editing(network: Runner, original: Item[], items: Item[]): Editing {
    this.place = Math.max(0, Math.min(this.place, items.length - 1));
    const { read } = network;
    const inputs = this.scenes[this.store.now.scene]!.scene.inputs;
    return {
      items, original, place: this.place, vocabulary: network.vocabulary, most: MOST,
      columns: inputs.kind === "rows" ? inputs.columns : [],
      holes: read.kind === "rows" && read.filling !== null,
      choose: (place, focus) => {
        this.place = place;
        this.render(focus);
      },
      change: (edit, place, focus) => {
        edit(items);
        this.place = place;
        this.render(focus);
      },
    };
  }

  /** How far this page's own arithmetic is from the model's: said on the element, and aloud where it is too far. */
  private check(loaded: Loaded, run: Run): void {
    let most = Number(this.element.dataset.difference ?? 0);
    loaded.layers.forEach((layer, index) => {
      for (const way of layer.directions) {
        for (const leaf of leavesOf(layer)) {
          if (leaf === OUTPUTS) continue;
          const heat = loaded.heat(index, way, leaf);
          run.states[index]![way]!.forEach((state, t) => {
            const [mine, theirs] = [state[leaf]!, heat.row(t)];
            for (let k = 0; k < mine.length; k++) most = Math.max(most, Math.abs(mine[k]! - theirs[k]!));
          });
        }
      }
    });
    this.element.dataset.difference = String(most);
    if (most > 1e-3) console.error(`the page computes other states than the model: ${most}`);
  }

  private states(loaded: Loaded, old: Run, run: Run): HTMLElement {
    const { layer, direction } = this.store.now;
    const leaf = leavesOf(loaded.layers[layer]!)[0]!;
    if (leaf === OUTPUTS) return h("div", {});
    const pair = [old, run].map((each) => each.states[layer]![direction]!.map((state) => state[leaf]!));
    const scale = loaded.heat(layer, direction, leaf).scale;
    const ends = pair.map((each) => each[direction === "ahead" ? each.length - 1 : 0]!);
    const distance = Math.sqrt(ends[0]!.reduce((sum, value, k) => sum + (value - ends[1]![k]!) ** 2, 0));
    const before = Math.sqrt(ends[0]!.reduce((sum, value) => sum + value * value, 0));
    return h(
      "div",
      {},
      h("h4", {}, `${say("oldNew")}: ${say("layer")} ${layerName(loaded.layers[layer]!)}`),
      ...pair.map((each, i) => picture(each, scale, say(i ? "newState" : "oldState"), Math.max(...pair.map((one) => one.length)))),
      h("p", { id: "distance", "data-distance": distance }, say("difference", { distance: number(distance), before: number(before) })),
    );
  }
}

/** What the network said: likely answers as bars, numbers, and of a tagger a tag under each token. */
function answers(title: "oldState" | "newState", run: Run, items: Item[], old?: Run): HTMLElement {
  const numbers = run.numbers.map(({ name, value }) => h("li", { "data-value": value }, h("span", { dir: "auto" }, name), h("span", {}, number(value))));
  const tags = run.tags.map((guesses, i) => {
    const best = guesses[0]!;
    const other = old && old.tags.length === run.tags.length && old.tags[i]![0]!.text !== best.text;
    return h("li", { "data-tag": best.text, "data-p": best.p, class: other ? "altered" : null, title: guesses.slice(0, GUESSES).map(guessed).join(", ") },
      h("span", { dir: "auto" }, shown(items[i]!)), h("b", { dir: "auto" }, seen(best.text)), h("small", {}, percent(best.p)));
  });
  return h(
    "div",
    { class: "answer", id: title },
    h("h4", {}, say(title)),
    numbers.length ? h("ul", { class: "values" }, ...numbers) : null,
    run.guesses.length ? h("ul", { class: "guesses" }, ...run.guesses.slice(0, GUESSES).map(bar)) : null,
    tags.length ? h("ol", { class: "tagged" }, ...tags) : null,
  );
}

function byLetters(network: Runner): boolean {
  const { vocabulary } = network;
  return vocabulary.length > 0 && vocabulary.every((text, id) => [...text].length === 1 || id === 0);
}

/** Texts that the model does not know, on one line: how often each is there, and how many more there are. */
function unknown(texts: string[]): HTMLElement | null {
  if (!texts.length) return null;
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  const named = [...counts].slice(0, NAMED).map(([text, count]) => `“${seen(text)}”${count > 1 ? ` × ${count}` : ""}`).join(", ");
  const told = counts.size > NAMED ? say("unknownMore", { texts: named, n: counts.size - NAMED }) : named;
  return h("p", { class: "quiet small", id: "unknown", dir: "auto" }, say("unknownWords", { texts: told }));
}

function guessed(guess: Guess): string {
  return `${seen(guess.text)} ${percent(guess.p)}`;
}

function bar(guess: Guess): HTMLElement {
  const share = h("i", {});
  share.style.width = `${guess.p * 100}%`;
  return h("li", { "data-p": guess.p }, h("span", { dir: "auto" }, seen(guess.text)), h("span", { class: "bar" }, share), percent(guess.p));
}

function picture(rows: Float64Array[], scale: number, label: string, most: number): HTMLElement {
  const units = rows[0]?.length ?? 0;
  const data = new Float32Array(rows.length * units);
  rows.forEach((row, t) => data.set(row, t * units));
  const heat = new Heat({ data, shape: [rows.length, units] }, scale);
  const canvas = h("canvas", { role: "img", "aria-label": label });
  const box = h("div", { class: "compared" }, h("span", {}, label), h("div", {}, canvas));
  requestAnimationFrame(() => {
    const wide = canvas.parentElement!.clientWidth;
    const context = sized(canvas, wide, 72);
    if (!context) return;
    const width = wide / most;
    heat.draw(context, { left: 0, top: 0, width, height: 72, from: 0, to: rows.length, ratio: window.devicePixelRatio || 1 });
  });
  return box;
}
