/** Packed arrays as numbers. The bytes of each array are parted by place (all first bytes, then all second …), deflated,
 *  and written in base64; the browser has all that undoes it. */

import { restored, RULES } from "./foretold";
import type { Direction, Lane, Numbers, Packed } from "./types";

export interface Grid {
  data: Float32Array;
  shape: number[];
}

const known = new WeakMap<object, Promise<Grid>>();

/** The numbers of an array, decoded once. */
export function grid(value: Numbers): Promise<Grid> {
  let found = known.get(value);
  if (!found) {
    found = Array.isArray(value) ? Promise.resolve(nested(value)) : packed(value);
    known.set(value, found);
  }
  return found;
}

/** Every array of a record. */
export async function grids(values: Record<string, Numbers>): Promise<Record<string, Grid>> {
  const names = Object.keys(values);
  const decoded = await Promise.all(names.map((name) => grid(values[name]!)));
  return Object.fromEntries(names.map((name, i) => [name, decoded[i]!]));
}

export function nested(values: unknown[]): Grid {
  const shape: number[] = [];
  for (let part: unknown = values; Array.isArray(part); part = part[0]) shape.push(part.length);
  const flat = values.flat(Infinity) as (number | null)[];
  return { data: Float32Array.from(flat, (value) => value ?? NaN), shape };
}

/** A leaf of the state of a lane: of one that is told by its distance from a guess, what the guess is made of comes first. */
export function leafOf(lane: Lane, leaf: string, direction: Direction): Promise<Grid> {
  const value = lane.state[leaf]!;
  let found = known.get(value);
  if (!found) {
    found = !Array.isArray(value) && value.near ? guessed(lane, leaf, value, direction) : grid(value);
    known.set(value, found);
  }
  return found;
}

async function guessed(lane: Lane, leaf: string, value: Packed, direction: Direction): Promise<Grid> {
  const rule = RULES[value.near!];
  if (!rule) throw new Error(`the page knows no rule '${value.near}'`);
  const parts = rule.of.map((name) => (name in lane.inner ? grid(lane.inner[name]!) : leafOf(lane, name, direction)));
  const [whole, initial, ...of] = await Promise.all([unshuffled(value, 4), grid(lane.initial[leaf]!), ...parts]);
  const data = restored(new Uint32Array(whole), rule, of.map((each) => each.data), initial.data, direction === "back");
  return { data, shape: value.shape };
}

async function packed(value: Packed): Promise<Grid> {
  const whole = await unshuffled(value, value.$array === "f4" ? 4 : 2);
  return { data: value.$array === "f4" ? new Float32Array(whole) : halves(new Uint16Array(whole)), shape: value.shape };
}

/** The bytes of an array as they were before they were parted. */
async function unshuffled(value: Packed, width: number): Promise<ArrayBuffer> {
  const bytes = await inflate(fromBase64(value.data));
  const count = value.shape.reduce((product, axis) => product * axis, 1);
  if (bytes.length !== count * width) {
    throw new Error(`an array of shape ${value.shape} has ${bytes.length} bytes, not ${count * width}`);
  }
  const whole = new Uint8Array(count * width);
  for (let place = 0; place < width; place++) {
    const from = place * count;
    for (let i = 0; i < count; i++) whole[i * width + place] = bytes[from + i]!;
  }
  return whole.buffer;
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Fed by hand: a Blob and a Response would go through the browser's other processes. */
async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new DecompressionStream("deflate-raw");
  const writer = stream.writable.getWriter();
  const written = writer.write(bytes).then(() => writer.close());
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = stream.readable.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    size += part.value.length;
  }
  await written;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

let table: Float32Array | undefined;

function halves(halves: Uint16Array): Float32Array {
  table ??= Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
  const data = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) data[i] = table[halves[i]!]!;
  return data;
}

/** IEEE 754 half precision. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
