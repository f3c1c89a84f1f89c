/** From the outputs of a stack to answers: what all steps come to, n-grams beside the network, the field over tags. */

import { affine, type Matrix, type Vector } from "./cells";
import { grid } from "./decode";
import { joined } from "./reading";
import type { Guess, HeadWeights, Numbers } from "./types";

export interface Answers {
  /** Of the whole, or of what comes next, the likeliest first. */
  guesses: Guess[];
  /** Of a tagger: for each token. */
  tags: Guess[][];
  /** Of a regressor. */
  numbers: { name: string; value: number }[];
}

/** The outputs of the stack and the numbers of the tokens -> answers. */
export type Head = (outputs: Vector[], ids: number[]) => Answers;

/** `labels` are what the guesses of the whole are named by. */
export async function headOf(weights: HeadWeights, labels: string[] | null): Promise<Head> {
  if (weights.kind === "next") return next(weights, labels!);
  return weights.kind === "whole" ? whole(weights, labels) : tagging(weights, labels);
}

type Of<K> = Extract<HeadWeights, { kind: K }>;

async function next(weights: Of<"next">, vocabulary: string[]): Promise<Head> {
  const read = await linear(weights.weight, weights.bias);
  const narrow = weights.narrow && (await grid(weights.narrow));
  return (outputs) => {
    const last = outputs.at(-1);
    const guesses = last ? likeliest(read(narrow ? affine(narrow, last) : last), vocabulary) : [];
    return { guesses, tags: [], numbers: [] };
  };
}

async function whole(weights: Of<"whole">, labels: string[] | null): Promise<Head> {
  const read = await linear(weights.weight, weights.bias);
  const attend = weights.attention && (await attention(weights.attention));
  const beside = weights.ngrams && (await ngrams(weights.ngrams));
  const both = weights.both_ways;
  const pools = { last: (all: Vector[]) => last(all, both), max: greatest, all: (all: Vector[]) => every(all, both), attention: attend! };
  return (outputs, ids) => {
    if (!outputs.length) return { guesses: [], tags: [], numbers: [] };
    let answers = read(pools[weights.summary](outputs));
    if (beside) {
      const said = beside(ids);
      const [network, grams] = weights.ngrams!.shares as [number, number];
      answers = answers.map((value, k) => network * value + grams * said[k]!);
    }
    const told = weights.numbers;
    if (told) {
      const numbers = told.names.map((name, k) => ({ name, value: answers[k]! * told.scale[k]! + told.mean[k]! }));
      return { guesses: [], tags: [], numbers };
    }
    return { guesses: likeliest(answers, labels!), tags: [], numbers: [] };
  };
}

async function tagging(weights: Of<"tags">, labels: string[] | null): Promise<Head> {
  const read = await linear(weights.weight, weights.bias);
  const label = weights.label && (await linear(weights.label.weight, weights.label.bias));
  const { field } = weights;
  const over = field && (await Promise.all([field.transitions, field.start, field.end].map((one) => grid(one))));
  return (outputs) => {
    const scores = outputs.map(read);
    const logs = over ? marginals(scores, over[0]!, over[1]!.data, over[2]!.data) : scores;
    return {
      guesses: label && outputs.length ? likeliest(label(greatest(outputs)), labels!) : [],
      tags: logs.map((each) => likeliest(each, weights.tags)),
      numbers: [],
    };
  };
}

// ---- parts

async function linear(weight: Numbers, bias: Numbers): Promise<(x: Vector) => Vector> {
  const [one, other] = await Promise.all([grid(weight), grid(bias)]);
  return (x) => affine(one, x, other);
}

function likeliest(logits: Vector, names: string[]): Guess[] {
  const total = logSum(logits);
  return Array.from(logits, (logit, k) => ({ text: names[k]!, p: Math.exp(logit - total) }))
    .sort((a, b) => b.p - a.p);
}

function logSum(values: ArrayLike<number>): number {
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i]!);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i]! - most);
  return most + Math.log(sum);
}

