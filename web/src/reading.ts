/** From inputs to the vectors that a stack reads, as the layers of Recurra that stand before one do it: embeddings, spelling
 *  and pairs of characters for tokens; the scale, missing values and convolutions for rows of numbers. */

import { type Matrix, type Vector } from "./cells";
import { grid } from "./decode";
import type { Numbers, ReadWeights } from "./types";

/** One input: a token, or a row of numbers, NaN where one is missing. */
export type Item = string | number[];

export interface Reader {
  /** What the stack reads at each step. */
  vectors(items: Item[]): Vector[];
  /** The numbers of the tokens, for n-grams. */
  ids(items: Item[]): number[];
  /** Whether a token is none of the vocabulary, but read as the one that stands for all of those. */
  unknown(item: Item): boolean;
}

export async function reader(read: ReadWeights): Promise<Reader> {
  return read.kind === "tokens" ? tokens(read) : rows(read);
}

// ---- tokens

type Tokens = Extract<ReadWeights, { kind: "tokens" }>;

async function tokens(read: Tokens): Promise<Reader> {
  const embedding = await grid(read.embedding);
  const ids = new Map(read.vocabulary.map((text, id) => [text, id]));
  const plain = (text: string): string => plainly(read, text);
  const idOf = (text: string): number | undefined => ids.get(text) ?? ids.get(plain(text));
  const numbered = (items: Item[]): number[] => items.map((item) => idOf(item as string) ?? read.unknown ?? 0);
  const spelled = read.letters && (await spelling(read.letters));
  const paired = read.pairs && (await pairing(read.pairs, plain));
  return {
    ids: numbered,
    unknown: (item) => read.unknown !== null && idOf(item as string) === undefined,
    vectors: (items) => {
      const words = numbered(items).map((id) => row(embedding, id));
      const beside = spelled ? items.map((item) => spelled(item as string)) : paired ? paired(items as string[]) : null;
      return beside ? words.map((word, t) => joined([word, beside[t]!])) : words;
    },
  };
}

/** A token as it is looked up. */
function plainly(read: Tokens, text: string): string {
  const narrow = [...text].map((sign) => read.widths[sign] ?? sign).join("");
  const lower = read.lowercase ? narrow.toLowerCase() : narrow;
  return read.digits ? lower.normalize("NFKC").toLowerCase().replace(/\p{Nd}/gu, "0") : lower;
}

/** What a word is spelled like: filters over three neighbouring characters, the greatest of each. */
async function spelling(letters: NonNullable<Tokens["letters"]>): Promise<(word: string) => Vector> {
  const [embedding, filters, bias] = await Promise.all([grid(letters.embedding), grid(letters.filters), grid(letters.bias)]);
  const ids = new Map(letters.parts.map((part, id) => [part, id]));
  const [width, outputs] = [embedding.shape[1]!, bias.data.length];
  return (word) => {
    const signs = [...word];
    const inside = letters.width - 2;
    const half = Math.floor(inside / 2);
    // of a long word the beginning and the end
    const kept = signs.length <= inside ? signs : [...signs.slice(0, inside - half), ...signs.slice(signs.length - half)];
    // 2 and 3 are the ends of a word, 1 a character that training had not; 0 is none, and gives nothing
    const spelled = [2, ...kept.map((sign) => ids.get(sign) ?? 1), 3];
    const most = new Float64Array(outputs);
    for (let at = 0; at < spelled.length; at++) {
      for (let k = 0; k < outputs; k++) {
        let sum = bias.data[k]!;
        for (let place = 0; place < 3; place++) {
          const id = spelled[at + place - 1] ?? 0;
          if (!id) continue;
          const from = k * 3 * width + place * width;
          for (let j = 0; j < width; j++) sum += filters.data[from + j]! * embedding.data[id * width + j]!;
        }
        most[k] = Math.max(most[k]!, sum);
      }
    }
    return most;
  };
}

