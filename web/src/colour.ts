/** Colours of numbers: blue below zero, orange above; told apart with every common kind of colour blindness, and the
 *  stronger a number is, the further from the paper in lightness. */

type Rgb = [number, number, number];

interface Ramp {
  low: Rgb[];
  high: Rgb[];
}

const LIGHT: Ramp = {
  low: [[247, 247, 245], [201, 222, 241], [130, 178, 220], [50, 116, 176], [12, 64, 116]],
  high: [[247, 247, 245], [250, 215, 187], [240, 160, 102], [205, 94, 28], [122, 48, 5]],
};
const DARK: Ramp = {
  low: [[33, 38, 44], [31, 69, 106], [50, 109, 165], [102, 163, 222], [190, 221, 250]],
  high: [[33, 38, 44], [95, 56, 25], [154, 86, 29], [221, 134, 64], [252, 214, 174]],
};

const query = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;

export function isDark(): boolean {
  return query?.matches ?? false;
}

export function onScheme(run: () => void): void {
  query?.addEventListener("change", run);
}

function along(stops: Rgb[], share: number): Rgb {
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place));
  const [from, to] = [stops[i]!, stops[i + 1]!];
  const rest = place - i;
  return [0, 1, 2].map((k) => Math.round(from[k]! + (to[k]! - from[k]!) * rest)) as Rgb;
}

/** 511 colours as pixels: the middle one is zero. */
function build(ramp: Ramp): Uint32Array {
  const colours = new Uint32Array(511);
  for (let i = 0; i < 511; i++) {
    const share = (i - 255) / 255;
    const [r, g, b] = along(share < 0 ? ramp.low : ramp.high, Math.abs(share));
    colours[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return colours;
}

const built: { light?: Uint32Array; dark?: Uint32Array } = {};

export function pixels(): Uint32Array {
  return isDark() ? (built.dark ??= build(DARK)) : (built.light ??= build(LIGHT));
}

/** A number between -1 and 1 as a place among these colours; what is no number is zero's. */
export function place(share: number): number {
  return share > 1 ? 510 : share < -1 ? 0 : Math.round((share || 0) * 255) + 255;
}

/** The colour of a number between -1 and 1, for style sheets. */
export function css(share: number): string {
  const ramp = isDark() ? DARK : LIGHT;
  const [r, g, b] = along(share < 0 ? ramp.low : ramp.high, Math.abs(share || 0));
  return `rgb(${r} ${g} ${b})`;
}

/** What can be read on that colour. */
export function ink(share: number): string {
  const strong = Math.abs(share || 0) > 0.55;
  if (isDark()) return strong ? "#0d1116" : "#e6e8ea";
  return strong ? "#fff" : "#1d2126";
}

/** A colour of the style sheet. */
export function named(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
