/** One step of each cell, as `kernels/steps.py` and `kernels/sweeps.py` of Recurra have it: the same equations in doubles. */

export interface Matrix {
  data: Float32Array;
  shape: number[];
}

export type Vector = Float64Array;
export type State = Record<string, Vector>;
export type Arrays = Record<string, Matrix>;

export interface Options {
  activation?: string;
  reset_after?: boolean;
  heads?: number;
}

export interface Cell {
  initial(): State;
  step(x: Vector, state: State): { output: Vector; state: State };
}

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));
const logSigmoid = (z: number): number => Math.min(z, 0) - Math.log1p(Math.exp(-Math.abs(z)));
const softplus = (z: number): number => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

/** Those that the page knows. */
export const ACTIVATIONS: Record<string, (z: number) => number> = {
  tanh: Math.tanh,
  relu: (z) => Math.max(0, z),
  sigmoid,
  identity: (z) => z,
};

/** W x + b. */
export function affine(weight: Matrix, x: Vector, bias?: Matrix): Vector {
  const [rows, columns] = [weight.shape[0]!, weight.shape[1]!];
  const result = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = bias ? bias.data[i]! : 0;
    const from = i * columns;
    for (let j = 0; j < columns; j++) sum += weight.data[from + j]! * x[j]!;
    result[i] = sum;
  }
  return result;
}

/** weight[G, H, W] times the numbers of each block of W units: G * H sums. */
function byBlocks(x: Vector, weight: Matrix): Vector {
  const [gates, hidden, width] = weight.shape as [number, number, number];
  const result = new Float64Array(gates * hidden);
  for (let row = 0; row < gates * hidden; row++) {
    const block = Math.floor((row % hidden) / width) * width;
    let sum = 0;
    for (let j = 0; j < width; j++) sum += weight.data[row * width + j]! * x[block + j]!;
    result[row] = sum;
  }
  return result;
}

function add(one: Vector, other: ArrayLike<number>): Vector {
  return one.map((value, i) => value + other[i]!);
}

/** Some rows of a matrix. */
export function rows(weight: Matrix, from: number, to: number): Matrix {
  const width = weight.shape[1] ?? 1;
  return { data: weight.data.subarray(from * width, to * width), shape: [to - from, ...weight.shape.slice(1)] };
}

function zeros(...leaves: [string, number][]): State {
  return Object.fromEntries(leaves.map(([name, width]) => [name, new Float64Array(width)]));
}

function map(width: number, each: (k: number) => number): Vector {
  const result = new Float64Array(width);
  for (let k = 0; k < width; k++) result[k] = each(k);
  return result;
}

type Maker = (arrays: Arrays, hidden: number, options: Options) => Cell;

const feedforward: Maker = (arrays, _, options) => ({
  initial: () => ({}),
  step: (x) => ({ output: affine(arrays.weight_in!, x, arrays.bias!).map(ACTIVATIONS[options.activation!]!), state: {} }),
});

const elman: Maker = (arrays, hidden, options) => ({
  initial: () => zeros(["h", hidden]),
  step: (x, state) => {
    const sums = add(affine(arrays.weight_in!, x, arrays.bias!), affine(arrays.weight_state!, state.h!));
    const h = sums.map(ACTIVATIONS[options.activation!]!);
    return { output: h, state: { h } };
  },
});

const gru: Maker = (arrays, H, options) => ({
  initial: () => zeros(["h", H]),
  step: (x, state) => {
    const before = state.h!;
    const sums = affine(arrays.weight_in!, x, arrays.bias!);
    const gates = affine(rows(arrays.weight_state!, 0, 2 * H), before);
    const r = map(H, (k) => sigmoid(sums[k]! + gates[k]!));
    const z = map(H, (k) => sigmoid(sums[H + k]! + gates[H + k]!));
    const after = options.reset_after!;
    const read = after ? before : before.map((value, k) => value * r[k]!);
    const q = affine(rows(arrays.weight_state!, 2 * H, 3 * H), read, arrays.bias_state!);
    const n = map(H, (k) => Math.tanh(sums[2 * H + k]! + (after ? r[k]! * q[k]! : q[k]!)));
    const h = map(H, (k) => (1 - z[k]!) * n[k]! + z[k]! * before[k]!);
    return { output: h, state: { h } };
  },
});

const lstm: Maker = (arrays, H) => ({
  initial: () => zeros(["h", H], ["c", H]),
  step: (x, state) => {
    const sums = add(affine(arrays.weight_in!, x, arrays.bias!), affine(arrays.weight_state!, state.h!));
    const c = map(H, (k) => sigmoid(sums[H + k]!) * state.c![k]! + sigmoid(sums[k]!) * Math.tanh(sums[2 * H + k]!));
    const h = map(H, (k) => sigmoid(sums[3 * H + k]!) * Math.tanh(c[k]!));
    return { output: h, state: { h, c } };
  },
});

const mingru: Maker = (arrays, H) => ({
  initial: () => zeros(["h", H]),
  step: (x, state) => {
    const sums = affine(arrays.weight_in!, x, arrays.bias!);
    const h = map(H, (k) => state.h![k]! + sigmoid(sums[k]!) * (sums[H + k]! - state.h![k]!));
    return { output: h, state: { h } };
  },
});

const minlstm: Maker = (arrays, H) => ({
  initial: () => zeros(["h", H]),
  step: (x, state) => {
    const sums = affine(arrays.weight_in!, x, arrays.bias!);
    const h = map(H, (k) => {
      const keep = sigmoid(logSigmoid(sums[k]!) - logSigmoid(sums[H + k]!));
      return sums[2 * H + k]! + keep * (state.h![k]! - sums[2 * H + k]!);
    });
    return { output: h, state: { h } };
  },
});

