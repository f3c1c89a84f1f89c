/** The parts of a cell's sums at one step, W x, U h and b by name, from the weights that the page carries: for looks that were
 *  too large to be given them. They are computed from the exact state before the step, in doubles. */

import { affine, type Arrays, type Options, rows, type Vector } from "./cells";

type Named = [string, Vector][];

/** Sums in blocks of one layer's width, named one after another. */
function chunks(names: string, part: string, sums: Vector): Named {
  const gates = names.split(" ");
  const width = sums.length / gates.length;
  return gates.map((gate, i) => [`${gate}.${part}`, sums.slice(i * width, (i + 1) * width)]);
}

type Terms = (arrays: Arrays, x: Vector, before: Record<string, Vector>, hidden: number, options: Options) => Named;

/** Cells whose sums are of inputs alone, and those that read h too. */
const plain = (names: string, reads: boolean): Terms => (arrays, x, before) => [
  ...chunks(names, "x", affine(arrays.weight_in!, x)),
  ...chunks(names, "b", Float64Array.from(arrays.bias!.data)),
  ...(reads ? chunks(names, "h", affine(arrays.weight_state!, before.h!)) : []),
];

const gru: Terms = (arrays, x, before, hidden, options) => {
  const h = before.h!;
  const found = new Map(plain("r z n", false)(arrays, x, before, hidden, options));
  for (const [name, value] of chunks("r z", "h", affine(rows(arrays.weight_state!, 0, 2 * hidden), h))) found.set(name, value);
  const gate = (k: number): number => 1 / (1 + Math.exp(-(found.get("r.x")![k]! + found.get("r.h")![k]! + found.get("r.b")![k]!)));
  const read = options.reset_after ? h : h.map((value, k) => gate(k) * value);
  const brought = affine(rows(arrays.weight_state!, 2 * hidden, 3 * hidden), read);
  const bias = arrays.bias_state!.data;
  found.set("q.h", brought);
  found.set("q.b", Float64Array.from(bias));
  found.set("n.rq", brought.map((value, k) => (options.reset_after ? gate(k) : 1) * (value + bias[k]!)));
  return [...found];
};

/** By cell; others show letters in place of these numbers. */
export const TERMS: Record<string, Terms> = {
  feedforward: plain("z", false),
  elman: plain("z", true),
  gru,
  lstm: plain("i f g o", true),
  mingru: plain("z n", false),
  minlstm: plain("s s' n", false),
};
