/** Rows of colours over all steps, one above the other: what each column, or each network, counted at every step. A finger or
 *  a pointer on them tells the numbers of a step; a table has them for who cannot see the colours. */

import { css, ink, named } from "./colour";
import { h, sized } from "./dom";
import { number, say } from "./words";

export interface Track {
  name: string;
  values: ArrayLike<number>;
  /** How far others lie apart, which has no sign: its own colour, and its own scale. */
  apart?: boolean;
  /** What stands at its end, by choice with the share of the greatest that it has. */
  total?: { text: string; share?: number };
}

const HIGH = 20;

export interface Told {
  /** The name of the whole for who cannot see it. */
  label: string;
  /** What stands above the totals. */
  head: string;
  tracks: Track[];
  steps: number;
  /** A step in words. */
  name: (step: number) => string;
}

export function tracks(told: Told): HTMLElement {
  const signed = told.tracks.filter((track) => !track.apart);
  const scale = Math.max(...signed.map((track) => greatest(track.values)), 0) || 1;
  const fact = h("p", { class: "fact track-fact", "aria-live": "polite", dir: "auto" });
  const tell = (step: number): void => {
    const parts = told.tracks.map((track) => `${track.name} ${brief(track.values[step])}`);
    fact.textContent = `${say("step")} ${step + 1}${told.name(step)}: ${parts.join(", ")}`;
    fact.dataset.step = String(step);
  };
  tell(strongest(signed, told.steps));
  const point = (event: PointerEvent): void => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    tell(Math.max(0, Math.min(told.steps - 1, Math.floor(((event.clientX - box.left) / box.width) * told.steps))));
  };
  const rows = told.tracks.flatMap((track) => {
    const canvas = h("canvas", { role: "img", "aria-label": `${track.name}: ${track.total?.text ?? ""}` });
    paint(canvas, track, track.apart ? greatest(track.values) || 1 : scale, told.steps);
    const total = h("b", {}, track.total?.text ?? "");
    const share = track.total?.share;
    if (share !== undefined) {
      total.style.background = css(share);
      total.style.color = ink(share);
    }
    return [h("span", { class: "track-name", dir: "auto", title: track.name }, track.name),
      h("div", { class: "track", onpointermove: point, onpointerdown: point }, canvas), total];
  });
  return h("div", {},
    h("div", { class: "tracks", role: "group", "aria-label": told.label },
      h("small", { class: "quiet" }), h("small", { class: "quiet track-ends" }, h("span", {}, `${say("step")} 1`), h("span", {}, told.steps)),
      h("small", { class: "quiet" }, told.head), ...rows),
    fact, inNumbers(told));
}

/** The same in numbers, made when it is asked for. */
function inNumbers(told: Told): HTMLElement {
  const box = h("details", { class: "numbers-of" }, h("summary", {}, say("inNumbers")));
  box.addEventListener("toggle", () => {
    if (!box.open || box.children.length > 1) return;
    const head = h("tr", {}, h("th", { scope: "col" }, say("step")), ...told.tracks.map((track) => h("th", { scope: "col", dir: "auto" }, track.name)));
    const rows = Array.from({ length: told.steps }, (_, step) =>
      h("tr", {}, h("th", { scope: "row" }, step + 1), ...told.tracks.map((track) => h("td", {}, brief(track.values[step])))));
    box.append(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": told.label }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows))));
  });
  return box;
}

/** Of many steps on a pixel the one that counted most. */
function paint(canvas: HTMLCanvasElement, track: Track, scale: number, steps: number): void {
  const draw = (): void => {
    const wide = canvas.parentElement?.clientWidth ?? 0;
    const context = wide ? sized(canvas, wide, HIGH) : null;
    if (!context) return;
    context.clearRect(0, 0, wide, HIGH);
    const places = Math.min(steps, Math.round(wide * (window.devicePixelRatio || 1)));
    for (let place = 0; place < places; place++) {
      let most = 0;
      for (let step = Math.floor((place * steps) / places); step < Math.floor(((place + 1) * steps) / places); step++) {
        const value = track.values[step]! || 0;
        if (Math.abs(value) > Math.abs(most)) most = value;
      }
      context.globalAlpha = track.apart ? Math.abs(most) / scale : 1;
      context.fillStyle = track.apart ? named("third") : css(most / scale);
      const left = (place * wide) / places;
      context.fillRect(left, 0, wide / places + 0.3, HIGH);
    }
  };
  new ResizeObserver(draw).observe(canvas);
  requestAnimationFrame(draw);
}

function greatest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!) || 0);
  return most;
}

/** The step at which one of them counted most. */
function strongest(all: Track[], steps: number): number {
  let [best, most] = [steps - 1, 0];
  for (let step = 0; step < steps; step++) {
    for (const track of all) {
      const size = Math.abs(track.values[step]!) || 0;
      if (size > most) [best, most] = [step, size];
    }
  }
  return best;
}

function brief(value: number | undefined): string {
  return value === undefined || Number.isNaN(value) ? "–" : number(Number(value.toPrecision(3)));
}
