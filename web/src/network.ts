/** A small model run in the page: what reads its inputs, its stack, and its head, from the weights that the page carries. */

import { CELLS, type Arrays, type Cell, type State, type Vector } from "./cells";
import { grids } from "./decode";
import { headOf, type Answers, type Head } from "./heads";
import { joined, reader, type Item, type Reader } from "./reading";
import type { CellWeights, Direction, ReadWeights, Weights } from "./types";

/** What a run comes to: the states of each layer and direction at every step, and the answers. */
export interface Run extends Answers {
  states: Partial<Record<Direction, State[]>>[];
  /** What each layer read. */
  inputs: Vector[][];
}

/** What runs inputs in the page: a network, or several together. */
export interface Runner {
  /** How its inputs are read. */
  readonly read: ReadWeights;
  /** The weights of its layers. */
  readonly stack: Weights["layers"];
  /** The texts that can be read; none where numbers are. */
  readonly vocabulary: string[];
  unknown(item: Item): boolean;
  run(items: Item[]): Run;
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

export class Network implements Runner {
  private constructor(
    private readonly weights: Weights,
    private readonly reader: Reader,
    private readonly layers: Layer[],
    private readonly head: Head,
  ) {}

  static async of(weights: Weights): Promise<Network> {
    const layers = await Promise.all(
      weights.layers.map(async (layer): Promise<Layer> => {
        const cells: Layer["cells"] = {};
        if (layer.ahead) cells.ahead = await made(layer.ahead);
        if (layer.back) cells.back = await made(layer.back);
        return { cells, residual: layer.residual };
      }),
    );
    const { read, head } = weights;
    const labels = head.kind === "next" && read.kind === "tokens" ? read.vocabulary : weights.labels;
    return new Network(weights, await reader(read), layers, await headOf(head, labels));
  }

  get read(): ReadWeights {
    return this.weights.read;
  }

  get stack(): Weights["layers"] {
    return this.weights.layers;
  }

  get vocabulary(): string[] {
    return this.weights.read.kind === "tokens" ? this.weights.read.vocabulary : [];
  }

  unknown(item: Item): boolean {
    return this.reader.unknown(item);
  }

  run(items: Item[]): Run {
    let inputs = this.reader.vectors(items);
    // behind what convolutions tell, a head reads it once more
    const seen = this.weights.read.kind === "rows" && (this.weights.read.convolutions.length || this.weights.read.filling) ? inputs : null;
    const states: Run["states"] = [];
    const read: Vector[][] = [];
    for (const layer of this.layers) {
      const done: Run["states"][number] = {};
      read.push(inputs);
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
    if (seen) inputs = inputs.map((output, t) => joined([output, seen[t]!]));
    return { states, inputs: read, ...this.head(inputs, this.reader.ids(items)) };
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
