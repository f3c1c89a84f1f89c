/** The whole sequence in a narrow band, with the window on it; shown where not all of it fits into the strip. */

import { named } from "./colour";
import { h, sized } from "./dom";
import type { Loaded } from "./scene";
import type { View } from "./view";

const HEIGHT = 26;

export class Overview {
  readonly element: HTMLCanvasElement;

  constructor(
    private readonly loaded: Loaded,
    private readonly view: View,
    private readonly moved: () => void,
  ) {
    this.element = h("canvas", { class: "overview", "aria-hidden": "true" });
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      this.go(event);
    });
    this.element.addEventListener("pointermove", (event) => {
      if (this.element.hasPointerCapture(event.pointerId)) this.go(event);
    });
  }

  private go(event: PointerEvent): void {
    const share = event.offsetX / this.view.span;
    this.view.left = this.view.span / 2 - this.view.edge - share * this.view.steps * this.view.width;
    this.view.settle();
    this.moved();
  }

  draw(leaf: string): void {
    const { view } = this;
    const needed = view.total > view.span + 1 && view.fold === 0;
    this.element.hidden = !needed;
    const context = needed ? sized(this.element, view.span, HEIGHT) : null;
    if (!context) return;
    const lane = view.lanes[0]!;
    const heat = this.loaded.heat(lane.layer, lane.direction, leaf);
    const ratio = window.devicePixelRatio || 1;
    context.clearRect(0, 0, view.span, HEIGHT);
    const width = view.span / view.steps;
    heat.draw(context, { left: 0, top: 0, width, height: HEIGHT, from: 0, to: view.steps, ratio });
    const [from, to] = view.visible;
    context.strokeStyle = named("ink");
    context.lineWidth = 2;
    context.strokeRect(from * width + 1, 1, Math.max(4, (to - from) * width - 2), HEIGHT - 2);
  }
}
