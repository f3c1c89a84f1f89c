/** Rows of numbers as curves below a strip, where steps are too narrow to write them: each column between its own ends. */

import type { Painter } from "./arrows";
import { named } from "./colour";
import type { Grid } from "./decode";

/** Columns that are drawn, the first ones. */
const MOST = 4;
const INKS = ["model", "second", "third", "fourth"];
const HIGH = 30;

export function curves({ context, view }: Painter, rows: Grid | null): void {
  if (!rows) return;
  const columns = rows.shape[1] ?? 1;
  const [from, to] = view.visible;
  // of many steps on a pixel the first one stands for all
  const each = Math.max(1, Math.floor(0.5 / view.width));
  for (let column = 0; column < Math.min(columns, MOST); column++) {
    let [least, most] = [Infinity, -Infinity];
    for (let at = column; at < rows.data.length; at += columns) {
      const value = rows.data[at]!;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    context.strokeStyle = named(INKS[column]!);
    context.lineWidth = 1.5;
    context.setLineDash(column ? [4, 2 * column] : []);
    context.beginPath();
    let down = false;
    for (let step = from; step < to; step += each) {
      const value = rows.data[step * columns + column]!;
      const y = view.bottom + 4 + HIGH * (1 - (most > least ? (value - least) / (most - least) : 0.5));
      const x = view.x(step) + view.width / 2;
      if (!Number.isFinite(y)) down = false;
      else if (down) context.lineTo(x, y);
      else {
        context.moveTo(x, y);
        down = true;
      }
    }
    context.stroke();
  }
  context.setLineDash([]);
}
