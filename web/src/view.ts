/** Where things stand in a strip: which step at which place, how wide, how high. Knows no drawing. */

import type { Direction } from "./types";

export interface LaneBox {
  layer: number;
  direction: Direction;
  top: number;
}

/** From this width on a step is a cell of its own with arrows. */
export const CELLS = 24;
const WIDEST = 132;
/** Steps of a sequence that is opened wide enough to be read, although not all of it can be seen then. */
const FEW = 24;
const [EDGE_LEAST, EDGE_MOST] = [22, 76];

export class View {
  /** Width of a step, and where the first one begins. */
  width = 64;
  left = 0;
  /** Of the window. */
  span = 600;
  /** 0: unrolled, 1: folded. */
  fold = 0;
  /** Where the first lane begins, below the outputs. */
  readonly top: number;
  readonly lanes: LaneBox[] = [];
  readonly laneHeight: number;
  readonly height: number;

  constructor(
    readonly steps: number,
    /** Which layers stand in the strip, from below, and the directions of each. */
    readonly layers: { layer: number; directions: Direction[] }[],
    units: number,
    speaks: boolean,
    /** Room below the inputs. */
    readonly below = 0,
  ) {
    this.top = speaks ? 62 : 24;
    const count = layers.reduce((sum, each) => sum + each.directions.length, 0);
    const most = count > 6 ? 44 : count > 3 ? 72 : 92;
    this.laneHeight = Math.min(most, Math.max(34, units * 4));
    const gap = 30;
    let y = this.top;
    // the last layer stands on top
    for (const { layer, directions } of [...layers].reverse()) {
      for (const direction of [...directions].reverse()) {
        this.lanes.push({ layer, direction, top: y });
        y += this.laneHeight + gap;
      }
    }
    this.height = y + 40 + below;
  }

  /** Room for the initial and the final state beside the steps. */
  get edge(): number {
    return Math.max(EDGE_LEAST, Math.min(this.width, EDGE_MOST));
  }

  get bottom(): number {
    return this.height - 40 - this.below;
  }

  /** The left side of a step; -1 and `steps` are the places of the states before and after. */
  x(step: number): number {
    const x = this.left + this.edge + step * this.width;
    const unfolded = step < 0 ? this.left : x;
    return this.fold === 0 ? unfolded : unfolded + (this.span / 2 - this.width / 2 - unfolded) * this.fold;
  }

  /** The width of the picture of a step, or of a state at the side. */
  widthOf(step: number): number {
    return step < 0 || step >= this.steps ? this.edge : this.width;
  }

  get inset(): number {
    return this.width >= CELLS ? Math.min(22, this.width * 0.2) : 0;
  }

  get total(): number {
    return this.steps * this.width + 2 * this.edge;
  }

  /** Steps [from, to) that can be seen. */
  get visible(): [number, number] {
    const from = Math.floor((-this.left - this.edge) / this.width);
    const to = Math.ceil((this.span - this.left - this.edge) / this.width);
    return [Math.max(0, from), Math.min(this.steps, Math.max(0, to))];
  }

  /** The step at a place in the window. */
  stepAt(x: number): number {
    return Math.floor((x - this.left - this.edge) / this.width);
  }

  laneAt(y: number): LaneBox | null {
    return this.lanes.find((lane) => y >= lane.top - 6 && y <= lane.top + this.laneHeight + 6) ?? null;
  }

  /** The width at which all steps and the states at both ends fill the window. */
  get whole(): number {
    const even = this.span / (this.steps + 2);
    if (even >= EDGE_LEAST && even <= EDGE_MOST) return even;
    return (this.span - 2 * (even < EDGE_LEAST ? EDGE_LEAST : EDGE_MOST)) / Math.max(1, this.steps);
  }

  get least(): number {
    return Math.min(56, Math.max(1e-3, this.whole));
  }

  /** Keep the sequence in the window. */
  settle(): void {
    this.width = Math.min(WIDEST, Math.max(this.least, this.width));
    const free = this.span - this.total;
    this.left = free >= 0 ? free / 2 : Math.min(0, Math.max(free, this.left));
  }

  /** All of it, or as much as can be read. */
  fit(): void {
    this.width = Math.min(84, this.whole);
    this.left = 0;
    this.settle();
  }

  /** How it is seen first: all of it, or of a short sequence as wide as its texts can be read. */
  open(readable: number): void {
    this.fit();
    if (this.steps > FEW || this.width >= readable) return;
    this.width = readable;
    this.left = 0;
    this.settle();
  }

  zoom(factor: number, at = this.span / 2): void {
    const step = (at - this.left - this.edge) / this.width;
    this.width = Math.min(WIDEST, Math.max(this.least, this.width * factor));
    this.left = at - this.edge - step * this.width;
    this.settle();
  }

  pan(by: number): void {
    this.left += by;
    this.settle();
  }

  /** Bring a step into the window. */
  show(step: number): void {
    const x = this.left + this.edge + step * this.width;
    if (x < this.edge) this.left += this.edge - x;
    if (x + this.width > this.span - 24) this.left -= x + this.width - this.span + 24;
    this.settle();
  }
}
