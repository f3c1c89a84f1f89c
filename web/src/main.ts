/** The page: reads the look that stands in it, and puts its parts together. */

import { onScheme } from "./colour";
import { CellPanel } from "./cell";
import { counted } from "./counted";
import { fromBase64, grids } from "./decode";
import { h, put, save, seen } from "./dom";
import { Reruns } from "./reruns";
import { isStateless, leavesOf, Loaded } from "./scene";
import { changed, Store, type Chosen } from "./store";
import { Strip } from "./strip";
import { TimePanel } from "./time";
import { Tour } from "./tour";
import type { Look } from "./types";
import { UnitsPanel } from "./units";
import { WhatIfPanel } from "./whatif";
import { WhyPanel } from "./why";
import { layerName, number, percent, say, sayName, speak } from "./words";

/** Rows of the table for who cannot see the strip. */
const TABLE = 120;

class Page {
  private readonly store: Store;
  private readonly live = h("p", { class: "unseen", role: "status", "aria-live": "polite", id: "live" });
  private readonly tour: Tour;
  private readonly top = h("header", {});
  private readonly controls = h("div", { class: "controls", role: "group" });
  private readonly about = h("div", { class: "about" });
  private readonly table = h("details", { class: "table" });
  private readonly foot = h("footer", {});
  /** Of each scene. */
  private readonly strips: Strip[][];

  constructor(
    private readonly look: Look,
    private readonly scenes: Loaded[],
  ) {
    const first = look.model.layers[0]!;
    // what stands on top of the strip that reads the inputs, at its end
    const group = scenes[0]!.groups.find((each) => each.reads === "inputs") ?? scenes[0]!.groups[0]!;
    const layer = group.layers.at(-1)!;
    const direction = look.model.layers[layer]!.directions[0]!;
    const last = Math.max(0, group.steps - 1);
    const chinese = /^zh/.test(navigator.language);
    this.store = new Store(look, {
      language: chinese ? "zh" : "en",
      scene: 0, step: last, layer, direction, unit: strongest(scenes[0]!, layer, last), leaf: leavesOf(first)[0]!,
      ordered: true, folded: false,
    });
    const inLanguage = ({ language }: Chosen): void => {
      speak(language);
      document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    };
    inLanguage(this.store.now);
    // before anything that is drawn in words
    this.store.on(inLanguage);
    for (const scene of scenes) scene.reorder(true);
    const tell = (text: string): void => void (this.live.textContent = text);
    this.strips = scenes.map((scene, i) => scene.groups.map((group) => new Strip(this.store, scene, i, group, tell)));
    for (const [i, strips] of this.strips.entries()) {
      const about = strips[scenes[i]!.groups.indexOf(scenes[i]!.explained)]!;
      for (const strip of strips) strip.explainer = about;
    }
    this.tour = new Tour(this.store, scenes);
  }

  async start(): Promise<void> {
    const { store, scenes } = this;
    const reruns = new Reruns(this.look, scenes);
    const cell = new CellPanel(store, scenes, reruns);
    const why = new WhyPanel(store, scenes);
    const whatIf = new WhatIfPanel(store, scenes, reruns);
    const time = new TimePanel(store, scenes);
    const units = new UnitsPanel(store, scenes);
    const stage = h("div", { class: scenes.length > 1 ? "scenes two" : "scenes" }, ...this.strips.map((strips, i) => this.framed(strips, i)));
    const strip = h("section", { id: "strip", "aria-labelledby": "strip-title" }, this.about, this.controls, stage, this.table);
    const main = h("main", {}, strip,
      arranged([cell.element, why.element, whatIf.element, time.element, time.path, units.element], [1, 3]),
    );
    document.body.prepend(this.top, main, this.foot, this.live);
    this.word();
    this.follow();
    // what stands below the strip comes after it is painted
    await painted();
    await idle();
    units.render();
    await Promise.all([cell.show(), why.show(), whatIf.load(), time.show()]);
    document.documentElement.dataset.ready = told();
  }

  private framed(strips: Strip[], index: number): HTMLElement {
    const scene = this.look.scenes[index]!;
    const keep = h("button", { class: "small", "data-save": index, onclick: () => void this.saveFinal(index) });
    const answer = h("p", { class: "answer-line", dir: "auto" });
    const word = (): void => {
      keep.textContent = say("saveFinal");
      put(answer, h("span", { class: "quiet" }, `${say("answer")}: `), answerText(scene.answer));
    };
    word();
    this.store.on((now, before) => changed(now, before, "language") && word());
    return h("figure", {}, h("figcaption", { dir: "auto" }, seen(scene.title)), ...strips.map((strip) => strip.element), h("div", { class: "under" }, answer, keep));
  }

  /** The final state: as the file that a session goes on from, or as numbers for a model that does not stream. */
  private async saveFinal(index: number): Promise<void> {
    const scene = this.look.scenes[index]!;
    if (scene.file !== null) {
      save(`final-state-${index + 1}.safetensors`, fromBase64(scene.file), "application/octet-stream");
      return;
    }
    const state = Object.fromEntries(
      Object.entries(await grids(scene.final)).map(([name, values]) => [name, Array.from(values.data)]),
    );
    const content = JSON.stringify({ format: "recurra-final-state", model: this.look.model.hash, title: scene.title, state }, null, 1);
    save(`final-state-${index + 1}.json`, content, "application/json");
  }

