/** What a strip has besides heat: arrows input → state → output and state → state, the states at both ends, the loop. */

import { place, pixels } from "./colour";
import type { Heat } from "./heat";
import type { Group, Loaded } from "./scene";
import type { Layer } from "./types";
import { CELLS, type LaneBox, type View } from "./view";
import { count, say } from "./words";

export interface Painter {
  context: CanvasRenderingContext2D;
  view: View;
  loaded: Loaded;
  layers: Layer[];
  group: Group;
  ink: { rule: string; ink: string; soft: string; accent: string; card: string };
}

function arrow(context: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 4) return;
  const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  const head = Math.min(5, length / 2);
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2 - dx * head, y2 - dy * head);
  context.stroke();
  context.beginPath();
  context.moveTo(x2, y2);
  context.lineTo(x2 - dx * head - dy * head * 0.55, y2 - dy * head + dx * head * 0.55);
  context.lineTo(x2 - dx * head + dy * head * 0.55, y2 - dy * head - dx * head * 0.55);
  context.fill();
}

/** The lanes of one layer, the lower first. */
function lanesOf(view: View, layer: number): LaneBox[] {
  return view.lanes.filter((lane) => lane.layer === layer).reverse();
}

/** Arrows of all steps that can be seen; none where steps are too narrow for them. */
export function arrows(painter: Painter): void {
  const { context, view, ink, loaded, group } = painter;
  if (view.width < CELLS) return;
  context.strokeStyle = context.fillStyle = ink.soft;
  context.lineWidth = 1.2;
  const [from, to] = view.visible;
  const high = view.laneHeight;
  for (let step = from; step < to; step++) {
    const middle = view.x(step) + view.width / 2;
    for (const [place, { layer }] of view.layers.entries()) {
      const lanes = lanesOf(view, layer);
      const under = view.layers[place - 1];
      const below = under ? lanesOf(view, under.layer).map((lane) => lane.top - 2) : [view.bottom - 6];
      lanes.forEach((lane, way) => {
        // the second of two lanes is reached past the first, at its side
        const x = middle + (lanes.length > 1 ? (way ? 1 : -1) * (view.width / 2 - view.inset - 5) : 0);
        if (way === 0) arrow(context, x, Math.min(...below), x, lane.top + high + 2);
        else beside(context, view.x(step) + view.width - view.inset / 2, x, Math.min(...below), lane.top + high + 2);
      });
    }
    const top = lanesOf(view, view.layers.at(-1)!.layer);
    if (group.speaks && loaded.output(step)) {
      const above = view.top - 14;
      const last = top.at(-1)!;
      arrow(context, middle, last.top - 2, middle, above);
      if (top.length > 1) beside(context, view.x(step) + view.inset / 2, middle - 4, top[0]!.top - 2, last.top - 12);
    }
  }
  between(painter, from, to);
}

/** A line that leaves at one height, goes up at the side, and comes in at another. */
function beside(context: CanvasRenderingContext2D, side: number, x: number, y1: number, y2: number): void {
  context.beginPath();
  context.moveTo(x, y1);
  context.lineTo(x, y1 - 3);
  context.lineTo(side, y1 - 3);
  context.lineTo(side, y2 + 7);
  context.lineTo(x, y2 + 7);
  context.stroke();
  arrow(context, x, y2 + 7, x, y2);
}

/** State → state, with those at both ends. */
function between(painter: Painter, from: number, to: number): void {
  const { context, view, ink, layers } = painter;
  context.strokeStyle = context.fillStyle = ink.accent;
  for (const lane of view.lanes) {
    if (layers[lane.layer]!.leaves.length === 0) continue;
    const y = lane.top + view.laneHeight / 2;
    for (let step = from - 1; step < to; step++) {
      if (view.fold > 0 && (step < from || step >= to - 1)) continue;
      const inset = (at: number): number => (at < 0 || at >= view.steps ? 4 : view.inset);
      const right = view.x(step) + view.widthOf(step) - inset(step) + 1;
      const left = view.x(step + 1) + inset(step + 1) - 1;
      if (lane.direction === "ahead") arrow(context, right, y, left, y);
      else arrow(context, left, y, right, y);
    }
  }
}

