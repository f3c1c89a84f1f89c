/** Marks below the rows of a strip: what each column counted for the output that is asked about, a thin line for each. */

import type { Painter } from "./arrows";
import { css } from "./colour";
import { grid, grids } from "./decode";
import type { Scene, Why } from "./types";
import { foremost } from "./whose";

/** Columns that have a line, those that counted most. */
const MOST = 6;
const HIGH = 8;

export interface Marks {
  names: string[];
  /** By column, and of these by step. */
  values: ArrayLike<number>[];
  scale: number;
}

/** How high the marks of a scene stand; nothing of texts, which are coloured themselves. */
export function room(scene: Scene): number {
  if (scene.inputs.kind !== "rows" || !scene.why.length) return 0;
  return 4 + HIGH * Math.min(MOST, scene.inputs.columns.length);
}

export async function marksOf(why: Why): Promise<Marks> {
  const values: ArrayLike<number>[] = [];
  let names: string[] = [""];
  if (why.columns) {
    const [{ integrated }, whole] = await Promise.all([grids(why.columns.methods), grid(why.columns.whole)]);
    const width = why.columns.names.length;
    const shown = foremost(whole.data, MOST);
    names = shown.map((place) => why.columns!.names[place]!);
    for (const place of shown) values.push(integrated!.data.filter((_, at) => at % width === place));
  } else values.push((await grid(why.methods.integrated!)).data);
  const scale = values.reduce((most, each) => Math.max(most, ...Array.from(each, (value) => Math.abs(value) || 0)), 0) || 1;
  return { names, values, scale };
}

export function marks({ context, view, ink }: Painter, found: Marks | null): void {
  if (!found || view.fold > 0) return;
  const [from, to] = view.visible;
  const places = Math.max(1, Math.floor(0.5 / view.width));
  context.font = "9px system-ui, sans-serif";
  context.textBaseline = "middle";
  found.values.forEach((values, row) => {
    const y = view.bottom + 40 + HIGH * row;
    for (let step = from; step < to; step += places) {
      let most = 0;
      for (let at = step; at < Math.min(to, step + places); at++) {
        if (Math.abs(values[at]!) > Math.abs(most)) most = values[at]!;
      }
      context.fillStyle = css(most / found.scale);
      context.fillRect(view.x(step), y, Math.max(1, view.width * places), HIGH - 1);
    }
    const side = view.x(0);
    if (side < 20 || !found.names[row]) return;
    context.fillStyle = ink.soft;
    context.textAlign = "right";
    context.fillText(found.names[row], side - 3, y + HIGH / 2, side - 4);
    context.textAlign = "left";
  });
}
