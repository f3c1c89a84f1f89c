/** One scene, its states decoded and ready to be drawn; what is rarely asked for is decoded when it is. */

import { grid, grids, leafOf, type Grid } from "./decode";
import { seen } from "./dom";
import { Heat } from "./heat";
import type { Direction, Lane, Layer, Output, Scene } from "./types";
import { given, number, percent } from "./words";

/** A leaf that stands for the output of a layer, where its cell has no state. */
export const OUTPUTS = "outputs";

/** Layers that take the same steps: one strip. Most scenes have one; a translator's encoder reads another sequence. */
export interface Group {
  layers: number[];
  steps: number;
  /** Whether the scene's inputs are its own, the source's, or nothing that has a text. */
  reads: "inputs" | "source" | "nothing";
  speaks: boolean;
}

export class Loaded {
  private readonly heats = new Map<string, Heat>();
  private readonly initials = new Map<string, Float32Array>();
  private rows: Grid | null = null;
  /** The strips of the scene, in the order of their layers. */
  groups: Group[] = [];

  private constructor(
    readonly scene: Scene,
    readonly layers: Layer[],
  ) {}

  /** All states of a scene decoded. */
  static async of(scene: Scene, layers: Layer[]): Promise<Loaded> {
    const loaded = new Loaded(scene, layers);
    const work: Promise<void>[] = [];
    layers.forEach((layer, index) => {
      for (const direction of layer.directions.filter((way) => scene.layers[index]?.[way])) work.push(loaded.load(index, direction, leavesOf(layer)));
    });
    if (scene.inputs.kind === "rows") {
      work.push(grid(scene.inputs.values).then((rows) => void (loaded.rows = rows)));
    }
    await Promise.all(work);
    loaded.groups = loaded.grouped();
    return loaded;
  }

  private async load(layer: number, direction: Direction, leaves: string[]): Promise<void> {
    const lane = this.lane(layer, direction);
    const one = async (leaf: string): Promise<void> => {
      const values = await (leaf === OUTPUTS ? grid(lane.outputs!) : leafOf(lane, leaf, direction));
      this.heats.set(`${layer}/${direction}/${leaf}`, new Heat(values));
      const initial = lane.initial[leaf];
      if (initial) this.initials.set(`${layer}/${direction}/${leaf}`, (await grid(initial)).data);
    };
    await Promise.all(leaves.map(one));
  }

  private grouped(): Group[] {
    const found = new Map<number, Group>();
    const source = this.scene.inputs.kind === "tokens" ? this.scene.inputs.source : undefined;
    this.layers.forEach((layer, index) => {
      const direction = layer.directions.find((way) => this.scene.layers[index]?.[way]);
      if (!direction) return;
      // an encoder is named so; without one all steps of another number are parts of a sequence
      const encodes = source !== undefined && layer.name.startsWith("encoder");
      const steps = this.heat(index, direction, "").steps;
      const key = encodes ? -1 - steps : steps;
      const own = steps === this.steps && !encodes;
      const group = found.get(key) ?? {
        layers: [],
        steps,
        reads: encodes ? "source" : own ? "inputs" : "nothing",
        speaks: own && this.scene.outputs.some((output) => output !== null),
      };
      group.layers.push(index);
      found.set(key, group);
    });
    return [...found.values()];
  }

  groupOf(layer: number): Group {
    return this.groups.find((group) => group.layers.includes(layer)) ?? this.groups[0]!;
  }

  /** What comes in at a step of a strip. */
  read(group: Group, step: number): string {
    if (group.reads === "inputs") return this.input(step);
    const source = this.scene.inputs.kind === "tokens" ? this.scene.inputs.source : undefined;
    return group.reads === "source" ? seen(source?.[step] ?? "") : "";
  }

  lane(layer: number, direction: Direction): Lane {
    return this.scene.layers[layer]![direction]!;
  }

  get steps(): number {
    return this.scene.steps;
  }

  /** The numbers of a lane; a layer that has no such leaf shows its first one. */
  heat(layer: number, direction: Direction, leaf: string): Heat {
    const leaves = leavesOf(this.layers[layer]!);
    return this.heats.get(`${layer}/${direction}/${leaves.includes(leaf) ? leaf : leaves[0]!}`)!;
  }

