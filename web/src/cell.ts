/** Inside a cell: the gates of one step as stripes, and the formula of one unit with its numbers. */

import { ACTIVATIONS } from "./cells";
import { css } from "./colour";
import type { Grid } from "./decode";
import { h, put, sized } from "./dom";
import { Heat } from "./heat";
import type { Reruns } from "./reruns";
import { leavesOf, OUTPUTS, type Loaded } from "./scene";
import { changed, type Store } from "./store";
import type { Formula } from "./types";
import { layerName, number, say } from "./words";

/** The numbers of one step by name: values, terms ("z.x"), and the state before ("h[t-1]"). */
export type Numbers = Map<string, Float32Array>;

/** What the page knows of a step: inner values, the state now and before. */
export function numbersAt(loaded: Loaded, inner: Record<string, Grid>, where: {
  layer: number; direction: "ahead" | "back"; step: number;
}, terms: Numbers): Numbers {
  const { layer, direction, step } = where;
  const found: Numbers = new Map(terms);
  for (const [name, values] of Object.entries(inner)) {
    const width = values.shape.at(-1) ?? 0;
    // parameters that are the same at each step stand there once
    const from = values.shape.length > 1 ? step * width : 0;
    found.set(name, values.data.subarray(from, from + width));
  }
  for (const leaf of leavesOf(loaded.layers[layer]!)) {
    const heat = loaded.heat(layer, direction, leaf);
    if (leaf === OUTPUTS) {
      found.set("y", heat.row(step));
      continue;
    }
    found.set(leaf, heat.row(step));
    found.set(`${leaf}[t-1]`, loaded.before(layer, direction, leaf, step));
  }
  for (const line of loaded.layers[layer]!.formula) {
    if (found.has(line.name) || !line.terms.length) continue;
    const parts = line.terms.map((term) => found.get(term.name));
    const act = ACTIVATIONS[line.activation ?? "identity"];
    if (!act || parts.some((part) => part === undefined)) continue;
    found.set(line.name, parts[0]!.map((_, k) => act(parts.reduce((sum, part) => sum + part![k]!, 0))));
  }
  return found;
}

/** The number that belongs to a unit: of values that heads share, its head's; null where it has many. */
export function ofUnit(values: Float32Array | undefined, unit: number, units: number): number | null {
  if (!values || values.length === 0 || values.length > units) return null;
  return values[values.length === units ? unit : Math.floor((unit * values.length) / units)]!;
}

