/** The scenes as the page runs them itself, with the weights that it carries; made when they are first asked for. */

import { grids } from "./decode";
import { Network, type Run, type Runner } from "./network";
import { leavesOf, OUTPUTS, type Loaded } from "./scene";
import { TERMS } from "./terms";
import { Together } from "./together";
import type { Arrays } from "./cells";
import type { Direction, Look } from "./types";

/** Steps that are run at most. */
export const MOST = 400;

export class Reruns {
  private made: Promise<Runner | null> | null = null;
  private readonly runs = new Map<number, Run>();

  constructor(
    private readonly look: Look,
    private readonly scenes: Loaded[],
  ) {}

  /** null for a model that the page does not run, or for sequences that are too long. */
  network(): Promise<Runner | null> {
    const { weights } = this.look;
    const short = this.scenes.every((each) => each.steps <= MOST);
    return (this.made ??= weights && short ? ("members" in weights ? Together.of(weights) : Network.of(weights)) : Promise.resolve(null));
  }

  /** A scene as it was. */
  run(network: Runner, scene: number): Run {
    let run = this.runs.get(scene);
    if (!run) this.runs.set(scene, (run = network.run(this.scenes[scene]!.items())));
    return run;
  }

  /** The parts of sums at one step by name; none where the page cannot compute them. */
  async terms(scene: number, where: { layer: number; direction: Direction; step: number }): Promise<Map<string, Float32Array>> {
    const { layer, direction, step } = where;
    const network = await this.network();
    const weights = network?.stack[layer]?.[direction];
    const terms = weights && TERMS[weights.cell];
    if (!network || !terms) return new Map();
    const loaded = this.scenes[scene]!;
    const x = this.run(network, scene).inputs[layer]![step]!;
    const before: Record<string, Float64Array> = {};
    for (const leaf of leavesOf(loaded.layers[layer]!)) {
      if (leaf !== OUTPUTS) before[leaf] = Float64Array.from(loaded.before(layer, direction, leaf, step));
    }
    const named = terms((await grids(weights.arrays)) as Arrays, x, before, weights.hidden, weights.options);
    return new Map(named.map(([name, values]) => [name, Float32Array.from(values)]));
  }
}
