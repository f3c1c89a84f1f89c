/** Packed arrays as numbers. The bytes of each array are parted by place (all first bytes, then all second …), deflated,
 *  and written in base64; the browser has all that undoes it. */

import type { Numbers } from "./types";

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

async function packed(value: { $array: "f4" | "f2"; shape: number[]; data: string }): Promise<Grid> {
  const bytes = await inflate(fromBase64(value.data));
  const width = value.$array === "f4" ? 4 : 2;
  const count = value.shape.reduce((product, axis) => product * axis, 1);
  if (bytes.length !== count * width) {
    throw new Error(`an array of shape ${value.shape} has ${bytes.length} bytes, not ${count * width}`);
  }
  const whole = new Uint8Array(count * width);
  for (let place = 0; place < width; place++) {
    const from = place * count;
    for (let i = 0; i < count; i++) whole[i * width + place] = bytes[from + i]!;
  }
  const data = width === 4 ? new Float32Array(whole.buffer) : halves(new Uint16Array(whole.buffer));
  return { data, shape: value.shape };
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
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
