/** The numbers of one lane as colours: columns are steps, rows are units. Semantic zoom: where several steps or units fall on
 *  one pixel, the pixel is their mean, made from the exact numbers; pictures of stretches are kept while they are in use. */

import { place, pixels } from "./colour";
import type { Grid } from "./decode";

/** Columns of a kept picture. */
const TILE = 256;
/** Kept pictures of a lane. */
const KEPT = 96;

export class Heat {
  readonly steps: number;
  readonly units: number;
  /** The largest size of a number: the ends of the scale. */
  readonly scale: number;
  private readonly data: Float32Array;
  private readonly tiles = new Map<string, HTMLCanvasElement>();
  private order: number[] | null = null;

  /** `scale`: the ends of the scale, where others' numbers are to be compared with these. */
  constructor(grid: Grid, scale?: number) {
    this.steps = grid.shape[0] ?? 0;
    this.units = grid.shape[1] ?? 0;
    this.data = grid.data;
    this.scale = scale ?? largest(this.data);
  }

  /** The units from top to bottom; null: as they are. */
  reorder(order: number[] | null): void {
    this.order = order && order.length === this.units ? order : null;
    this.forget();
  }

  forget(): void {
    this.tiles.clear();
  }

  value(step: number, unit: number): number {
    return this.data[step * this.units + unit]!;
  }

  row(step: number): Float32Array {
    return this.data.subarray(step * this.units, (step + 1) * this.units);
  }

  norm(step: number): number {
    let sum = 0;
    for (const value of this.row(step)) sum += value * value;
    return Math.sqrt(sum);
  }

  /** Least, mean and greatest of the steps [from, to), read from the exact numbers. */
  range(from: number, to: number): { least: number; mean: number; most: number } {
    let [least, most, sum] = [Infinity, -Infinity, 0];
    const [first, last] = [from * this.units, to * this.units];
    for (let i = first; i < last; i++) {
      const value = this.data[i]!;
      if (value < least) least = value;
      if (value > most) most = value;
      sum += value;
    }
    return { least, mean: sum / Math.max(1, last - first), most };
  }

  /** The unit that stands at a row. */
  unitAt(row: number): number {
    return this.order ? this.order[row]! : row;
  }

  /** The picture of TILE columns of `block` steps each, `rows` pixels high. */
  private tile(index: number, block: number, rows: number): HTMLCanvasElement {
    const key = `${block}/${index}/${rows}`;
    const kept = this.tiles.get(key);
    if (kept) {
      // the order of a Map is that of insertion: what was used last goes to its end
      this.tiles.delete(key);
      this.tiles.set(key, kept);
      return kept;
    }
    const first = index * TILE * block;
    const columns = Math.min(TILE, Math.ceil((this.steps - first) / block));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, columns);
    canvas.height = rows;
    this.paint(canvas, first, block, columns, rows);
    this.tiles.set(key, canvas);
    if (this.tiles.size > KEPT) this.tiles.delete(this.tiles.keys().next().value!);
    return canvas;
  }

  private paint(canvas: HTMLCanvasElement, first: number, block: number, columns: number, rows: number): void {
    const context = canvas.getContext("2d")!;
    const image = context.createImageData(canvas.width, rows);
    const into = new Uint32Array(image.data.buffer);
    const colours = pixels();
    const { units, data, order } = this;
    const sums = new Float64Array(rows);
    const counts = new Float64Array(rows);
    const rowOf = Int32Array.from({ length: units }, (_, k) => Math.floor((k * rows) / units));
    for (let column = 0; column < columns; column++) {
      const from = first + column * block;
      const to = Math.min(this.steps, from + block);
      sums.fill(0);
      counts.fill(0);
      for (let step = from; step < to; step++) {
        const base = step * units;
        for (let k = 0; k < units; k++) {
          const row = rowOf[k]!;
          sums[row]! += data[base + (order ? order[k]! : k)]!;
          counts[row]! += 1;
        }
      }
      for (let row = 0; row < rows; row++) {
        into[row * canvas.width + column] = colours[place(sums[row]! / counts[row]! / this.scale)]!;
      }
    }
    context.putImageData(image, 0, 0);
  }

  /** Steps [from, to) side by side from `left` on, each `width` wide. `ratio`: pixels of the screen in one of ours. */
  draw(
    context: CanvasRenderingContext2D,
    at: { left: number; top: number; width: number; height: number; from: number; to: number; ratio: number },
  ): void {
    const block = blockOf(at.width * at.ratio);
    const rows = Math.max(1, Math.min(this.units, Math.round(at.height * at.ratio)));
    const span = TILE * block;
    context.imageSmoothingEnabled = false;
    for (let index = Math.floor(at.from / span); index * span < at.to; index++) {
      const picture = this.tile(index, block, rows);
      // the last block may have fewer steps than it is wide
      const steps = Math.min(span, this.steps - index * span);
      const x = at.left + index * span * at.width;
      context.drawImage(picture, 0, 0, steps / block, rows, x, at.top, steps * at.width, at.height);
    }
  }

  /** One step in a box. */
  drawStep(
    context: CanvasRenderingContext2D,
    step: number,
    box: { x: number; y: number; width: number; height: number; ratio: number },
  ): void {
    const rows = Math.max(1, Math.min(this.units, Math.round(box.height * box.ratio)));
    const picture = this.tile(Math.floor(step / TILE), 1, rows);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, step % TILE, 0, 1, rows, box.x, box.y, box.width, box.height);
  }
}

function largest(data: Float32Array): number {
  let most = 0;
  for (const value of data) {
    const size = Math.abs(value);
    if (size > most && size < Infinity) most = size;
  }
  return most || 1;
}

/** Steps of one pixel where a step is so many pixels wide: a power of two. */
export function blockOf(width: number): number {
  return width >= 1 ? 1 : 2 ** Math.ceil(Math.log2(1 / width));
}
