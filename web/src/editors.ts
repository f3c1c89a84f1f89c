/** What the inputs of a what-if are changed with: tokens as buttons and a line to type in, rows of numbers as a table. */

import { h, seen } from "./dom";
import type { Item } from "./reading";
import { given, say } from "./words";

/** What is being edited, and how a change is made known. */
export interface Editing {
  items: Item[];
  original: Item[];
  /** The chosen place. */
  place: number;
  vocabulary: string[];
  columns: string[];
  /** Whether a number may be missing. */
  holes: boolean;
  most: number;
  choose: (place: number, focus: string) => void;
  change: (edit: (items: Item[]) => void, place: number, focus: string) => void;
}

/** Vocabularies up to here are offered as a list to choose from. */
const OFFERED = 3000;
/** Rows of numbers that can be changed at once; of more those around the chosen one. */
const ROWS = 40;

export function editor(editing: Editing): HTMLElement {
  const numeric = typeof editing.original[0] !== "string";
  return h("div", {}, numeric ? table(editing) : tokens(editing), tools(editing, numeric));
}

export function shown(item: Item): string {
  return typeof item === "string" ? seen(item) : item.map(given).join(" ");
}

function same(one: Item | undefined, other: Item | undefined): boolean {
  return String(one) === String(other);
}

function tokens(editing: Editing): HTMLElement {
  const items = editing.items.map((item, i) =>
    h("li", {}, h("button", {
      class: same(item, editing.original[i]) ? null : "altered", "aria-pressed": String(i === editing.place), "data-place": i, dir: "auto",
      "aria-label": `${say("input")} ${i + 1}: ${item}`, onclick: () => editing.choose(i, `[data-place="${i}"]`),
    }, shown(item))),
  );
  return h("ol", { class: "editor", "aria-label": say("inputsNow") }, ...items);
}

function table(editing: Editing): HTMLElement {
  const { items, original, columns, place } = editing;
  const from = Math.max(0, Math.min(items.length - ROWS, place - ROWS / 2));
  const rows = items.slice(from, from + ROWS).map((item, i) => {
    const step = from + i;
    const choose = h("button", {
      "aria-pressed": String(step === place), "data-place": step, "aria-label": `${say("step")} ${step + 1}`,
      onclick: () => editing.choose(step, `[data-place="${step}"]`),
    }, step + 1);
    return h("tr", {}, h("th", { scope: "row" }, choose), ...(item as number[]).map((value, column) => field(editing, step, column, value, (original[step] as number[] | undefined)?.[column])));
  });
  const head = h("tr", {}, h("th", { scope: "col" }, say("step")), ...columns.map((name) => h("th", { scope: "col" }, name)));
  return h("div", {},
    h("div", { class: "scroll numbers-table", tabindex: 0, role: "region", "aria-label": say("inputsNow") },
      h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows))),
    items.length > ROWS ? h("p", { class: "quiet small" }, say("more")) : null);
}

/** One number of a row; emptied it is missing, where the model can read that. */
function field(editing: Editing, step: number, column: number, value: number, before: number | undefined): HTMLElement {
  const altered = before === undefined || !Object.is(value, before);
  return h("td", {}, h("input", {
    type: "number", step: "any", value: Number.isNaN(value) ? "" : Number(value.toPrecision(6)), class: altered ? "altered" : null,
    "data-at": `${step},${column}`, "aria-label": `${say("step")} ${step + 1}, ${editing.columns[column] ?? column + 1}`,
    onchange: (event: Event) => {
      const text = (event.target as HTMLInputElement).value.trim();
      const now = text === "" ? (editing.holes ? NaN : value) : Number(text);
      editing.change((all) => {
        const row = [...(all[step] as number[])];
        row[column] = now;
        all[step] = row;
      }, step, `[data-at="${step},${column}"]`);
    },
  }));
}

/** What can be done with the chosen input. */
function tools(editing: Editing, numeric: boolean): HTMLElement {
  const { items, place, original, vocabulary } = editing;
  const act = (word: "earlier" | "remove" | "add" | "later", sign: string, can: boolean, to: number, edit: (all: Item[]) => void): HTMLElement =>
    h("button", { "data-do": word, disabled: !can, onclick: () => editing.change(edit, to, `[data-do="${word}"]`) }, `${sign} ${say(word)}`);
  const swap = (to: number) => (all: Item[]) => void ([all[place], all[to]] = [all[to]!, all[place]!]);
  const offered = vocabulary.length <= OFFERED;
  const chosen = say("atPlace", { n: place + 1, text: shown(items[place] ?? "") });
  return h(
    "div",
    { class: "tools", role: "group", "aria-label": chosen },
    h("span", { class: "quiet", dir: "auto" }, chosen),
    act("earlier", "◀", place > 0, place - 1, swap(place - 1)),
    act("later", "▶", place < items.length - 1, place + 1, swap(place + 1)),
    act("remove", "✕", items.length > 1, Math.max(0, place - 1), (all) => void all.splice(place, 1)),
    act("add", "＋", items.length < editing.most, place + 1, (all) => void all.splice(place + 1, 0, all[place]!)),
    numeric ? null : h("label", { class: "quiet" }, `${say("replace")} `, h("input", {
      id: "replace", value: items[place] as string, list: offered ? "vocabulary" : null, dir: "auto",
      onchange: (event: Event) => {
        const now = (event.target as HTMLInputElement).value;
        if (now) editing.change((all) => void all.splice(place, 1, now), place, "#replace");
      },
    })),
    numeric || !offered ? null : h("datalist", { id: "vocabulary" }, ...vocabulary.map((text) => h("option", { value: text }))),
    h("button", { id: "reset", onclick: () => editing.change((all) => void all.splice(0, all.length, ...original), place, "#reset") }, say("reset")),
  );
}