/** The last output; the half that reads backwards has seen everything at the first step. */
function last(outputs: Vector[], both: number): Vector {
  const end = outputs.at(-1)!;
  return both ? end.map((value, k) => (k >= both / 2 && k < both ? outputs[0]![k]! : value)) : end;
}

/** The greatest value of each unit, never below zero. */
function greatest(outputs: Vector[]): Vector {
  return outputs[0]!.map((_, k) => outputs.reduce((most, output) => Math.max(most, output[k]!), 0));
}

function every(outputs: Vector[], both: number): Vector {
  const mean = outputs[0]!.map((_, k) => outputs.reduce((sum, output) => sum + output[k]!, 0) / outputs.length);
  return joined([last(outputs, both), mean, greatest(outputs)]);
}

/** A mean of the outputs, each head of units with weights of its own: exp(bound tanh(score / bound)). */
async function attention(weights: { bound: number; weight: Numbers; score: Numbers }): Promise<(outputs: Vector[]) => Vector> {
  const [weight, score] = await Promise.all([grid(weights.weight), grid(weights.score)]);
  const heads = score.shape[0]!;
  return (outputs) => {
    const shares = outputs.map((output) =>
      affine(score, affine(weight, output).map(Math.tanh)).map((each) => Math.exp(weights.bound * Math.tanh(each / weights.bound))));
    const units = outputs[0]!.length;
    return outputs[0]!.map((_, k) => {
      const head = Math.floor((k * heads) / units);
      const mass = shares.reduce((sum, share) => sum + share[head]!, 0);
      return outputs.reduce((sum, output, t) => sum + output[k]! * shares[t]![head]!, 0) / mass;
    });
  };
}

/** What is multiplied by for each token of a hash, as `layers/ngrams.py` has it; no product here leaves 53 bits. */
const FACTOR = 1_000_003;

type NGramWeights = NonNullable<Of<"whole">["ngrams"]>;

async function ngrams(weights: NGramWeights): Promise<(ids: number[]) => Vector> {
  const [table, bias] = await Promise.all([grid(weights.table), grid(weights.bias)]);
  const lines = new Map(weights.filled.map((line, place) => [line, place]));
  const answers = bias.data.length;
  return (ids) => {
    const sums = new Float64Array(answers);
    let count = 0;
    for (let end = 0; end < ids.length; end++) {
      for (let length = 1; length <= Math.min(weights.longest, end + 1); length++) {
        let line = length;
        for (let at = end - length + 1; at <= end; at++) line = (line * FACTOR + ids[at]! + 1) % weights.lines;
        count++;
        const place = lines.get(line);
        if (place === undefined) continue;
        for (let k = 0; k < answers; k++) sums[k]! += table.data[place * answers + k]!;
      }
    }
    return sums.map((sum, k) => sum / Math.sqrt(Math.max(1, count)) + bias.data[k]!);
  };
}

/** The logarithm of each tag's share at each step over all ways to tag the others, up to a number of the step's own. */
function marginals(scores: Vector[], transitions: Matrix, start: Float32Array, end: Float32Array): Vector[] {
  const count = start.length;
  const move = (from: number, to: number): number => transitions.data[from * count + to]!;
  const every = Array.from({ length: count }, (_, k) => k);
  const ahead: Vector[] = [];
  scores.forEach((score, t) => {
    const before = ahead[t - 1];
    ahead.push(score.map((value, k) => value + (before ? logSum(every.map((from) => before[from]! + move(from, k))) : start[k]!)));
  });
  let after = Float64Array.from(end);
  const found: Vector[] = new Array(scores.length);
  for (let t = scores.length - 1; t >= 0; t--) {
    const behind = after;
    found[t] = ahead[t]!.map((value, k) => value + behind[k]!);
    after = Float64Array.from(every, (k) => logSum(every.map((to) => move(k, to) + scores[t]![to]! + behind[to]!)));
  }
  return found;
}
