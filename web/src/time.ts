/** Through time: how far a gradient comes back, how long the state is, its path, and how far two scenes lie apart. */

import { chart, type Line } from "./chart";
import { grid, type Grid } from "./decode";
import { h, put, s } from "./dom";
import { ending } from "./endings";
import type { Loaded } from "./scene";
import { changed, type Store } from "./store";
import type { Direction, Flow, Layer, Numbers, Ways } from "./types";
import { both, layerName, percent, say } from "./words";

/** Points of a path that are drawn at most. */
const MOST = 4000;

export class TimePanel {
  readonly element = h("section", { id: "time", "aria-labelledby": "time-title" });
  /** The path of the state: a panel of its own. */
  readonly path = h("section", { id: "trajectory", "aria-labelledby": "trajectory-title" });
  private turn = 0;

  constructor(
    private readonly store: Store,
    private readonly scenes: Loaded[],
  ) {
    store.on((now, before) => {
      if (changed(now, before, "scene", "language", "layer")) void this.show();
    });
  }

  async show(): Promise<void> {
    const turn = ++this.turn;
    const now = this.store.now;
    const loaded = this.scenes[now.scene]!;
    const { flow } = loaded.scene;
    const { layers } = this.store.look.model;
    const parts: (HTMLElement | null)[] = [h("h2", { id: "time-title" }, say("time"))];
    if (this.scenes.length === 2) parts.push(this.apart());
    if (flow?.layers && flow.sentence) {
      parts.push(
        this.part("flow", "flowHelp", both(flow.sentence), await named(layers, flow.layers), true),
        h("p", { class: "fact", id: "memory" }, say("memory", { steps: memories(layers, flow) })),
      );
    }
    if (flow) {
      parts.push(
        this.part("norms", "normsHelp", "", await named(layers, flow.norm), false),
        h("h3", {}, say("saturation")),
        h("p", { class: "quiet" }, say("saturationHelp")),
        saturated(layers, flow),
      );
    }
    const paths = await Promise.all(this.scenes.map((each) => each.scene.trajectory[now.layer]).filter((each) => each !== undefined).map(grid));
    if (turn !== this.turn) return;
    put(this.element, ...parts);
    this.path.hidden = paths.length !== this.scenes.length;
    if (!this.path.hidden) put(this.path, ...this.paths(paths));
  }

  private part(title: "flow" | "norms", help: "flowHelp" | "normsHelp", sentence: string, lines: Line[], log: boolean): HTMLElement {
    return h(
      "div",
      { class: "part", id: title },
      h("h3", {}, say(title)),
      sentence ? h("p", { class: "sentence" }, sentence) : null,
      h("p", { class: "quiet" }, say(help)),
      chart(`${say(title)}. ${sentence}`, lines, say("step"), log),
    );
  }

  /** The distance of the states of two scenes, their ends side by side. */
  private apart(): HTMLElement {
    const [one, other] = [this.scenes[0]!, this.scenes[1]!];
    const leaf = this.store.now.leaf;
    const lines = one.layers.map((layer, index): Line => {
      const way = layer.directions[0]!;
      const [a, b] = [one.heat(index, way, leaf), other.heat(index, way, leaf)];
      const both = Math.min(a.steps, b.steps);
      const values = new Float32Array(both);
      for (let i = 0; i < both; i++) {
        const [left, right] = [a.row(a.steps - both + i), b.row(b.steps - both + i)];
        let sum = 0;
        for (let k = 0; k < left.length; k++) sum += (left[k]! - right[k]!) ** 2;
        values[i] = Math.sqrt(sum);
      }
      return { name: `${say("layer")} ${layerName(layer)}`, values };
    });
    return h(
      "div",
      { class: "part", id: "apart" },
      h("h3", {}, say("apart")),
      h("p", { class: "quiet" }, ending(this.scenes, "apart")),
      chart(say("apart"), lines, say("step")),
    );
  }

  /** A step by its number and its token; rows of numbers have too many digits for that. */
  private named(scene: number, step: number): string {
    const loaded = this.scenes[scene]!;
    return loaded.scene.inputs.kind === "rows" ? String(step + 1) : `${step + 1} ${loaded.read(loaded.groupOf(this.store.now.layer), step)}`;
  }

