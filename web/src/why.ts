/** Why an output came out so: what each input counted by three ways of asking, side by side. */

import { css, ink, onScheme } from "./colour";
import { grid, grids, type Grid } from "./decode";
import { h, put, seen } from "./dom";
import type { Loaded } from "./scene";
import { changed, type Store } from "./store";
import type { Why } from "./types";
import { columns, members } from "./whose";
import { both, number, percent, say, sayName } from "./words";

/** Steps shown at once; of a longer sequence those around the target. */
const MOST = 160;

export class WhyPanel {
  readonly element = h("section", { id: "why", "aria-labelledby": "why-title" });
  private turn = 0;
  /** One of several reasons of the same step, where a person chose it. */
  private picked: number | null = null;
  /** By which way the columns are shown. */
  private method = "integrated";

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
  ) {
    store.on((now, before) => {
      if (changed(now, before, "scene", "step")) this.picked = null;
      if (changed(now, before, "scene", "step", "language")) void this.show();
    });
    onScheme(() => void this.show());
  }

  private pick(index: number): void {
    const step = this.scenes[this.store.now.scene]!.scene.why[index]!.target.step;
    this.store.set({ step });
    this.picked = index;
    void this.show();
  }

  /** The reasons for the chosen step, or for the nearest output that has some; of several the last, which tells most. */
  private chosen(): { whys: Why[]; index: number } {
    const now = this.store.now;
    const whys = this.scenes[now.scene]!.scene.why;
    const far = whys.map((why) => Math.abs(why.target.step - now.step));
    const index = this.picked ?? far.lastIndexOf(Math.min(...far));
    return { whys, index };
  }

  async show(): Promise<void> {
    const turn = ++this.turn;
    const { whys, index } = this.chosen();
    const title = h("h2", { id: "why-title" }, say("why"));
    const why = whys[index];
    if (!why) {
      put(this.element, title, h("p", { class: "quiet" }, say("whyNone")));
      return;
    }
    const methods = await grids(why.methods);
    const loaded = this.scenes[this.store.now.scene]!;
    const choose = (method: string): void => {
      this.method = method;
      void this.show();
    };
    const whose = await Promise.all([this.attention(), columns(why, loaded, this.method, choose), members(why, loaded)]);
    if (turn !== this.turn) return;
    const select = h(
      "select",
      {
        id: "why-target",
        onchange: (event: Event) => this.pick(Number((event.target as HTMLSelectElement).value)),
      },
      ...whys.map((each, i) => h("option", { value: i, selected: i === index }, targetName(each))),
    );
    const held = this.element.contains(document.activeElement) ? document.activeElement!.id : "";
    const open = [...this.element.querySelectorAll("details[open]")].map((each) => each.closest(".part")!.id);
    put(
      this.element,
      title,
      h("p", { class: "quiet" }, say("whyHelp")),
      h("div", { class: "chooser" }, h("label", { for: "why-target" }, say("whyFor")), select),
      h("p", { class: "sentence", "aria-live": "polite", dir: "auto" }, both(why.words)),
      this.table(why, methods),
      h("p", { class: "quiet" }, this.agreement(why)),
      h("p", { class: "quiet small" }, this.notes(why)),
      ...whose,
    );
    for (const id of open) this.element.querySelector(`#${id} details`)?.setAttribute("open", "");
    if (held) document.getElementById(held)?.focus();
    this.reveal(methods);
  }

  /** Bring what counted most into the window of a table that is wider than it. */
  private reveal(methods: Record<string, Grid>): void {
    const values = (methods.integrated ?? Object.values(methods)[0])?.data ?? [];
    const region = this.element.querySelector<HTMLElement>("#reasons");
    let head: HTMLElement | null = null;
    // of a long input the first steps have no number, and some have no place in the table
    let most = -1;
    for (const each of region?.querySelectorAll<HTMLElement>("th[data-step]") ?? []) {
      const size = Math.abs(values[Number(each.dataset.step)] ?? NaN);
      if (size > most) [most, head] = [size, each];
    }
    if (region && head) region.scrollLeft = head.offsetLeft - region.clientWidth / 2;
  }

  private agreement(why: Why): string {
    if (!why.disagree.length) return say("agree");
    const loaded = this.scenes[this.store.now.scene]!;
    const named = why.disagree.slice(0, 12).map((step) => (loaded.numbers ? String(step + 1) : `${step + 1} ${loaded.explaining(step)}`));
    return say("disagree", { steps: named.join(", ") + (why.disagree.length > 12 ? " …" : "") });
  }

  /** Of a translator, where each step looked; of long texts the first steps and tokens. */
  private async attention(): Promise<HTMLElement | null> {
    const { attention, inputs, steps } = this.scenes[this.store.now.scene]!.scene;
    if (!attention || inputs.kind !== "tokens" || !inputs.source) return null;
    const { data, shape } = await grid(attention);
    const width = shape[1] ?? 0;
    const source = inputs.source.slice(0, MOST);
    const rows = Array.from({ length: Math.min(steps, MOST) }, (_, step) =>
      h("tr", {}, h("th", { scope: "row", dir: "auto" }, seen(inputs.texts[step] ?? "")), ...source.map((_, at) => {
        const share = data[step * width + at] ?? NaN;
        const cell = h("td", { title: String(share) }, share >= 0.005 ? percent(share) : "·");
        cell.style.background = css(share);
        cell.style.color = ink(share);
        return cell;
      })),
    );
    const head = h("tr", {}, h("td", {}), ...source.map((text) => h("th", { scope: "col", dir: "auto" }, seen(text))));
    return h(
      "div",
      { class: "part", id: "attention" },
      h("h3", {}, say("attention")),
      h("p", { class: "quiet" }, say("attentionHelp")),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("attention") },
        h("table", { class: "why" }, h("thead", {}, head), h("tbody", {}, ...rows))),
    );
  }

  /** How the numbers were made, as far as it is told. */
  private notes(why: Why): string {
    const remark = this.scenes[this.store.now.scene]!.scene.remark;
    return [
      why.target.unit ? (why.target.unit === "value" ? say("unitOwn") : say("unitNote", { unit: why.target.unit })) : "",
      why.integral ? say("integralNote", { points: why.integral.points, error: number(Number(why.integral.error.toPrecision(2))) }) : "",
      (why.stretch ?? 1) > 1 ? say("stretchNote", { n: why.stretch! }) : "",
      remark ? (typeof remark === "string" ? remark : both(remark)) : "",
    ].filter(Boolean).join(" ");
  }

  private table(why: Why, methods: Record<string, Grid>): HTMLElement {
    const loaded = this.scenes[this.store.now.scene]!;
    const about = loaded.explained;
    // a translation is explained by its source, which the target is none of
    const target = about.reads === "source" ? -1 : why.target.step;
    const steps = about.steps;
    const from = Math.max(0, Math.min(steps - MOST, target - MOST + 20));
    const to = Math.min(steps, from + MOST);
    const disagree = new Set(why.disagree);
    const range = Array.from({ length: to - from }, (_, i) => from + i);
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, say(loaded.numbers ? "step" : "input")),
      ...range.map((step) =>
        h(
          "th",
          { scope: "col", dir: "auto", "data-step": step, class: step === target ? "target" : null, title: about.reads === "source" ? null : loaded.inputInFull(step) },
          // of a row there are too many digits for a head
          loaded.numbers ? step + 1 : loaded.explaining(step),
          disagree.has(step) ? h("i", { class: "unequal", title: say("disagree", { steps: step + 1 }) }, "≠") : null,
        ),
      ),
    );
    const rows = Object.entries(methods).map(([name, values]) => {
      let most = 0;
      for (const value of values.data) most = Math.max(most, Math.abs(value) || 0);
      return h(
        "tr",
        { "data-method": name },
        h("th", { scope: "row" }, sayName(name)),
        ...range.map((step) => {
          const value = values.data[step] ?? NaN;
          const share = most ? value / most : 0;
          const cell = h("td", { title: String(value) }, Math.abs(share) > 0.03 ? number(Number(value.toPrecision(2))) : "·");
          cell.style.background = css(share);
          cell.style.color = ink(share);
          return cell;
        }),
      );
    });
    const cut = to - from < steps ? h("p", { class: "quiet small" }, say("more")) : null;
    return h(
      "div",
      {},
      h(
        "div",
        { class: "scroll", id: "reasons", tabindex: 0, role: "region", "aria-label": say("why") },
        h("table", { class: "why" }, h("thead", {}, head), h("tbody", {}, ...rows)),
      ),
      cut,
    );
  }
}

function targetName(why: Why): string {
  const share = why.target.p === null ? "" : ` ${percent(why.target.p)}`;
  return `${say("step")} ${why.target.step + 1}: ${seen(why.target.text)}${share}`;
}
