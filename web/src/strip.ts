/** The unrolled strip of one scene: heat on a canvas, what is read as elements over it; mouse, touch and keys. */

import { named } from "./colour";
import { grid } from "./decode";
import { h, put, sized } from "./dom";
import { arrows, edges, folded, type Painter } from "./arrows";
import { blockOf } from "./heat";
import { curves } from "./curves";
import { Labels, ROWS } from "./labels";
import { marks, marksOf, room, type Marks } from "./marks";
import { Overview } from "./overview";
import type { Group, Loaded } from "./scene";
import { changed, type Chosen, type Store } from "./store";
import { CELLS, View } from "./view";
import { layerName, number, say } from "./words";

const FOLDING = 750;

export class Strip {
  readonly element: HTMLElement;
  readonly view: View;
  private readonly canvas = h("canvas", { "aria-hidden": "true" });
  private readonly window: HTMLElement;
  private readonly labels: Labels;
  private readonly overview: Overview;
  private readonly legend = h("p", { class: "quiet small" });
  private marks: Marks | null = null;
  private lit = 0;
  private asked = false;
  private fitted = false;
  private readonly fingers = new Map<number, PointerEvent>();
  private dragged = 0;

  constructor(
    private readonly store: Store,
    readonly loaded: Loaded,
    private readonly index: number,
    private readonly group: Group,
    private readonly tell: (text: string) => void,
  ) {
    const layers = store.look.model.layers;
    const inside = group.layers.map((layer) => ({ layer, directions: layers[layer]!.directions.filter((way) => loaded.scene.layers[layer]![way]) }));
    const units = Math.min(...group.layers.map((layer) => layers[layer]!.hidden));
    this.view = new View(group.steps, inside, units, group.speaks, group.reads === "inputs" ? room(loaded.scene) : 0);
    this.labels = new Labels(loaded, this.view, group, {
      choose: (step) => this.choose({ step }),
      hover: (step) => this.hover(step),
    });
    this.window = h(
      "div",
      { class: "strip", tabindex: 0, role: "application", "aria-roledescription": "strip", "data-scene": index },
      this.canvas,
      this.labels.element,
    );
    this.overview = new Overview(loaded, this.view, () => this.redraw());
    this.element = h("div", { class: "scene" }, this.window, this.overview.element, this.legend);
    this.window.style.height = `${this.view.height}px`;
    this.listen();
    this.word();
    new ResizeObserver(() => this.resize()).observe(this.window);
  }

  /** Everything that is words, once more. */
  word(): void {
    const names = this.group.layers.map((layer) => layerName(this.store.look.model.layers[layer]!)).join(", ");
    const text = `${say("parts", { title: this.loaded.scene.title })}: ${names}. ${say("keys")}`;
    this.window.setAttribute("aria-label", text);
    this.labels.word();
    this.relight();
    this.redraw();
  }

  private resize(): void {
    const span = this.window.clientWidth;
    if (!span || (this.fitted && span === this.view.span)) return;
    this.view.span = span;
    if (this.fitted) this.view.settle();
    else this.view.open(this.labels.readable);
    this.fitted = true;
    this.draw();
  }

  fit(): void {
    this.view.fit();
    this.redraw();
  }

  zoom(factor: number): void {
    this.view.zoom(factor);
    this.redraw();
  }

  /** Fold the strip into one cell, or unroll it, in front of the eyes; at once for who wants no motion. */
  fold(closed: boolean): Promise<void> {
    const view = this.view;
    const goal = closed ? 1 : 0;
    if (closed && view.width < CELLS) view.zoom(56 / view.width, view.x(this.store.now.step) + view.width / 2);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const [from, begun] = [view.fold, performance.now()];
    return new Promise((done) => {
      const move = (time: number): void => {
        const share = still ? 1 : Math.min(1, Math.max(0, (time - begun) / FOLDING));
        view.fold = from + (goal - from) * (share < 0.5 ? 2 * share * share : 1 - 2 * (1 - share) ** 2);
        this.draw();
        if (share < 1) requestAnimationFrame(move);
        else done();
      };
      requestAnimationFrame(move);
    });
  }

