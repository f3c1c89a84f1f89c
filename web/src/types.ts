/** The shape of a look, as Python writes it (`Look.to_dict`), with arrays packed or as nested lists. */

export interface Packed {
  $array: "f4" | "f2";
  shape: number[];
  data: string;
  /** The rule by which the numbers are guessed; what is told is then how far they lie from that. */
  near?: string;
}

export type Numbers = Packed | unknown[];

export type Direction = "ahead" | "back";

export type Both = { en: string; zh: string };

export interface Term {
  name: string;
  text: string;
}

export interface Formula {
  name: string;
  text: string;
  of: string[];
  terms: Term[];
  activation: string | null;
  aside: boolean;
}

export interface Layer {
  name: string;
  cell: string;
  inputs: number;
  hidden: number;
  directions: Direction[];
  parameters: number;
  leaves: string[];
  /** Leaves that are too wide to be shown step by step. */
  matrices?: string[];
  /** How many steps lie between a state and the one it comes from; 0: none comes from another. */
  apart?: number;
  inner: string[];
  formula: Formula[];
}

export interface Lane {
  initial: Record<string, Numbers>;
  state: Record<string, Numbers>;
  inner: Record<string, Numbers>;
  /** Parts of sums by name, where there was room for them: "z.x". What is the same at each step stands there once. */
  terms?: Record<string, Numbers>;
  /** Where they are no leaf of the state. */
  outputs?: Numbers;
}

export type Guess = { text: string; p: number };

/** What is said at one step: likely texts, numbers, or nothing. */
export type Output = Guess[] | number | number[] | null;

export interface Why {
  /** What was asked: `value` in `unit`, the probability `p` where it is one. */
  target: { step: number; text: string; p: number | null; value?: number; unit?: string };
  methods: Record<string, Numbers>;
  disagree: number[];
  /** Integrated gradients: points of the path, and how far their sum is from the whole difference. */
  integral?: { points: number; error: number; without: number };
  /** Steps that were taken out together. */
  stretch?: number;
  words: Both;
  /** What each number of a step counted, of inputs with several: [T, F] each; `whole` at all steps. */
  columns?: { names: string[]; methods: Record<string, Numbers>; whole: Numbers; stretch: number; words: Both | null } | null;
  /** What each network of several found by itself: integrated gradients [M, T], their mean and how far they lie apart. */
  members?: { integrated: Numbers; mean: Numbers; spread: Numbers; values: (number | null)[]; words: Both | null } | null;
}

/** By direction. */
export type Ways<V> = Partial<Record<Direction, V>>;

export interface Flow {
  layers: Ways<Numbers>[] | null;
  sentence: Both | null;
  memory: Ways<number | null>[] | null;
  saturation: Ways<Record<string, { shut?: number; open?: number; low?: number; high?: number }>>[];
  norm: Ways<Numbers>[];
}

export interface Scene {
  title: string;
  inputs: { kind: "tokens"; texts: string[]; source?: string[] } | { kind: "rows"; columns: string[]; values: Numbers };
  steps: number;
  layers: Partial<Record<Direction, Lane>>[];
  outputs: Output[];
  answer: unknown;
  final: Record<string, Numbers>;
  /** The whole state as the file that a session goes on from, in base64; null for what does not stream. */
  file: string | null;
  why: Why[];
  /** Of a translator: how much each step looked at each token of the source, [T, S]. */
  attention?: Numbers | null;
  flow: Flow | null;
  trajectory: Numbers[];
  units: { order: Ways<number[]>[] };
  /** What is to be known of the reasons. */
  remark?: Both | string | null;
}

export interface Stretch {
  text: string;
  at: number;
  value: number;
}

export interface Corpus {
  units: { layer: number; unit: number; top: Stretch[] }[];
  alike: Stretch[];
}

export interface CellWeights {
  cell: string;
  hidden: number;
  options: { activation?: string; reset_after?: boolean; heads?: number };
  arrays: Record<string, Numbers>;
}

/** What stands before the stack. */
export type ReadWeights =
  | {
      kind: "tokens";
      embedding: Numbers;
      vocabulary: string[];
      unknown: number | null;
      lowercase: boolean;
      /** Full-width signs and what they are read as. */
      widths: Record<string, string>;
      /** Whether all digits are one. */
      digits: boolean;
      letters: { parts: string[]; width: number; embedding: Numbers; filters: Numbers; bias: Numbers } | null;
      pairs: { parts: string[]; ends: string[]; embedding: Numbers } | null;
    }
  | {
      kind: "rows";
      mean: number[];
      scale: number[];
      /** Whether each number is a step of its own. */
      single: boolean;
      filling: { fill: "previous" | "zero" | "mean"; marked: boolean; nothing: number[] } | null;
      convolutions: { pairs: [number, number][]; weights: Numbers[]; bias: Numbers; gain: Numbers; shift: Numbers }[];
    };

/** What stands behind it: for what comes next, for the whole, or for each token. */
export type HeadWeights =
  | { kind: "next"; narrow: Numbers | null; weight: Numbers; bias: Numbers }
  | {
      kind: "whole";
      summary: "last" | "max" | "attention" | "all";
      both_ways: number;
      attention: { bound: number; weight: Numbers; score: Numbers } | null;
      weight: Numbers;
      bias: Numbers;
      ngrams: { longest: number; lines: number; filled: number[]; table: Numbers; bias: Numbers; shares: number[] } | null;
      numbers: { names: string[]; mean: number[]; scale: number[] } | null;
    }
  | {
      kind: "tags";
      tags: string[];
      weight: Numbers;
      bias: Numbers;
      field: { transitions: Numbers; start: Numbers; end: Numbers } | null;
      label: { weight: Numbers; bias: Numbers } | null;
    };

export interface Weights {
  task: string;
  read: ReadWeights;
  layers: { ahead?: CellWeights; back?: CellWeights; residual: boolean }[];
  head: HeadWeights;
  labels: string[] | null;
}

/** Fixed convolutions that are counted: kernels [D, 84, 9 F], thresholds [D, 84, N]. */
export interface VoiceWeights {
  filling: { fill: "previous" | "zero" | "mean"; marked: boolean; nothing: number[] } | null;
  dilations: number[];
  kernels: Numbers;
  thresholds: Numbers;
  weight: Numbers;
  bias: Numbers;
}

/** Several networks that answer together, by choice with a voice that has its share in the answer. */
export interface TogetherWeights {
  task: string;
  members: Weights[];
  voice: VoiceWeights | null;
  share: number;
}

export interface Look {
  format: string;
  version: number;
  model: {
    kind: string;
    cell: string | null;
    hash: string;
    parameters: number;
    summary: Record<string, unknown>;
    layers: Layer[];
    labels: string[] | null;
  };
  weights: Weights | TogetherWeights | null;
  /** Why there are none. */
  unrun: Both | null;
  scenes: Scene[];
  corpus: Corpus | null;
}