  private follow(): void {
    onScheme(() => {
      for (const scene of this.scenes) scene.recolour();
      for (const strip of this.strips.flat()) strip.redraw();
    });
    this.store.on((now, before) => {
      if (changed(now, before, "language")) {
        this.word();
        for (const strip of this.strips.flat()) strip.word();
      }
      if (changed(now, before, "ordered")) for (const scene of this.scenes) scene.reorder(now.ordered);
      if (changed(now, before, "folded")) {
        void Promise.all(this.strips.flat().map((strip) => strip.fold(now.folded)));
        this.tellFold();
        this.live.textContent = now.folded ? this.wholly() : this.counted();
      }
      if (changed(now, before, "step", "scene") && this.table.open) this.rows();
      if (changed(now, before, "scene")) this.tellFold();
    });
    this.table.addEventListener("toggle", () => this.table.open && this.rows());
  }

  private wholly(): string {
    return say(isStateless(this.look.model.layers) ? "foldedStateless" : "folded");
  }

  private counted(): string {
    return counted(this.look, this.scenes[this.store.now.scene]!);
  }

  /** Everything of the frame that is words. */
  private word(): void {
    const { store, look } = this;
    const now = store.now;
    const held = document.activeElement?.id;
    document.title = `${say("title")}: ${look.scenes.map((scene) => scene.title).join(" / ")}`;
    put(
      this.top,
      h("div", {}, h("h1", {}, say("title")), h("p", { class: "quiet" }, say(isStateless(look.model.layers) ? "leadStateless" : "lead", { cell: (look.model.cell ?? look.model.layers[0]!.cell).toUpperCase(), kind: sayName(look.model.kind) }))),
      h(
        "div",
        { class: "corner" },
        h("button", { class: "primary", id: "tour", onclick: () => this.tour.start() }, say("tourStart")),
        h("button", { id: "language", lang: now.language === "en" ? "zh-CN" : "en", onclick: () => store.set({ language: now.language === "en" ? "zh" : "en" }) }, say("other")),
      ),
    );
    put(
      this.about,
      h("h2", { id: "strip-title" }, say("strip")),
      h("p", { class: "sentence", id: "counted" }),
      h("p", { class: "quiet" }, say("stripHelp")),
    );
    const all = (act: (strip: Strip) => void) => () => this.strips.flat().forEach(act);
    const leaves = [...new Set(look.model.layers.flatMap(leavesOf))];
    put(
      this.controls,
      h("button", { id: "fold", class: "primary", onclick: () => store.set({ folded: !store.now.folded }) }),
      h("button", { id: "zoom-in", onclick: all((strip) => strip.zoom(1.5)) }, say("zoomIn")),
      h("button", { id: "zoom-out", onclick: all((strip) => strip.zoom(1 / 1.5)) }, say("zoomOut")),
      h("button", { id: "fit", onclick: all((strip) => strip.fit()) }, say("fit")),
      h("label", {}, h("input", { type: "checkbox", id: "ordered", checked: now.ordered, onchange: (event: Event) => store.set({ ordered: (event.target as HTMLInputElement).checked }) }), say("ordered")),
      leaves.length > 1
        ? h("label", {}, say("leaf"), h("select", { id: "leaf", onchange: (event: Event) => store.set({ leaf: (event.target as HTMLSelectElement).value }) },
            ...leaves.map((leaf) => h("option", { value: leaf, selected: leaf === now.leaf }, leaf))))
        : null,
    );
    this.tellFold();
    if (held) document.getElementById(held)?.focus({ preventScroll: true });
    put(this.table, h("summary", {}, say("table")));
    if (this.table.open) this.rows();
    put(this.foot, h("p", {}, say("footer", { hash: look.model.hash.slice(0, 12) })));
  }

  /** Whether it is folded: on the button, and in the sentence that counts the parameters. */
  private tellFold(): void {
    const folded = this.store.now.folded;
    const button = this.controls.querySelector("#fold")!;
    button.setAttribute("aria-pressed", String(folded));
    button.textContent = say(folded ? "unfold" : "fold");
    this.about.querySelector("#counted")!.textContent = `${folded ? `${this.wholly()} ` : ""}${this.counted()}`;
  }

