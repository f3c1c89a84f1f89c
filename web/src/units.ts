/** One unit: the text coloured by it, and where in a corpus it is strongest. */

import { css, ink } from "./colour";
import { h, put, seen } from "./dom";
import type { Loaded } from "./scene";
import { changed, type Store } from "./store";
import type { Stretch } from "./types";
import { layerName, number, say } from "./words";

/** Steps coloured at once; of a longer sequence those around the chosen one. */
const MOST = 600;

export class UnitsPanel {
  readonly element = h("section", { id: "units", "aria-labelledby": "units-title" });

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
  ) {
    store.on((now, before) => {
      if (changed(now, before, "unit", "layer", "direction", "scene", "step", "language", "leaf")) this.render();
    });
  }

  render(): void {
    const now = this.store.now;
    const loaded = this.scenes[now.scene]!;
    const heat = loaded.heat(now.layer, now.direction, now.leaf);
    const unit = Math.min(now.unit, heat.units - 1);
    const chooser = h("input", {
      type: "number", id: "unit-number", min: 0, max: heat.units - 1, value: unit,
      onchange: (event: Event) => {
        const asked = Math.round(Number((event.target as HTMLInputElement).value)) || 0;
        this.store.set({ unit: Math.min(heat.units - 1, Math.max(0, asked)) });
      },
    });
    const held = document.activeElement?.id === "unit-number";
    const group = loaded.groupOf(now.layer);
    const from = Math.max(0, Math.min(group.steps - MOST, now.step - MOST / 2));
    const to = Math.min(group.steps, from + MOST);
    const inputs = loaded.scene.inputs;
    const letters = inputs.kind === "tokens" && inputs.texts.every((each) => [...each].length < 2);
    const text = h("p", { class: letters ? "coloured" : "coloured apart", dir: "auto" });
    for (let step = from; step < to; step++) {
      const value = heat.value(step, unit);
      const token = h("span", { title: `${step + 1}: ${number(value)}`, "data-value": value, class: step === now.step ? "chosen" : null }, loaded.read(group, step) || String(step + 1));
      token.style.background = css(value / heat.scale);
      token.style.color = ink(value / heat.scale);
      text.append(token);
    }
    put(
      this.element,
      h("h2", { id: "units-title" }, say("units")),
      h("p", { class: "quiet" }, say("unitsHelp")),
      h("div", { class: "chooser" }, h("label", { for: "unit-number" }, `${say("layer")} ${layerName(loaded.layers[now.layer]!)}, ${say("unit")}`), chooser),
      text,
      to - from < group.steps ? h("p", { class: "quiet small" }, say("more")) : null,
      this.corpus(unit),
    );
    if (held) chooser.focus();
  }

  private corpus(unit: number): HTMLElement | null {
    const corpus = this.store.look.corpus;
    if (!corpus) return null;
    const layer = this.store.now.layer;
    const found = corpus.units.find((each) => each.layer === layer && each.unit === unit);
    return h(
      "div",
      { class: "part", id: "corpus" },
      h("h3", {}, say("corpus")),
      found ? h("h4", {}, say("corpusTop", { layer: layerName(this.store.look.model.layers[layer]!), unit })) : null,
      found ? stretches(found.top) : null,
      corpus.alike.length ? h("h4", {}, say("alike")) : null,
      corpus.alike.length ? stretches(corpus.alike) : null,
    );
  }
}

function stretches(found: Stretch[]): HTMLElement {
  return h("ul", { class: "stretches" }, ...found.map((each) => h("li", { dir: "auto" }, ...marked(each), ` ${number(each.value)}`)));
}

/** A stretch with the token at its place marked: a word, or one sign of a script that has no spaces. */
function marked({ text, at }: Stretch): (string | HTMLElement)[] {
  const token = /^[\p{Script=Latin}\d'’-]+|^./su.exec(text.slice(at))?.[0] ?? "";
  const around = (part: string): string => (part === "" ? "" : seen(part));
  return [around(text.slice(0, at)), h("mark", {}, seen(token)), around(text.slice(at + token.length))];
}
