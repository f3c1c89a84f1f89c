/** The texts of a strip: inputs below, outputs above, as elements that are made for the steps in the window only. */

import { css, ink } from "./colour";
import { h } from "./dom";
import type { Group, Loaded } from "./scene";
import type { View } from "./view";
import { say, speaks } from "./words";

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
  /** From this width of a step on there are texts. */
  private readonly least: number;

  constructor(
    private readonly loaded: Loaded,
    private readonly view: View,
    private readonly group: Group,
    private readonly hands: { choose: (step: number) => void; hover: (step: number | null) => void },
  ) {
    const inputs = loaded.scene.inputs;
    const letters = inputs.kind === "tokens" && inputs.texts.every((text) => text.length < 3);
    this.least = letters ? 9 : 20;
    this.sides = [h("span", { class: "side" }), h("span", { class: "side" })];
    this.element.append(...this.sides);
  }

  word(): void {
    this.sides[0].textContent = say("initial");
    this.sides[1].textContent = say("final");
  }

  /** Put every text where its step is. */
  place(chosen: number): void {
    const { view } = this;
    this.element.classList.toggle("tight", view.width < 20);
    const shown = view.width >= this.least && view.fold < 0.5;
    const [from, to] = shown ? view.visible : [0, 0];
    for (const [step, pair] of this.pairs) {
      if (step >= from && step < to) continue;
      pair.input.remove();
      pair.output?.remove();
      this.pairs.delete(step);
    }
    for (let step = from; step < to; step++) {
      const pair = this.pairs.get(step) ?? this.make(step);
      for (const part of [pair.input, pair.output]) {
        if (!part) continue;
        part.style.transform = `translateX(${view.x(step)}px)`;
        part.style.width = `${view.width}px`;
        part.style.opacity = String(1 - 2 * view.fold);
        part.classList.toggle("chosen", step === chosen);
      }
    }
    const room = view.edge >= (speaks() === "zh" ? 24 : 34) && view.fold === 0;
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
      output.style.top = `${this.view.top - 50}px`;
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