  /** The paths of all scenes in the one plane that they share. */
  private paths(paths: Grid[]): Element[] {
    const [wide, high, edge] = [640, 380, 40];
    const ends = [Infinity, -Infinity, Infinity, -Infinity];
    for (const { data } of paths) {
      for (let i = 0; i < data.length; i += 2) {
        ends[0] = Math.min(ends[0]!, data[i]!);
        ends[1] = Math.max(ends[1]!, data[i]!);
        ends[2] = Math.min(ends[2]!, data[i + 1]!);
        ends[3] = Math.max(ends[3]!, data[i + 1]!);
      }
    }
    const [x0, x1, y0, y1] = ends as [number, number, number, number];
    const span = Math.max((x1 - x0) / (wide - 2 * edge), (y1 - y0) / (high - 2 * edge)) || 1;
    const taken: [number, number][] = [];
    const root = s("svg", { viewBox: `0 0 ${wide} ${high}`, class: "chart path", role: "img", "aria-label": say("trajectory") });
    paths.forEach(({ data, shape }, i) => {
      const at = (step: number): [number, number] => [
        wide / 2 + (data[2 * step]! - (x0 + x1) / 2) / span,
        high / 2 - (data[2 * step + 1]! - (y0 + y1) / 2) / span,
      ];
      root.append(onePath(shape[0] ?? 0, at, (step) => this.named(i, step), i, taken, wide));
    });
    return [
      h("h2", { id: "trajectory-title" }, `${say("trajectory")}: ${say("layer")} ${layerName(this.store.look.model.layers[this.store.now.layer]!)}`),
      h("p", { class: "quiet" }, say("trajectoryHelp")),
      root,
    ];
  }
}

/** `taken`: where names stand already; one that would lie over another is left out, and is told when its dot is pointed at. */
function onePath(
  steps: number, at: (step: number) => [number, number], name: (step: number) => string, scene: number, taken: [number, number][], wide: number,
): SVGElement {
  const each = Math.max(1, Math.ceil(steps / MOST));
  const shown = Array.from({ length: Math.ceil(steps / each) }, (_, i) => i * each);
  if (steps && shown.at(-1) !== steps - 1) shown.push(steps - 1);
  const group = s("g", { class: `p${scene}` });
  const line = shown.map((step) => at(step).map((value) => value.toFixed(1)).join(",")).join(" ");
  group.append(s("polyline", { class: `stroke c${scene}`, points: line, "stroke-dasharray": scene ? "5 3" : null }));
  // both ends have their names before others
  const free = ([x, y]: [number, number]): boolean => taken.every(([a, b]) => Math.abs(a - x) > 54 || Math.abs(b - y) > 13);
  const named = new Set<number>();
  for (const step of [steps - 1, 0, ...shown]) {
    if (steps && !named.has(step) && free(at(step))) {
      taken.push(at(step));
      named.add(step);
    }
  }
  shown.forEach((step) => {
    if (shown.length > 400 && step !== 0 && step !== steps - 1) return;
    const [x, y] = at(step);
    const end = step === 0 ? "first" : step === steps - 1 ? "last" : "dot";
    const dot = s("circle", { cx: x, cy: y, r: end === "dot" ? 3 : 5.5, class: end }, s("title", {}, name(step)));
    group.append(dot);
    if (named.has(step)) {
      const left = x > wide - 90;
      group.append(s("text", { x: left ? x - 8 : x + 8, y: y - 6, "text-anchor": left ? "end" : null }, name(step)));
    }
  });
  return group;
}

async function named(about: Layer[], layers: Ways<Numbers>[]): Promise<Line[]> {
  const lines: Promise<Line>[] = [];
  layers.forEach((ways, layer) => {
    for (const [way, values] of Object.entries(ways)) {
      const name = laneName(about[layer]!, way);
      lines.push(grid(values).then((each) => ({ name, values: each.data })));
    }
  });
  return Promise.all(lines);
}

function laneName(layer: Layer, way: string): string {
  const both = layer.directions.length > 1;
  return `${say("layer")} ${layerName(layer)}${both ? say("wayOf", { way: say(way as Direction) }) : ""}`;
}

function memories(about: Layer[], flow: Flow): string {
  return (flow.memory ?? [])
    .flatMap((ways, layer) =>
      Object.entries(ways).map(([way, steps]) => `${laneName(about[layer]!, way)}: ${steps ?? say("none")}`))
    .join("; ");
}

/** Shares of values near the ends of their range: a row for each layer and direction, low and high of each gate and value. */
function saturated(about: Layer[], flow: Flow): HTMLElement {
  const lanes = flow.saturation.flatMap((ways, layer) => Object.entries(ways).map(([way, values]) => ({ name: laneName(about[layer]!, way), values })));
  const names = [...new Set(lanes.flatMap(({ values }) => Object.keys(values)))];
  const rows = lanes.map(({ name, values }) =>
    h("tr", {}, h("th", { scope: "row" }, name), ...names.flatMap((each) => {
      const share = values[each];
      const told = share ? [share.shut ?? share.low ?? 0, share.open ?? share.high ?? 0] : [null, null];
      return told.map((one) => h("td", {}, one === null ? "" : percent(one)));
    })),
  );
  const head = [
    h("tr", {}, h("td", {}), ...names.map((name) => h("th", { scope: "colgroup", colspan: 2 }, name))),
    h("tr", {}, h("td", {}), ...names.flatMap(() => [say("low"), say("high")].map((word) => h("th", { scope: "col", class: "quiet" }, word)))),
  ];
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("saturation") },
    h("table", { id: "saturation" }, h("thead", {}, ...head), h("tbody", {}, ...rows)));
}
