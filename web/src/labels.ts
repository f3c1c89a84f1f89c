/** The texts of a strip: inputs below, outputs above, as elements that are made for the steps in the window only. */

import { css, ink } from "./colour";
import { h } from "./dom";
import type { Group, Loaded } from "./scene";
import type { View } from "./view";
import { say, speaks } from "./words";

/** Width of a step from which on the numbers of a row can be read; below that they are drawn as curves. */
export const ROWS = 44;

/** Width of an output that stands alone. */
const ALONE = 150;

interface Pair {
  input: HTMLElement;
  output: HTMLElement | null;
}

export class Labels {
  readonly element = h("div", { class: "labels" });
  private readonly pairs = new Map<number, Pair>();
  private readonly sides: [HTMLElement, HTMLElement];
  private values: Float32Array | null = null;
  private scale = 1;
  /** From this width of a step on there are texts of inputs, and of outputs. */
  private readonly least: number;
  private readonly leastOut: number;

  constructor(
    private readonly loaded: Loaded,
    private readonly view: View,
    private readonly group: Group,
    private readonly hands: { choose: (step: number) => void; hover: (step: number | null) => void },
  ) {
    const inputs = loaded.scene.inputs;
    const letters = inputs.kind === "tokens" && inputs.texts.every((text) => text.length < 3);
    this.least = inputs.kind === "rows" ? ROWS : letters ? 9 : 20;
    const said = loaded.scene.outputs.slice(0, 400).map((_, step) => loaded.output(step));
    this.leastOut = said.every((text) => [...text].length < 3) ? 9 : 28;
    this.sides = [h("span", { class: "side" }), h("span", { class: "side" })];
    this.element.append(...this.sides);
  }

  /** Width of a step that shows most of its texts. */
  get readable(): number {
    const inputs = this.loaded.scene.inputs;
    if (inputs.kind === "rows" || this.group.reads !== "inputs") return 0;
    const middle = inputs.texts.map((text) => [...text].length).sort((a, b) => a - b)[Math.floor(inputs.texts.length / 2)] ?? 1;
    return middle < 3 ? 20 : Math.min(56, 14 + 9 * middle);
  }

  word(): void {
    this.sides[0].textContent = say("initial");
    this.sides[1].textContent = say("final");
  }

  /** Put every text where its step is. */
  place(chosen: number): void {
    const { view } = this;
    this.element.classList.toggle("tight", view.width < 20);
    this.element.classList.toggle("narrow", view.width < 60);
    const shown = view.width >= Math.min(this.least, this.leastOut);
    const seen = view.visible;
    const only: [number, number] = chosen >= seen[0] && chosen < seen[1] ? [chosen, chosen + 1] : [0, 0];
    const [from, to] = view.fold >= 0.5 ? [0, 0] : shown ? seen : only;
    for (const [step, pair] of this.pairs) {
      if (step >= from && step < to) continue;
      pair.input.remove();
      pair.output?.remove();
      this.pairs.delete(step);
    }
    for (let step = from; step < to; step++) {
      const pair = this.pairs.get(step) ?? this.make(step);
      for (const [part, least] of [[pair.input, this.least], [pair.output, this.leastOut]] as const) {
        if (!part) continue;
        // where there is no room for all outputs, the chosen one has it
        const alone = part === pair.output && view.width < least && step === chosen;
        const width = alone ? Math.min(ALONE, view.span) : view.width;
        const x = alone ? Math.min(view.span - width, Math.max(0, view.x(step) + (view.width - width) / 2)) : view.x(step);
        part.hidden = view.width < least && !alone;
        part.classList.toggle("alone", alone);
        part.style.transform = `translateX(${x}px)`;
        part.style.width = `${width}px`;
        part.style.opacity = String(1 - 2 * view.fold);
        part.classList.toggle("chosen", step === chosen);
      }
    }
    const room = view.edge >= (speaks() === "zh" ? 30 : 34) && view.fold === 0;
    [-1, view.steps].forEach((at, i) => {
      const side = this.sides[i]!;
      side.hidden = !room;
      side.style.transform = `translateX(${view.x(at)}px)`;
      side.style.width = `${view.edge}px`;
      side.style.top = `${view.bottom - 22}px`;
    });
  }

  /** Colour inputs by how much each counted for the output of `step`; null: none is coloured. */
  light(values: Float32Array | null, step: number): void {
    this.values = values;
    this.scale = values ? values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0) || 1 : 1;
    this.element.dataset.lit = values ? String(step) : "";
    for (const [at, pair] of this.pairs) this.tint(at, pair);
  }

  private tint(step: number, pair: Pair): void {
    const share = (this.values?.[step] ?? 0) / this.scale;
    pair.input.style.background = this.values ? css(share) : "";
    pair.input.style.color = this.values ? ink(share) : "";
  }

  private make(step: number): Pair {
    const input = h("span", { class: "in", "data-step": step, dir: "auto", title: this.group.reads === "inputs" ? this.loaded.inputInFull(step) : null });
    input.textContent = this.loaded.read(this.group, step);
    input.style.top = `${this.view.bottom}px`;
    const said = this.group.speaks ? this.loaded.output(step) : "";
    let output: HTMLElement | null = null;
    if (said) {
      output = h("span", { class: "out", "data-step": step, dir: "auto", title: this.loaded.outputInFull(step) });
      output.append(h("span", {}, said));
      output.style.top = `${this.view.top - 56}px`;
      output.addEventListener("pointerenter", () => this.hands.hover(step));
      output.addEventListener("pointerleave", () => this.hands.hover(null));
      output.addEventListener("click", () => this.hands.choose(step));
    }
    this.element.append(input);
    if (output) this.element.append(output);
    const pair = { input, output };
    this.tint(step, pair);
    this.pairs.set(step, pair);
    return pair;
  }
}