/** The initial and the final state, at the ends of the sequence. */
export function edges(painter: Painter, leaf: string): void {
  const { context, view, loaded, layers, ink } = painter;
  if (view.fold > 0) return;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (const lane of view.lanes) {
    if (layers[lane.layer]!.leaves.length === 0) continue;
    const heat = loaded.heat(lane.layer, lane.direction, leaf);
    const ahead = lane.direction === "ahead";
    const ends = [
      { at: ahead ? -1 : view.steps, values: loaded.initial(lane.layer, lane.direction, leaf) },
      { at: ahead ? view.steps : -1, values: heat.row(ahead ? view.steps - 1 : 0) },
    ];
    for (const { at, values } of ends) {
      const x = at < 0 ? view.x(-1) : view.x(view.steps);
      const wide = view.edge - 8;
      if (x > view.span || x + wide < 0) continue;
      column(context, values, heat, x + 4, lane.top, wide, view.laneHeight);
      context.strokeStyle = ink.soft;
      context.setLineDash([3, 2]);
      context.strokeRect(x + 4, lane.top, wide, view.laneHeight);
      context.setLineDash([]);
    }
  }
}

function column(
  context: CanvasRenderingContext2D, values: Float32Array, heat: Heat, x: number, y: number, wide: number, high: number,
): void {
  const colours = pixels();
  const rows = Math.min(values.length, Math.max(1, Math.round(high)));
  for (let row = 0; row < rows; row++) {
    const unit = heat.unitAt(Math.floor((row * values.length) / rows));
    const colour = colours[place(values[unit]! / heat.scale)]!;
    context.fillStyle = `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`;
    context.fillRect(x, y + (row * high) / rows, wide, high / rows + 0.6);
  }
}

/** The folded picture: each cell once, with its loop and its parameters. */
export function folded(painter: Painter): void {
  const { context, view, layers, ink, group } = painter;
  const alpha = Math.max(0, (view.fold - 0.55) / 0.45);
  if (alpha === 0) return;
  const middle = view.span / 2;
  const half = (view.width / 2 - view.inset) * (1 - alpha) + Math.min(64, view.span / 5) * alpha;
  context.globalAlpha = alpha;
  context.textAlign = "center";
  for (const lane of view.lanes) {
    const layer = layers[lane.layer]!;
    const [top, high] = [lane.top, view.laneHeight];
    context.fillStyle = ink.card;
    context.fillRect(middle - half, top, 2 * half, high);
    context.strokeStyle = ink.ink;
    context.lineWidth = 1.5;
    context.strokeRect(middle - half, top, 2 * half, high);
    context.fillStyle = ink.ink;
    context.font = "650 14px system-ui, sans-serif";
    context.fillText(layer.cell.toUpperCase(), middle, top + high / 2 - 2, 2 * half - 8);
    context.fillStyle = ink.soft;
    context.font = "11px system-ui, sans-serif";
    const each = Math.round(layer.parameters / layer.directions.length);
    context.fillText(say("each", { count: count(each) }), middle, top + high / 2 + 13, 2 * half - 8);
    if (layer.leaves.length === 0) continue;
    loop(context, ink.accent, middle, half, top, high, lane.direction === "ahead");
    context.fillText(say("state"), middle + half + 44, top - 4);
  }
  context.fillStyle = ink.ink;
  context.font = "13px system-ui, sans-serif";
  context.fillText(say("input"), middle, view.bottom + 18);
  if (group.speaks) context.fillText(say("output"), middle, Math.max(12, view.top - 24));
  context.globalAlpha = 1;
}

/** Out at one side, above the cell, and in at the other. */
function loop(
  context: CanvasRenderingContext2D, colour: string, middle: number, half: number, top: number, high: number, ahead: boolean,
): void {
  const y = top + high / 2;
  const [out, back] = ahead ? [middle + half, middle - half] : [middle - half, middle + half];
  const sign = ahead ? 1 : -1;
  const reach = 34;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(out, y);
  context.bezierCurveTo(out + sign * reach, y, out + sign * reach, top - 15, middle, top - 15);
  context.bezierCurveTo(back - sign * reach, top - 15, back - sign * reach, y, back - sign * 7, y);
  context.stroke();
  arrow(context, back - sign * 9, y, back, y);
}
