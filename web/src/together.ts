/** Several networks that answer together: the mean of what they say, and by choice a voice of fixed convolutions beside them. */

import { affine, type Vector } from "./cells";
import { grid } from "./decode";
import { Network, type Run, type Runner } from "./network";
import { filled, standardised, type Item } from "./reading";
import type { Guess, ReadWeights, TogetherWeights, VoiceWeights, Weights } from "./types";

/** No class is less likely than that. */
const LEAST = 1e-12;
const TAPS = 9;

export class Together implements Runner {
  private constructor(
    private readonly weights: TogetherWeights,
    private readonly networks: Network[],
    private readonly voice: ((rows: Vector[]) => Vector) | null,
  ) {}

  static async of(weights: TogetherWeights): Promise<Together> {
    const networks = await Promise.all(weights.members.map((member) => Network.of(member)));
    return new Together(weights, networks, weights.voice && (await voice(weights.voice)));
  }

  get read(): ReadWeights {
    return this.networks[0]!.read;
  }

  get stack(): Weights["layers"] {
    return this.networks.flatMap((network) => network.stack);
  }

  get vocabulary(): string[] {
    return this.networks[0]!.vocabulary;
  }

  unknown(item: Item): boolean {
    return this.networks[0]!.unknown(item);
  }

  run(items: Item[]): Run {
    const runs = this.networks.map((network) => network.run(items));
    const { read } = this;
    const said = this.voice && read.kind === "rows" ? this.voice(standardised(read, items)) : null;
    const mixed = (mean: number, beside: number): number => (said ? (1 - this.weights.share) * mean + this.weights.share * beside : mean);
    const mean = (of: (run: Run) => number): number => runs.reduce((sum, run) => sum + of(run), 0) / runs.length;
    const { head, labels } = this.weights.members[0]!;
    const told = head.kind === "whole" ? head.numbers : null;
    const numbers = (told?.names ?? []).map((name, k) => ({
      name,
      value: mixed(mean((run) => run.numbers[k]!.value), said ? said[k]! * told!.scale[k]! + told!.mean[k]! : 0),
    }));
    const shares = said && softmax(said);
    const guesses: Guess[] = told ? [] : (labels ?? []).map((text, k) => {
      const p = mean((run) => run.guesses.find((guess) => guess.text === text)!.p);
      return { text, p: Math.max(LEAST, mixed(p, shares ? shares[k]! : 0)) };
    });
    return {
      states: runs.flatMap((run) => run.states),
      inputs: runs.flatMap((run) => run.inputs),
      guesses: guesses.sort((a, b) => b.p - a.p),
      numbers,
      tags: [],
    };
  }
}

function softmax(values: Vector): Vector {
  const most = Math.max(...values);
  const sum = values.reduce((total, value) => total + Math.exp(value - most), 0);
  return values.map((value) => Math.exp(value - most) / sum);
}

/** Ridge regression on the share of steps at which each kernel lies above each threshold, as `layers/probes.py` counts them. */
async function voice(weights: VoiceWeights): Promise<(rows: Vector[]) => Vector> {
  const [kernels, thresholds, weight, bias] = await Promise.all([weights.kernels, weights.thresholds, weights.weight, weights.bias].map((one) => grid(one)));
  const [, count, each] = thresholds!.shape as [number, number, number];
  const wide = kernels!.shape[2]!;
  return (given) => {
    const rows = weights.filling ? filled(given, weights.filling) : given;
    const features = new Float64Array(weights.dilations.length * count * each);
    weights.dilations.forEach((dilation, place) => {
      for (let kernel = 0; kernel < count; kernel++) {
        const line = place * count + kernel;
        const taps = kernels!.data.subarray(line * wide, (line + 1) * wide);
        // every other kernel starts only where its window is filled
        const from = (kernel + place) % 2 ? (TAPS - 1) * dilation : 0;
        const possible = Math.max(1, rows.length - from);
        for (let t = from; t < rows.length; t++) {
          // thresholds are in single precision, and so is what is held against them
          const found = Math.fround(response(rows, taps, t, dilation));
          for (let at = line * each; at < (line + 1) * each; at++) if (found > thresholds!.data[at]!) features[at]! += 1 / possible;
        }
      }
    });
    return affine(weight!, features, bias);
  };
}

/** A kernel at a step: it looks back over nine taps, `dilation` steps apart, and sees zeros before the beginning. */
function response(rows: Vector[], taps: Float32Array, t: number, dilation: number): number {
  let sum = 0;
  for (let tap = 0; tap < TAPS; tap++) {
    const row = rows[t - (TAPS - 1 - tap) * dilation];
    if (!row) continue;
    for (let k = 0; k < row.length; k++) sum += taps[tap * row.length + k]! * row[k]!;
  }
  return sum;
}