/** The pairs that a character makes with the one before and the one after. */
async function pairing(pairs: NonNullable<Tokens["pairs"]>, plain: (text: string) => string): Promise<(texts: string[]) => Vector[]> {
  const embedding = await grid(pairs.embedding);
  const ids = new Map(pairs.parts.map((part, id) => [part, id]));
  const [begin, end] = pairs.ends as [string, string];
  return (texts) => {
    const spelled = [begin, ...texts.map(plain), end];
    const found = spelled.slice(1).map((after, i) => row(embedding, ids.get(spelled[i]! + after) ?? 0));
    return texts.map((_, t) => joined([found[t]!, found[t + 1]!]));
  };
}

// ---- rows of numbers

type Rows = Extract<ReadWeights, { kind: "rows" }>;

async function rows(read: Rows): Promise<Reader> {
  const convolutions = await Promise.all(read.convolutions.map(convolution));
  return {
    ids: () => [],
    unknown: () => false,
    vectors: (items) => {
      let vectors = standardised(read, items);
      if (read.filling) vectors = filled(vectors, read.filling);
      const before = vectors;
      for (const convolve of convolutions) vectors = convolve(vectors);
      // how great the numbers are the normalisation hides: they stand behind what the convolutions tell
      return convolutions.length ? vectors.map((vector, t) => joined([vector, before[t]!])) : vectors;
    },
  };
}

/** Rows in the units of training. */
export function standardised(read: Rows, items: Item[]): Vector[] {
  const whole = items.flatMap((item) => item as number[]);
  const width = read.single ? 1 : read.mean.length;
  const scaled = whole.map((value, i) => (value - read.mean[i % read.mean.length]!) / read.scale[i % read.scale.length]!);
  return Array.from({ length: whole.length / width }, (_, t) => Float64Array.from(scaled.slice(t * width, (t + 1) * width)));
}

/** Missing values filled, and by choice marked behind the others. */
export function filled(vectors: Vector[], { fill, marked, nothing }: NonNullable<Rows["filling"]>): Vector[] {
  const last = new Float64Array(nothing.length);
  return vectors.map((vector) => {
    const values = vector.map((value, k) => {
      if (!Number.isNaN(value)) return (last[k] = value);
      return fill === "previous" ? last[k]! : fill === "zero" ? nothing[k]! : 0;
    });
    return marked ? joined([values, vector.map((value) => (Number.isNaN(value) ? 1 : 0))]) : values;
  });
}

type Convolution = Rows["convolutions"][number];

/** Windows of several widths and dilations that look back only, normalised over channels, and a rectifier. */
async function convolution(part: Convolution): Promise<(vectors: Vector[]) => Vector[]> {
  const weights = await Promise.all(part.weights.map(grid));
  const [bias, gain, shift] = (await Promise.all([part.bias, part.gain, part.shift].map((one: Numbers) => grid(one)))).map((one) => one.data) as
    [Float32Array, Float32Array, Float32Array];
  return (vectors) =>
    vectors.map((vector, t) => {
      const sums: number[] = [];
      part.pairs.forEach(([width, dilation], place) => {
        const { data, shape } = weights[place]!;
        const inputs = shape[2]!;
        for (let channel = 0; channel < shape[0]!; channel++) {
          let sum = bias[sums.length]!;
          for (let tap = 0; tap < width; tap++) {
            const seen = vectors[t - (width - 1 - tap) * dilation];
            if (!seen) continue;
            const from = (channel * width + tap) * inputs;
            for (let j = 0; j < inputs; j++) sum += data[from + j]! * seen[j]!;
          }
          sums.push(sum);
        }
      });
      const mean = sums.reduce((total, sum) => total + sum, 0) / sums.length;
      const spread = Math.sqrt(sums.reduce((total, sum) => total + (sum - mean) ** 2, 0) / sums.length + 1e-5);
      const around = vector.length === sums.length;
      return Float64Array.from(sums, (sum, k) => Math.max(0, ((sum - mean) / spread) * gain[k]! + shift[k]!) + (around ? vector[k]! : 0));
    });
}

function row(matrix: Matrix, index: number): Vector {
  const width = matrix.shape[1]!;
  return Float64Array.from(matrix.data.subarray(index * width, (index + 1) * width));
}

export function joined(parts: Vector[]): Vector {
  if (parts.length === 1) return parts[0]!;
  const whole = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
