/** Lines over steps, drawn as SVG. A line of many steps is drawn as the least and the greatest of each stretch. */

import { h, s } from "./dom";
import { number } from "./words";

export interface Line {
  name: string;
  values: ArrayLike<number>;
}

const [WIDE, HIGH, LEFT, BOTTOM, TOP] = [640, 190, 84, 24, 16];
/** Dashes tell lines apart where colours do not. */
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

/** Points of a line, two a stretch where there are more steps than places. */
function points(values: ArrayLike<number>, x: (step: number) => number, y: (value: number) => number): string {
  const each = Math.max(1, Math.ceil(values.length / ((WIDE - LEFT) / 1)));
  const found: string[] = [];
  for (let from = 0; from < values.length; from += each) {
    let [least, most] = [from, from];
    for (let i = from; i < Math.min(values.length, from + each); i++) {
      if (values[i]! < values[least]!) least = i;
      if (values[i]! > values[most]!) most = i;
    }
    for (const at of least === most ? [least] : [Math.min(least, most), Math.max(least, most)]) {
      const level = y(values[at]!);
      if (Number.isFinite(level)) found.push(`${x(at).toFixed(1)},${level.toFixed(1)}`);
    }
  }
  return found.join(" ");
}

/** A chart with a name for who cannot see it; `logarithmic` leaves out what is not above zero. */
export function chart(label: string, lines: Line[], axis: string, logarithmic = false): HTMLElement {
  const steps = Math.max(1, ...lines.map((line) => line.values.length));
  const level = (value: number): number => (logarithmic ? (value > 0 ? Math.log10(value) : NaN) : value);
  let [least, most] = [Infinity, -Infinity];
  for (const line of lines) {
    for (let i = 0; i < line.values.length; i++) {
      const value = level(line.values[i]!);
      if (!Number.isFinite(value)) continue;
      if (value < least) least = value;
      if (value > most) most = value;
    }
  }
  if (!logarithmic) least = Math.min(0, least);
  if (!Number.isFinite(least + most)) [least, most] = [0, 1];
  else if (most === least) most = least + 1;
  // a tenfold at least, so that what hardly changes does not look as if it did
  if (logarithmic) least = Math.min(least, most - 1);
  const x = (step: number): number => LEFT + (steps === 1 ? 0.5 : step / (steps - 1)) * (WIDE - LEFT - 12);
  const y = (value: number): number => HIGH - BOTTOM - ((level(value) - least) / (most - least)) * (HIGH - BOTTOM - TOP);
  const root = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "chart", role: "img", "aria-label": label });
  for (let tick = 0; tick <= 3; tick++) {
    const at = least + ((most - least) * tick) / 3;
    const value = logarithmic ? 10 ** at : at;
    const place = y(value);
    root.append(
      s("line", { x1: LEFT, x2: WIDE - 12, y1: place, y2: place, class: "grid" }),
      s("text", { x: LEFT - 6, y: place + 4, "text-anchor": "end" }, number(Number(value.toPrecision(2)))),
    );
  }
  const ends = steps === 1 ? [0] : [0, steps - 1];
  for (const step of ends) {
    root.append(s("text", { x: x(step), y: HIGH - 6, "text-anchor": step ? "end" : "start" }, `${axis} ${step + 1}`));
  }
  lines.forEach((line, i) => {
    const drawn = points(line.values, x, y);
    root.append(
      s("polyline", { points: drawn, class: `stroke c${i % 4}`, "stroke-dasharray": DASHES[i % 4] || null }),
    );
    if (line.values.length === 1 && Number.isFinite(y(line.values[0]!))) {
      root.append(s("circle", { cx: x(0), cy: y(line.values[0]!), r: 3, class: `fill c${i % 4}` }));
    }
  });
  const legend = h(
    "p",
    { class: "legend" },
    ...lines.map((line, i) =>
      h("span", {}, s("svg", { viewBox: "0 0 26 8", class: "key", "aria-hidden": "true" },
        s("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: `stroke c${i % 4}`, "stroke-dasharray": DASHES[i % 4] || null })), line.name)),
  );
  return h("div", { class: "charted" }, root, lines.length > 1 ? legend : null);
}
