/** What is chosen in the page: one value, and who wants to know when it changes. */

import type { Direction, Look } from "./types";

export interface Chosen {
  language: "en" | "zh";
  scene: number;
  step: number;
  layer: number;
  direction: Direction;
  unit: number;
  leaf: string;
  ordered: boolean;
  folded: boolean;
}

type Listener = (now: Chosen, before: Chosen) => void;

export class Store {
  private readonly listeners: Listener[] = [];

  constructor(
    readonly look: Look,
    public now: Chosen,
  ) {}

  on(listener: Listener): void {
    this.listeners.push(listener);
  }

  set(change: Partial<Chosen>): void {
    const before = this.now;
    const next = { ...before, ...change };
    if ((Object.keys(next) as (keyof Chosen)[]).every((key) => next[key] === before[key])) return;
    this.now = next;
    for (const listener of this.listeners) listener(next, before);
  }
}

/** Whether any of these is another now. */
export function changed(now: Chosen, before: Chosen, ...keys: (keyof Chosen)[]): boolean {
  return keys.some((key) => now[key] !== before[key]);
}