  /** The steps around the chosen one as a table. */
  private rows(): void {
    const now = this.store.now;
    const loaded = this.scenes[now.scene]!;
    const from = Math.max(0, Math.min(loaded.steps - TABLE, now.step - TABLE / 2));
    const to = Math.min(loaded.steps, from + TABLE);
    const lanes = loaded.groups
      .filter((group) => group.reads === "inputs")
      .flatMap((group) => group.layers.flatMap((index) => this.look.model.layers[index]!.directions.map((way) => ({ index, way }))));
    const head = [say("step"), say("input"), ...lanes.map(({ index, way }) => `${say("norm")}, ${say("layer")} ${layerName(this.look.model.layers[index]!)} ${say(way)}`), say("output")];
    const rows: HTMLElement[] = [];
    for (let step = from; step < to; step++) {
      const norms = lanes.map(({ index, way }) => number(loaded.heat(index, way, now.leaf).norm(step)));
      const cells = [loaded.input(step), ...norms, loaded.outputInFull(step)];
      rows.push(h("tr", { class: step === now.step ? "chosen" : null }, h("th", { scope: "row" }, step + 1), ...cells.map((text) => h("td", { dir: "auto" }, text))));
    }
    const body = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("table") },
      h("table", {}, h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...rows)));
    put(this.table, h("summary", {}, say("table")), to - from < loaded.steps ? h("p", { class: "quiet small" }, say("more")) : null, body);
  }
}

/** Panels one below the other in their order, which is the order that keys reach them in; on a wide screen in two columns,
 *  those at the places `right` in the second one. */
function arranged(panels: HTMLElement[], right: number[]): HTMLElement {
  const box = h("div", { class: "panels" });
  const wide = matchMedia("(min-width: 70rem)");
  const arrange = (): void => {
    const held = document.activeElement as HTMLElement | null;
    const column = (second: boolean): HTMLElement => h("div", {}, ...panels.filter((_, place) => right.includes(place) === second));
    put(box, ...(wide.matches ? [column(false), column(true)] : panels));
    // what is put elsewhere loses the focus
    if (held && box.contains(held)) held.focus({ preventScroll: true });
  };
  wide.addEventListener("change", arrange);
  arrange();
  return box;
}

/** Milliseconds since the address was asked for, as they are noted on the document for who measures. */
function told(): string {
  return String(Math.round(performance.now()));
}

/** Until what was drawn has been handed to the screen. */
function painted(): Promise<void> {
  return new Promise((done) =>
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        document.documentElement.dataset.painted = told();
        done();
      }),
    ),
  );
}

/** Until the browser has nothing more urgent to do. */
function idle(): Promise<void> {
  return new Promise((done) => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => done(), { timeout: 400 });
    else setTimeout(done, 60);
  });
}

/** The unit of a layer that is furthest from zero at a step: a good one to begin with. */
function strongest(loaded: Loaded, layer: number, step: number): number {
  const row = loaded.heat(layer, loaded.layers[layer]!.directions[0]!, "").row(step);
  return row.reduce((best, value, k) => (Math.abs(value) > Math.abs(row[best]!) ? k : best), 0);
}

/** An answer as predict gives it, in one line. */
function answerText(answer: unknown): string {
  if (answer === null || answer === undefined) return say("none");
  if (typeof answer === "number") return number(answer);
  if (typeof answer === "string") return seen(answer);
  if (Array.isArray(answer)) return answer.slice(0, 12).map(answerText).join(", ") + (answer.length > 12 ? " …" : "");
  const found = answer as Record<string, unknown>;
  if (Array.isArray(found.mean)) return forecast(found as Record<string, number[]>);
  if (typeof found.translation === "string") return seen(found.translation);
  if (Array.isArray(found.spans)) return [spans(found.spans as Span[]), ...(found.probabilities ? [answerText({ probabilities: found.probabilities })] : [])].join("; ");
  if (found.probabilities && typeof found.probabilities === "object") return shares(Object.entries(found.probabilities));
  if (Array.isArray(found.next)) return shares(found.next.map((each) => [each.token, each.probability]));
  return Object.entries(found)
    .map(([name, value]) => `${name} ${answerText(value)}`)
    .join("; ");
}

/** The next values of a forecast, each with the bounds of 95 of 100. */
function forecast(found: Record<string, number[]>): string {
  const [mean, low, high] = [found.mean!, found["lo-95"], found["hi-95"]];
  const brief = (value: number | undefined): string => (value === undefined ? "" : number(Number(value.toPrecision(3))));
  const told = mean.slice(0, 6).map((value, i) => (low && high ? `${number(value)} (${brief(low[i])}–${brief(high[i])})` : number(value)));
  return `${told.join(", ")}${mean.length > 6 ? " …" : ""} ${low && high ? say("forecastMore", { n: mean.length }) : ""}`;
}

interface Span {
  type: string;
  text?: string;
  start: number;
  end: number;
}

/** What a tagger found, each with its type. */
function spans(found: Span[]): string {
  if (!found.length) return say("noSpans");
  return found.map((span) => `${span.text === undefined ? `${span.start + 1}–${span.end}` : seen(span.text)} ${span.type}`).join(", ");
}

function shares(named: [string, number][]): string {
  return named.map(([name, share]) => `${seen(name)} ${percent(share)}`).join(", ");
}

async function main(): Promise<void> {
  const look = JSON.parse(document.getElementById("look")!.textContent!) as Look;
  const scenes = await Promise.all(look.scenes.map((scene) => Loaded.of(scene, look.model.layers)));
  await new Page(look, scenes).start();
}

void main().catch((error: unknown) => {
  document.body.prepend(h("p", { class: "failed", role: "alert" }, String(error)));
  console.error(error);
});
