/** A line to type a text in, for models that read character by character: it runs a short moment after the last key. */

import { h } from "./dom";
import { say } from "./words";

/** Milliseconds without a key after which a text is run. */
const PAUSE = 400;

export function typing(text: string, most: number, run: (tokens: string[]) => void): HTMLElement {
  let waiting = 0;
  let last = text;
  const hint = h("small", { id: "free-hint" }, say("freeHint"));
  const tell = (word: "freeHint" | "freeWaiting" | "freeEmpty"): void => {
    hint.textContent = say(word);
    hint.classList.toggle("waiting", word === "freeWaiting");
  };
  const now = (): void => {
    clearTimeout(waiting);
    // what stood here before it was drawn anew has nothing to say any more
    if (!area.isConnected) return;
    tell(area.value ? "freeHint" : "freeEmpty");
    if (area.value === last || !area.value) return;
    last = area.value;
    area.rows = lines(last);
    run([...last]);
  };
  const soon = (): void => {
    clearTimeout(waiting);
    tell("freeWaiting");
    waiting = window.setTimeout(now, PAUSE);
  };
  const area = h("textarea", {
    id: "free-text", rows: lines(text), maxlength: most, dir: "auto", "aria-describedby": "free-hint",
    // a sign that is still being composed of others is no text yet
    oninput: (event: InputEvent) => (event.isComposing ? clearTimeout(waiting) : soon()),
    oncompositionend: soon,
    onchange: now,
    onkeydown: (event: KeyboardEvent) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      now();
    },
  }, text);
  return h("label", { class: "free" }, say("freeText"), area, hint);
}

function lines(text: string): number {
  return Math.min(6, text.split("\n").length);
}