  redraw(): void {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.draw();
    });
  }

  private draw(): void {
    const { view, loaded } = this;
    if (!this.fitted) return;
    const context = sized(this.canvas, view.span, view.height);
    if (!context) return;
    const now = this.store.now;
    const ratio = window.devicePixelRatio || 1;
    context.clearRect(0, 0, view.span, view.height);
    const ink = { rule: named("line"), ink: named("ink"), soft: named("soft"), accent: named("model"), card: named("card") };
    const painter: Painter = { context, view, loaded, group: this.group, ink, layers: this.store.look.model.layers };
    const [from, to] = view.visible;
    arrows(painter);
    for (const lane of view.lanes) {
      const heat = loaded.heat(lane.layer, lane.direction, now.leaf);
      const box = { y: lane.top, height: view.laneHeight, ratio };
      if (view.width < CELLS && view.fold === 0) {
        heat.draw(context, { left: view.x(0), top: lane.top, width: view.width, height: view.laneHeight, from, to, ratio });
      } else {
        const inset = view.inset;
        for (let step = from; step < to; step++) {
          const x = view.x(step) + inset;
          heat.drawStep(context, step, { ...box, x, width: view.width - 2 * inset });
          this.frame(context, x, lane.top, view.width - 2 * inset, ink.rule);
        }
      }
      if (this.index === now.scene && lane.layer === now.layer && lane.direction === now.direction && now.step < view.steps) {
        context.lineWidth = 2.5;
        this.frame(context, view.x(now.step) + view.inset - 1, lane.top, view.width - 2 * view.inset + 2, ink.accent);
        context.lineWidth = 1;
      }
    }
    edges(painter, now.leaf);
    if (this.group.reads === "inputs" && view.width < ROWS && view.fold === 0) curves(painter, loaded.numbers);
    marks(painter, this.marks);
    folded(painter);
    this.labels.place(this.holds(now) ? now.step : -1);
    this.overview.draw(now.leaf);
    this.tellScale();
  }

  private frame(context: CanvasRenderingContext2D, x: number, y: number, width: number, colour: string): void {
    context.strokeStyle = colour;
    context.strokeRect(x, y, width, this.view.laneHeight);
  }

  private tellScale(): void {
    const now = this.store.now;
    const lowest = this.view.lanes.at(-1)!;
    const scale = number(this.loaded.heat(lowest.layer, lowest.direction, now.leaf).scale);
    const block = blockOf(this.view.width * (window.devicePixelRatio || 1));
    const told = block > 1 ? say("scale", { scale, block }) : say("scaleOne", { scale });
    put(this.legend, this.view.below ? `${told} ${say("marked")}` : told);
  }

  /** Who lights the inputs that an output of this strip is explained by: of a translation another strip. */
  explainer: Strip = this;

  private hover(step: number | null): void {
    if (step === null) this.explainer.relight();
    else void this.explainer.light(step);
  }

  /** The chosen step's reasons; of another scene those of its end. */
  private relight(): void {
    const now = this.store.now;
    const here = now.scene === this.index && this.loaded.groupOf(now.layer).speaks;
    if (this.group === this.loaded.explained) void this.light(here ? now.step : this.loaded.steps - 1);
  }

  /** Colour the inputs by what they counted for the output of a step, where that is known. */
  private async light(step: number): Promise<void> {
    const why = this.loaded.scene.why.findLast((each) => each.target.step === step);
    const method = why && (why.methods.integrated ?? Object.values(why.methods)[0]);
    const turn = ++this.lit;
    const [values, found] = await Promise.all([method ? grid(method) : null, why && this.view.below ? marksOf(why) : null]);
    if (turn !== this.lit) return;
    this.labels.light(values && values.data, step);
    this.marks = found;
    this.redraw();
  }

  // ---- what is chosen

  /** Whether what is chosen stands in this strip. */
  private holds(now: Chosen): boolean {
    return now.scene === this.index && this.group.layers.includes(now.layer);
  }

  private choose(where: { step?: number; layer?: number; direction?: "ahead" | "back" }): void {
    const now = this.store.now;
    const first = this.view.lanes[0]!;
    const here = this.holds(now) ? {} : { layer: first.layer, direction: first.direction };
    const next = { ...now, scene: this.index, ...here, ...where };
    this.store.set({ ...next, step: Math.min(next.step, this.view.steps - 1) });
  }

  follow(): void {
    this.store.on((now, before) => {
      if (changed(now, before, "step", "scene") && this.holds(now)) this.view.show(now.step);
      if (changed(now, before, "scene", "step", "layer", "direction") && this.holds(now)) this.announce();
      if (changed(now, before, "step", "scene")) this.relight();
      this.redraw();
    });
  }

  private announce(): void {
    const now = this.store.now;
    const both = this.store.look.model.layers[now.layer]!.directions.length > 1;
    const output = this.group.speaks ? this.loaded.outputInFull(now.step) : "";
    this.tell(
      say("readStep", {
        step: now.step + 1,
        steps: this.view.steps,
        input: this.group.reads === "inputs" ? this.loaded.inputInFull(now.step) : this.loaded.read(this.group, now.step),
        layer: layerName(this.store.look.model.layers[now.layer]!),
        way: both ? say("wayOf", { way: say(now.direction) }) : "",
        norm: number(this.loaded.heat(now.layer, now.direction, now.leaf).norm(now.step)),
        said: output && say("saidOutput", { output }),
      }),
    );
  }

  // ---- hands

  private listen(): void {
    const target = this.window;
    target.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    target.addEventListener("pointerdown", (event) => this.down(event));
    target.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"] as const) target.addEventListener(end, (event) => this.up(event));
    target.addEventListener("keydown", (event) => this.key(event));
    this.follow();
  }

  private wheel(event: WheelEvent): void {
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.view.zoom(Math.exp(-event.deltaY * 0.004), event.clientX - this.window.getBoundingClientRect().left);
    } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      event.preventDefault();
      this.view.pan(-sideways);
    } else return;
    this.redraw();
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.fingers.set(event.pointerId, event);
    this.dragged = 0;
  }

  private move(event: PointerEvent): void {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const others = [...this.fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
    const other = others[0];
    if (other) {
      const apart = (finger: PointerEvent): number => Math.max(8, Math.abs(finger.clientX - other.clientX));
      const middle = (event.clientX + other.clientX) / 2 - this.window.getBoundingClientRect().left;
      this.view.zoom(apart(event) / apart(before), middle);
      this.dragged += 9;
    } else {
      const by = event.clientX - before.clientX;
      this.dragged += Math.abs(by);
      if (this.dragged > 4) {
        // taken only now, so that a click still reaches what it was meant for
        if (!this.window.hasPointerCapture(event.pointerId)) this.window.setPointerCapture(event.pointerId);
        this.view.pan(by);
      }
    }
    this.fingers.set(event.pointerId, event);
    this.redraw();
  }

  private up(event: PointerEvent): void {
    const held = this.fingers.delete(event.pointerId);
    if (!held || this.dragged > 4 || event.type === "pointercancel") return;
    const box = this.window.getBoundingClientRect();
    const lane = this.view.laneAt(event.clientY - box.top);
    const step = this.view.stepAt(event.clientX - box.left);
    if (step < 0 || step >= this.view.steps || this.view.fold > 0) return;
    this.choose(lane ? { step, layer: lane.layer, direction: lane.direction } : { step });
  }

  private key(event: KeyboardEvent): void {
    const now = this.store.now;
    const [last, view] = [this.view.steps - 1, this.view];
    const step = this.holds(now) ? now.step : 0;
    const lane = view.lanes.findIndex((one) => one.layer === now.layer && one.direction === now.direction);
    const to = (next: number): void => this.choose({ step: Math.min(last, Math.max(0, next)) });
    const over = (by: number): void => {
      const next = view.lanes[lane + by];
      if (next) this.choose({ layer: next.layer, direction: next.direction });
    };
    const page = Math.max(1, Math.round(view.span / view.width));
    const actions: Record<string, () => void> = {
      ArrowRight: () => to(step + 1),
      ArrowLeft: () => to(step - 1),
      ArrowUp: () => over(-1),
      ArrowDown: () => over(1),
      PageDown: () => to(step + page),
      PageUp: () => to(step - page),
      Home: () => to(0),
      End: () => to(last),
      "+": () => this.zoom(1.4),
      "=": () => this.zoom(1.4),
      "-": () => this.zoom(1 / 1.4),
      f: () => this.store.set({ folded: !now.folded }),
      Enter: () => document.getElementById("cell")?.focus(),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }
}
