/** Whose reasons: beside those of each step, those of each column of a row, and of each network of an ensemble. */

import { grid, grids } from "./decode";
import { h } from "./dom";
import type { Loaded } from "./scene";
import { tracks, type Track } from "./tracks";
import type { Why } from "./types";
import { both, number, percent, say, sayName } from "./words";

/** Columns that are shown, those that counted most. */
const MOST = 12;

/** The places of the columns that counted most for an answer, at most so many, in their own order. */
export function foremost(whole: ArrayLike<number>, most: number): number[] {
  const order = Array.from(whole, (value, place) => ({ place, size: Math.abs(value) || 0 }));
  return order.sort((a, b) => b.size - a.size).slice(0, most).map(({ place }) => place).sort((a, b) => a - b);
}

/** What each column counted; a list chooses by which of the three ways. */
export async function columns(why: Why, loaded: Loaded, method: string, choose: (method: string) => void): Promise<HTMLElement | null> {
  const found = why.columns;
  if (!found) return null;
  const [ways, whole] = await Promise.all([grids(found.methods), grid(found.whole)]);
  const chosen = ways[method] ?? ways.integrated!;
  const width = found.names.length;
  const steps = chosen.shape[0] ?? 0;
  const greatest = whole.data.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0) || 1;
  const shown = foremost(whole.data, MOST);
  const all = shown.map((place): Track => ({
    name: found.names[place]!,
    values: Array.from({ length: steps }, (_, step) => chosen.data[step * width + place]!),
    total: { text: told(whole.data[place]!), share: (whole.data[place] ?? 0) / greatest },
  }));
  const select = h("select", { id: "column-method", onchange: (event: Event) => choose((event.target as HTMLSelectElement).value) },
    ...Object.keys(ways).map((name) => h("option", { value: name, selected: ways[name] === chosen }, sayName(name))));
  return h("div", { class: "part", id: "columns" },
    h("h3", {}, say("columns")),
    found.words ? h("p", { class: "sentence", dir: "auto" }, both(found.words)) : null,
    h("p", { class: "quiet" }, say("columnsHelp")),
    h("div", { class: "chooser" }, h("label", { for: "column-method" }, say("columnsBy")), select),
    tracks({ label: say("columns"), head: say("columnsWhole"), tracks: all, steps, name: (step) => named(loaded, step) }),
    shown.length < width ? h("p", { class: "quiet small" }, say("columnsMore", { n: width - shown.length })) : null);
}

/** What each network of several found by itself, their mean, and how far they lie apart. */
export async function members(why: Why, loaded: Loaded): Promise<HTMLElement | null> {
  const found = why.members;
  if (!found) return null;
  const [each, mean, spread] = await Promise.all([grid(found.integrated), grid(found.mean), grid(found.spread)]);
  const [count, steps] = [each.shape[0] ?? 0, each.shape[1] ?? 0];
  const answers = found.values.map((value) => (why.target.unit === "nats" ? percent(Math.exp(value ?? NaN)) : told(value ?? NaN)));
  const all = Array.from({ length: count }, (_, place): Track => ({
    name: say("network", { n: place + 1 }),
    values: each.data.subarray(place * steps, (place + 1) * steps),
    total: { text: answers[place]! },
  }));
  all.push({ name: say("networksMean"), values: mean.data }, { name: say("networksApart"), values: spread.data, apart: true });
  return h("div", { class: "part", id: "members" },
    h("h3", {}, say("members")),
    found.words ? h("p", { class: "sentence" }, both(found.words)) : null,
    h("p", { class: "quiet" }, say("membersHelp")),
    tracks({ label: say("members"), head: say("membersAnswer"), tracks: all, steps, name: (step) => named(loaded, step) }));
}

/** A token beside the number of its step; rows have too many digits for that. */
function named(loaded: Loaded, step: number): string {
  return loaded.scene.inputs.kind === "rows" ? "" : ` ${loaded.explaining(step)}`;
}

function told(value: number): string {
  return Number.isNaN(value) ? "–" : number(Number(value.toPrecision(3)));
}