  initial(layer: number, direction: Direction, leaf: string): Float32Array {
    const heat = this.heat(layer, direction, leaf);
    const leaves = leavesOf(this.layers[layer]!);
    const found = this.initials.get(`${layer}/${direction}/${leaves.includes(leaf) ? leaf : leaves[0]!}`);
    return found ?? new Float32Array(heat.units);
  }

  /** What a step was read from: the state before it. */
  before(layer: number, direction: Direction, leaf: string, step: number): Float32Array {
    const apart = this.layers[layer]!.apart ?? 1;
    const at = direction === "ahead" ? step - apart : step + apart;
    const heat = this.heat(layer, direction, leaf);
    return apart > 0 && at >= 0 && at < heat.steps ? heat.row(at) : this.initial(layer, direction, leaf);
  }

  /** The texts that reasons are about: a translation is explained by its source. */
  explaining(step: number): string {
    const inputs = this.scene.inputs;
    return inputs.kind === "tokens" && inputs.source ? seen(inputs.source[step] ?? "") : this.input(step);
  }

  /** The strip whose inputs reasons are about, and how many these are. */
  get explained(): Group {
    return this.groups.find((group) => group.reads === "source") ?? this.groups.find((group) => group.reads === "inputs") ?? this.groups[0]!;
  }

  /** Inner values of a lane, and the terms of its sums where the page has them. */
  inner(layer: number, direction: Direction): Promise<Record<string, Grid>> {
    const lane = this.lane(layer, direction);
    return grids({ ...lane.terms, ...lane.inner });
  }

  reorder(likeness: boolean): void {
    for (const [key, heat] of this.heats) {
      const [layer, direction] = key.split("/") as [string, Direction];
      heat.reorder(likeness ? (this.scene.units.order[Number(layer)]?.[direction] ?? null) : null);
    }
  }

  recolour(): void {
    for (const heat of this.heats.values()) heat.forget();
  }

  /** The rows of numbers that come in; null where texts do. */
  get numbers(): Grid | null {
    return this.rows;
  }

  /** What comes in at every step, as it can be changed. */
  items(): (string | number[])[] {
    const inputs = this.scene.inputs;
    if (inputs.kind === "tokens") return [...inputs.texts];
    const width = this.rows?.shape[1] ?? 1;
    return Array.from({ length: this.steps }, (_, t) => Array.from(this.rows?.data.subarray(t * width, (t + 1) * width) ?? []));
  }

  /** What comes in at a step, in words. */
  input(step: number): string {
    const inputs = this.scene.inputs;
    if (inputs.kind === "tokens") return seen(inputs.texts[step] ?? "");
    const width = this.rows?.shape[1] ?? 1;
    const values = this.rows?.data.subarray(step * width, (step + 1) * width) ?? [];
    const shown = Array.from(values.slice(0, 3), given).join(" ");
    return values.length > 3 ? `${shown} …` : shown;
  }

  /** What comes in, column by column where it is numbers. */
  inputInFull(step: number): string {
    const inputs = this.scene.inputs;
    if (inputs.kind === "tokens" || !this.rows) return this.input(step);
    const width = this.rows.shape[1] ?? 1;
    return Array.from(this.rows.data.subarray(step * width, (step + 1) * width), (value, i) =>
      `${inputs.columns[i] ?? i + 1} ${given(value)}`).join(", ");
  }

  output(step: number): string {
    return short(this.scene.outputs[step] ?? null);
  }

  outputInFull(step: number): string {
    return long(this.scene.outputs[step] ?? null);
  }
}

/** Whether nothing is handed on from step to step: a network without a loop. */
export function isStateless(layers: Layer[]): boolean {
  return layers.every((layer) => !layer.leaves.length && !layer.matrices?.length);
}

export function leavesOf(layer: Layer): string[] {
  return layer.leaves.length ? layer.leaves : [OUTPUTS];
}

function short(output: Output): string {
  if (output === null) return "";
  if (typeof output === "number") return number(output);
  const first = output[0];
  if (first === undefined) return "";
  return typeof first === "number" ? number(first) : seen(first.text);
}

function long(output: Output): string {
  if (output === null) return "";
  if (typeof output === "number") return number(output);
  return output.map((one) => (typeof one === "number" ? number(one) : `${seen(one.text)} ${percent(one.p)}`)).join(", ");
}