const rglru: Maker = (arrays, H) => ({
  initial: () => zeros(["h", H]),
  step: (x, state) => {
    const v = arrays.weight_in ? affine(arrays.weight_in, x, arrays.bias!) : x;
    const gates = add(byBlocks(v, arrays.weight_gates!), arrays.bias_gates!.data);
    const h = map(H, (k) => {
      const log = -8 * softplus(arrays.decay!.data[k]!) * sigmoid(gates[k]!);
      const room = Math.sqrt(Math.max(1e-12, -Math.expm1(2 * log)));
      return Math.exp(log) * state.h![k]! + room * sigmoid(gates[H + k]!) * v[k]!;
    });
    return { output: h, state: { h } };
  },
});

const lru: Maker = (arrays, _, options) => {
  const N = arrays.ring!.shape[1]!;
  const ring = arrays.ring!.data;
  const size = map(N, (k) => Math.exp(-Math.exp(ring[k]!)));
  const angle = map(N, (k) => Math.exp(ring[N + k]!));
  const [re, im] = [map(N, (k) => size[k]! * Math.cos(angle[k]!)), map(N, (k) => size[k]! * Math.sin(angle[k]!))];
  const gain = map(N, (k) => Math.exp(ring[2 * N + k]!));
  return {
    initial: () => zeros(["re", N], ["im", N]),
    step: (x, state) => {
      const sums = affine(arrays.weight_in!, x, arrays.bias!);
      const next = {
        re: map(N, (k) => re[k]! * state.re![k]! - im[k]! * state.im![k]! + gain[k]! * sums[k]!),
        im: map(N, (k) => re[k]! * state.im![k]! + im[k]! * state.re![k]! + gain[k]! * sums[N + k]!),
      };
      const whole = new Float64Array(2 * N);
      whole.set(next.re);
      whole.set(next.im, N);
      let output = affine(arrays.readout!, whole);
      if (arrays.skip) output = output.map((value, k) => value + arrays.skip!.data[k]! * x[k]!);
      return { output: output.map(ACTIVATIONS[options.activation!]!), state: next };
    },
  };
};

/** m' of exponential gates; its logarithm is the fraction of polynomials that the kernels have. */
function stabiliser(input: number, forget: number, m: number): number {
  const e = Math.exp(-Math.abs(forget));
  const log = (e * (30 + 21 * e + e * e)) / (30 + 36 * e + 9 * e * e);
  return Math.max(Math.min(forget, 0) - log + m, input);
}

const slstm: Maker = (arrays, H) => ({
  initial: () => zeros(["h", H], ["c", H], ["n", H], ["m", H]),
  step: (x, state) => {
    const sums = add(affine(arrays.weight_in!, x, arrays.bias!), byBlocks(state.h!, arrays.weight_state!));
    const next = zeros(["h", H], ["c", H], ["n", H], ["m", H]);
    for (let k = 0; k < H; k++) {
      const [z, i, f, o] = [sums[k]!, sums[H + k]!, sums[2 * H + k]!, sums[3 * H + k]!];
      // where nothing was seen yet, m is the input gate's
      const before = state.n![k] === 0 ? -1e30 : state.m![k]!;
      const m = stabiliser(i, f, before);
      const gate = Math.exp(i - m);
      const keep = Math.exp(logSigmoid(f) + before - m);
      next.m![k] = m;
      next.c![k] = keep * state.c![k]! + gate * Math.tanh(z);
      next.n![k] = keep * state.n![k]! + gate;
      next.h![k] = sigmoid(o) * (next.c![k]! / next.n![k]!);
    }
    return { output: next.h!, state: next };
  },
});

const mlstm: Maker = (arrays, H, options) => {
  const heads = options.heads!;
  const W = H / heads;
  return {
    initial: () => zeros(["n", H], ["c", H * W], ["m", heads]),
    step: (x, state) => {
      const sums = affine(arrays.weight_in!, x, arrays.bias!);
      const next = zeros(["n", H], ["c", H * W], ["m", heads]);
      const output = new Float64Array(H);
      for (let head = 0; head < heads; head++) {
        const [i, f] = [sums[4 * H + head]!, sums[4 * H + heads + head]!];
        const m = stabiliser(i, f, state.m![head]!);
        const gate = Math.exp(i - m);
        const keep = Math.exp(logSigmoid(f) + state.m![head]! - m);
        next.m![head] = m;
        const read = new Float64Array(W);
        let by = 0;
        for (let a = 0; a < W; a++) {
          const unit = head * W + a;
          const key = gate * (sums[H + unit]! / Math.sqrt(W));
          next.n![unit] = keep * state.n![unit]! + key;
          by += sums[unit]! * next.n![unit]!;
          for (let b = 0; b < W; b++) {
            const at = unit * W + b;
            next.c![at] = keep * state.c![at]! + key * sums[2 * H + head * W + b]!;
            read[b]! += sums[unit]! * next.c![at]!;
          }
        }
        const floor = Math.max(Math.abs(by), Math.exp(-Math.min(m, 80)));
        for (let b = 0; b < W; b++) output[head * W + b] = sigmoid(sums[3 * H + head * W + b]!) * (read[b]! / floor);
      }
      return { output, state: next };
    },
  };
};

export const CELLS: Record<string, Maker> = { feedforward, elman, gru, lstm, mingru, minlstm, rglru, lru, slstm, mlstm };