/** A formula with numbers in place of letters. */
export function filled(line: Formula, numbers: Numbers, unit: number, units: number): string {
  const write = (value: number): string => (value < 0 ? `(${number(value)})` : number(value));
  const right = line.text.slice(line.text.indexOf("=") + 1).trim();
  if (line.terms.length) {
    const parts = line.terms.map((term) => ofUnit(numbers.get(term.name), unit, units));
    if (parts.every((part) => part !== null)) {
      const inside = (parts as number[]).map(write).join(" + ");
      const sum = (parts as number[]).reduce((total, part) => total + part, 0);
      const bare = line.activation === null || line.activation === "identity";
      const sign = line.activation === "sigmoid" ? "σ" : line.activation;
      return bare ? inside : `${sign}(${inside}) = ${sign}(${number(sum)})`;
    }
  }
  let text = right;
  for (const name of [...line.of].sort((a, b) => b.length - a.length)) {
    const value = ofUnit(numbers.get(name), unit, units);
    if (value === null) continue;
    const base = name.replace("[t-1]", "");
    const letter = name.endsWith("[t-1]") ? `${base}_t₋₁` : text.includes(`${base}_t`) ? `${base}_t` : base;
    text = text.replace(new RegExp(`(?<![\\p{L}'*])${escape(letter)}(?![\\p{L}₋'*])`, "gu"), write(value));
  }
  return text;
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

export class CellPanel {
  readonly element = h("section", { id: "cell", "aria-labelledby": "cell-title", tabindex: -1 });
  private numbers: Numbers = new Map();
  /** Whether parts of sums were computed here. */
  private computed = false;
  private turn = 0;

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
    private readonly reruns: Reruns,
  ) {
    this.element.addEventListener("keydown", (event) => {
      // back to the strip that it was opened from
      if (event.key === "Escape") document.querySelector<HTMLElement>(`.strip[data-scene="${store.now.scene}"]`)?.focus();
    });
    store.on((now, before) => {
      if (changed(now, before, "scene", "layer", "direction", "step", "language")) void this.show();
      else if (changed(now, before, "unit")) this.render();
    });
  }

  /** Decode what is chosen, then draw it; of several calls the last one counts. */
  async show(): Promise<void> {
    const turn = ++this.turn;
    const now = this.store.now;
    const loaded = this.scenes[now.scene]!;
    const told = loaded.lane(now.layer, now.direction).terms !== undefined;
    const [inner, terms] = await Promise.all([
      loaded.inner(now.layer, now.direction),
      told ? new Map<string, Float32Array>() : this.reruns.terms(now.scene, now),
    ]);
    if (turn !== this.turn) return;
    this.computed = terms.size > 0;
    this.numbers = numbersAt(loaded, inner, now, terms);
    this.render();
  }

  render(): void {
    const now = this.store.now;
    const loaded = this.scenes[now.scene]!;
    const layer = loaded.layers[now.layer]!;
    const units = layer.hidden;
    const unit = Math.min(now.unit, units - 1);
    const group = loaded.groupOf(now.layer);
    const where = say("cellWhere", {
      layer: layerName(layer),
      cell: layer.cell.toUpperCase(),
      way: layer.directions.length > 1 ? say("wayOf", { way: say(now.direction) }) : "",
      step: now.step + 1,
      input: group.reads === "inputs" ? loaded.inputInFull(now.step) : loaded.read(group, now.step),
    });
    const lines = layer.formula.filter((line) => !line.aside);
    const chooser = h("input", {
      type: "range", id: "unit", min: 0, max: units - 1, value: unit,
      oninput: (event: Event) => this.store.set({ unit: Number((event.target as HTMLInputElement).value) }),
    });
    const held = document.activeElement?.id === "unit";
    put(
      this.element,
      h("h2", { id: "cell-title" }, say("cell")),
      h("p", { class: "where", dir: "auto" }, where),
      h("p", { class: "quiet" }, say("cellHelp")),
      h("div", { class: "stripes" }, ...this.rows(lines, units, unit)),
      h("div", { class: "chooser" }, h("label", { for: "unit" }, `${say("unit")} ${unit}`), chooser),
      lines.length
        ? h("ol", { class: "formula" }, ...lines.map((line) => this.line(line, unit, units)))
        : h("p", { class: "quiet" }, say("noInner")),
      h("p", { class: "quiet small" }, `${say("exact")}${this.computed ? ` ${say("computed")}` : ""}`),
    );
    if (held) chooser.focus();
  }

  private line(line: Formula, unit: number, units: number): HTMLElement {
    const value = ofUnit(this.numbers.get(line.name), unit, units);
    const result = value === null ? "" : ` = ${number(value)}`;
    const terms = line.terms.map((term) => ofUnit(this.numbers.get(term.name), unit, units));
    return h(
      "li",
      { "data-name": line.name },
      h("code", { class: "symbols" }, line.text),
      h("code", { class: "numbers", "data-terms": terms.length ? terms.join(" ") : null }, `= ${filled(line, this.numbers, unit, units)}`, h("b", {}, result)),
    );
  }

  private rows(lines: Formula[], units: number, unit: number): HTMLElement[] {
    const layer = this.store.look.model.layers[this.store.now.layer]!;
    const before = layer.leaves.map((leaf) => `${leaf}[t-1]`);
    const names = [...before, ...lines.map((line) => line.name)];
    const shown = names.filter((name) => (this.numbers.get(name)?.length ?? 0) > 0 && this.numbers.get(name)!.length <= units);
    return shown.map((name) => this.row(name, this.numbers.get(name)!, unit, units));
  }

  private row(name: string, values: Float32Array, unit: number, units: number): HTMLElement {
    const heat = new Heat({ data: values, shape: [values.length, 1] });
    const canvas = h("canvas", { "aria-hidden": "true" });
    const value = ofUnit(values, unit, units);
    const box = h("div", { class: "stripe" }, canvas);
    requestAnimationFrame(() => {
      const [wide, high] = [box.clientWidth, 22];
      const context = sized(canvas, wide, high);
      if (!context) return;
      const width = wide / values.length;
      heat.draw(context, {
        left: 0, top: 0, width, height: high, from: 0, to: values.length, ratio: window.devicePixelRatio || 1,
      });
      context.strokeStyle = getComputedStyle(box).color;
      context.lineWidth = 2;
      context.strokeRect(((unit + 0.5) / units) * wide - Math.max(2, width / 2), 1, Math.max(4, width), high - 2);
    });
    box.addEventListener("click", (event) => {
      this.store.set({ unit: Math.min(units - 1, Math.floor((event.offsetX / box.clientWidth) * units)) });
    });
    const shown = name.endsWith("[t-1]") ? `${name.replace("[t-1]", "")}_t₋₁` : name;
    const tone = h("b", {}, value === null ? "" : number(value));
    tone.style.borderBottomColor = css((value ?? 0) / heat.scale);
    return h("div", { class: "gate" }, h("span", {}, shown), box, tone);
  }
}
