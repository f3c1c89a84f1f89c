/** A small model run in the page: embedding, stack, pooling and head, from the weights that the page carries. */

import { affine, CELLS, type Arrays, type Cell, type Matrix, type State, type Vector } from "./cells";
import { grid, grids } from "./decode";
import type { CellWeights, Direction, Guess, Weights } from "./types";

/** What a run comes to: the states of each layer and direction at every step, and the likeliest answers. */
export interface Run {
  states: Partial<Record<Direction, State[]>>[];
  /** Of each step for a language model, otherwise one for the whole. */
  answers: Guess[][];
}

interface Layer {
  cells: Partial<Record<Direction, Cell>>;
  residual: boolean;
}

async function made(weights: CellWeights): Promise<Cell> {
  const maker = CELLS[weights.cell];
  if (!maker) throw new Error(`the page knows no cell '${weights.cell}'`);
  return maker((await grids(weights.arrays)) as Arrays, weights.hidden, weights.options);
}

export class Network {
  private readonly ids: Map<string, number>;

  private constructor(
    private readonly weights: Weights,
    private readonly embedding: Matrix,
    private readonly layers: Layer[],
    private readonly head: { narrow: Matrix | null; weight: Matrix; bias: Matrix },
  ) {
    this.ids = new Map(weights.vocabulary.map((text, id) => [text, id]));
  }

  static async of(weights: Weights): Promise<Network> {
    const layers = await Promise.all(
      weights.layers.map(async (layer): Promise<Layer> => {
        const cells: Layer["cells"] = {};
        if (layer.ahead) cells.ahead = await made(layer.ahead);
        if (layer.back) cells.back = await made(layer.back);
        return { cells, residual: layer.residual };
      }),
    );
    const { narrow, weight, bias } = weights.head;
    const head = { narrow: narrow ? await grid(narrow) : null, weight: await grid(weight), bias: await grid(bias) };
    return new Network(weights, await grid(weights.embedding), layers, head);
  }

  /** The id of a text, or null where the vocabulary has it not. */
  id(text: string): number | null {
    const found = this.ids.get(text) ?? (this.weights.lowercase ? this.ids.get(text.toLowerCase()) : undefined);
    return found ?? null;
  }

  /** Whether the model has something that stands for texts it does not know. */
  get knowsUnknown(): boolean {
    return this.weights.unknown !== null;
  }

  get vocabulary(): string[] {
    return this.weights.vocabulary;
  }

  run(texts: string[]): Run {
    const width = this.embedding.shape[1]!;
    let inputs: Vector[] = texts.map((text): Vector => {
      const id = this.id(text) ?? this.weights.unknown ?? 0;
      return Float64Array.from(this.embedding.data.subarray(id * width, (id + 1) * width));
    });
    const states: Run["states"] = [];
    for (const layer of this.layers) {
      const done: Run["states"][number] = {};
      const sides: Vector[][] = [];
      for (const way of ["ahead", "back"] as const) {
        const cell = layer.cells[way];
        if (!cell) continue;
        const { outputs, each } = walk(cell, inputs, way === "back");
        done[way] = each;
        sides.push(outputs);
      }
      const before = inputs;
      inputs = inputs.map((_, t) => joined(sides.map((side) => side[t]!)));
      if (layer.residual) inputs = inputs.map((output, t) => output.map((value, k) => value + before[t]![k]!));
      states.push(done);
    }
    return { states, answers: this.answer(inputs) };
  }

  private answer(outputs: Vector[]): Guess[][] {
    const { summary, both_ways: both } = this.weights.head;
    if (summary === null) return outputs.map((output) => this.guesses(output));
    if (!outputs.length) return [];
    const read = { last: () => last(outputs, both), max: () => greatest(outputs), all: () => all(outputs, both) };
    return [this.guesses(read[summary]())];
  }

  private guesses(read: Vector): Guess[] {
    const { narrow, weight, bias } = this.head;
    const logits = affine(weight, narrow ? affine(narrow, read) : read, bias);
    const most = Math.max(...logits);
    const shares = logits.map((logit) => Math.exp(logit - most));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const names = this.weights.labels ?? this.weights.vocabulary;
    return Array.from(shares, (share, k) => ({ text: names[k]!, p: share / total }))
      .sort((a, b) => b.p - a.p)
      .slice(0, 5);
  }
}

/** A cell over all steps; backwards from the last one. */
function walk(cell: Cell, inputs: Vector[], reverse: boolean): { outputs: Vector[]; each: State[] } {
  const outputs: Vector[] = new Array(inputs.length);
  const each: State[] = new Array(inputs.length);
  let state = cell.initial();
  for (let i = 0; i < inputs.length; i++) {
    const t = reverse ? inputs.length - 1 - i : i;
    const after = cell.step(inputs[t]!, state);
    state = after.state;
    outputs[t] = after.output;
    each[t] = state;
  }
  return { outputs, each };
}

function joined(parts: Vector[]): Vector {
  if (parts.length === 1) return parts[0]!;
  return Float64Array.from(parts.flatMap((part) => Array.from(part)));
}

/** The last output; the half that reads backwards has seen everything at the first step. */
function last(outputs: Vector[], both: number): Vector {
  const end = outputs.at(-1)!;
  return both ? end.map((value, k) => (k >= both / 2 && k < both ? outputs[0]![k]! : value)) : end;
}

function greatest(outputs: Vector[]): Vector {
  return outputs[0]!.map((_, k) => outputs.reduce((most, output) => Math.max(most, output[k]!), 0));
}

function all(outputs: Vector[], both: number): Vector {
  const mean = outputs[0]!.map((_, k) => outputs.reduce((sum, output) => sum + output[k]!, 0) / outputs.length);
  return joined([last(outputs, both), mean, greatest(outputs)]);
}
