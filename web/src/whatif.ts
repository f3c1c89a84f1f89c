/** What if: the inputs can be changed, and the network runs again in the page. Old and new states stand one above the other. */

import { h, put, seen, sized } from "./dom";
import { Heat } from "./heat";
import { Network, type Run } from "./network";
import { leavesOf, OUTPUTS, type Loaded } from "./scene";
import { changed, type Store } from "./store";
import type { Guess } from "./types";
import { layerName, number, percent, say } from "./words";

/** Steps that are run again at most. */
const MOST = 400;

export class WhatIfPanel {
  readonly element = h("section", { id: "whatif", "aria-labelledby": "whatif-title" });
  private readonly edited: string[][];
  private network: Network | null = null;
  private failure: string | null = null;
  private focus = "";
  private place = 0;

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
  ) {
    this.edited = scenes.map((each) => (each.scene.inputs.kind === "tokens" ? [...each.scene.inputs.texts] : []));
    store.on((now, before) => {
      if (changed(now, before, "scene", "language", "layer", "direction")) this.render();
    });
  }

  async load(): Promise<void> {
    const weights = this.store.look.weights;
    const runs = this.scenes.every((each) => each.scene.inputs.kind === "tokens" && each.steps <= MOST);
    if (weights && runs) this.network = await Network.of(weights);
    this.render();
  }

  private texts(): string[] {
    return this.edited[this.store.now.scene]!;
  }

  private change(edit: (texts: string[]) => void, focus = ""): void {
    edit(this.texts());
    this.focus = focus;
    this.render();
  }

  render(): void {
    const title = h("h2", { id: "whatif-title" }, say("whatif"));
    const network = this.network;
    if (!network) {
      put(this.element, title, h("p", { class: "quiet" }, say("whatifNone")));
      return;
    }
    const loaded = this.scenes[this.store.now.scene]!;
    const inputs = loaded.scene.inputs;
    const original = inputs.kind === "tokens" ? inputs.texts : [];
    const [old, run] = [network.run(original), network.run(this.texts())];
    const unknown = this.texts().filter((text) => network.id(text) === null && network.knowsUnknown);
    put(
      this.element,
      title,
      h("p", { class: "quiet" }, say("whatifHelp")),
      this.editor(network, original),
      ...[...new Set(unknown)].map((text) => h("p", { class: "quiet small", dir: "auto" }, say("unknownWord", { text: seen(text) }))),
      h("div", { class: "answers", "aria-live": "polite" }, this.answers("oldState", old), this.answers("newState", run)),
      this.states(loaded, old, run),
    );
    this.check(loaded, old);
    if (this.focus) this.element.querySelector<HTMLElement>(this.focus)?.focus();
    this.focus = "";
  }

  /** How far this page's own arithmetic is from the model's: said on the element, and aloud where it is too far. */
  private check(loaded: Loaded, run: Run): void {
    let most = 0;
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
    if (most > 1e-3 && !this.failure) {
      this.failure = String(most);
      console.error(`the page computes other states than the model: ${most}`);
    }
  }

  private editor(network: Network, original: string[]): HTMLElement {
    const texts = this.texts();
    this.place = Math.max(0, Math.min(this.place, texts.length - 1));
    const items = texts.map((text, i) =>
      h("li", {}, h(
        "button",
        {
          class: text === original[i] ? null : "altered", "aria-pressed": String(i === this.place), "data-place": i, dir: "auto",
          "aria-label": `${say("input")} ${i + 1}: ${text}`,
          onclick: () => {
            this.place = i;
            this.change(() => undefined, `[data-place="${i}"]`);
          },
        },
        seen(text),
      )),
    );
    const reset = h("button", { id: "reset", onclick: () => this.change((all) => void all.splice(0, all.length, ...original)) }, say("reset"));
    const letters = network.vocabulary.every((text, id) => [...text].length === 1 || id === 0);
    return h("div", {}, letters ? this.free() : null, h("ol", { class: "editor", "aria-label": say("inputsNow") }, ...items), this.tools(network, reset));
  }

  /** A line to type in, for models that read character by character. */
  private free(): HTMLElement {
    const line = h("input", {
      id: "free-text", value: this.texts().join(""), maxlength: MOST, dir: "auto",
      onchange: (event: Event) => {
        const now = [...(event.target as HTMLInputElement).value];
        if (now.length) this.change((all) => void all.splice(0, all.length, ...now), "#free-text");
      },
    });
    return h("label", { class: "free" }, say("freeText"), line);
  }

  /** What can be done with the chosen input. */
  private tools(network: Network, reset: HTMLElement): HTMLElement {
    const [texts, i] = [this.texts(), this.place];
    const act = (word: "earlier" | "remove" | "add" | "later", sign: string, can: boolean, to: number, edit: (all: string[]) => void): HTMLElement =>
      h("button", {
        "data-do": word, disabled: !can,
        onclick: () => {
          this.place = to;
          this.change(edit, can ? `[data-do="${word}"]` : "");
        },
      }, `${sign} ${say(word)}`);
    const swap = (to: number) => (all: string[]) => void ([all[i], all[to]] = [all[to]!, all[i]!]);
    const few = network.vocabulary.length <= 3000;
    return h(
      "div",
      { class: "tools", role: "group", "aria-label": say("atPlace", { n: i + 1, text: seen(texts[i] ?? "") }) },
      h("span", { class: "quiet", dir: "auto" }, say("atPlace", { n: i + 1, text: seen(texts[i] ?? "") })),
      act("earlier", "◀", i > 0, i - 1, swap(i - 1)),
      act("later", "▶", i < texts.length - 1, i + 1, swap(i + 1)),
      act("remove", "✕", texts.length > 1, Math.max(0, i - 1), (all) => void all.splice(i, 1)),
      act("add", "＋", texts.length < MOST, i + 1, (all) => void all.splice(i + 1, 0, all[i]!)),
      h("label", { class: "quiet" }, `${say("replace")} `, h("input", {
        id: "replace", value: texts[i], list: few ? "vocabulary" : null, dir: "auto",
        onchange: (event: Event) => {
          const now = (event.target as HTMLInputElement).value;
          if (now) this.change((all) => void all.splice(i, 1, now), "#replace");
        },
      })),
      few ? h("datalist", { id: "vocabulary" }, ...network.vocabulary.map((text) => h("option", { value: text }))) : null,
      reset,
    );
  }

  private answers(title: "oldState" | "newState", run: Run): HTMLElement {
    const guesses: Guess[] = run.answers.at(-1) ?? [];
    return h(
      "div",
      { class: "answer", id: title },
      h("h4", {}, say(title)),
      h("ul", {}, ...guesses.map((guess) => {
        const bar = h("i", {});
        bar.style.width = `${guess.p * 100}%`;
        return h("li", { "data-p": guess.p }, h("span", { dir: "auto" }, seen(guess.text)), h("span", { class: "bar" }, bar), percent(guess.p));
      })),
    );
  }

  private states(loaded: Loaded, old: Run, run: Run): HTMLElement {
    const { layer, direction } = this.store.now;
    const leaves = leavesOf(loaded.layers[layer]!);
    const leaf = leaves[0]!;
    if (leaf === OUTPUTS) return h("div", {});
    const both = [old, run].map((each) => each.states[layer]![direction]!.map((state) => state[leaf]!));
    const scale = loaded.heat(layer, direction, leaf).scale;
    const ends = both.map((each) => each[direction === "ahead" ? each.length - 1 : 0]!);
    const distance = Math.sqrt(ends[0]!.reduce((sum, value, k) => sum + (value - ends[1]![k]!) ** 2, 0));
    const before = Math.sqrt(ends[0]!.reduce((sum, value) => sum + value * value, 0));
    return h(
      "div",
      {},
      h("h4", {}, `${say("oldNew")}: ${say("layer")} ${layerName(loaded.layers[layer]!)}`),
      ...both.map((each, i) => picture(each, scale, say(i ? "newState" : "oldState"), Math.max(...both.map((one) => one.length)))),
      h("p", { id: "distance", "data-distance": distance }, say("difference", { distance: number(distance), before: number(before) })),
    );
  }
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
