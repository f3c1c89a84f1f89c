/** How two sequences that stand side by side end: what may be said of their states depends on it. */

import type { Loaded } from "./scene";
import { say, type Word } from "./words";

/** Steps at which both read the same, counted from the end; null of a translator, whose two halves read different things. */
function shared(one: Loaded, other: Loaded): number | null {
  const [a, b] = [one, other].map((each) => each.items().map(String)) as [string[], string[]];
  if ([one, other].some(({ scene }) => scene.inputs.kind === "tokens" && scene.inputs.source)) return null;
  let count = 0;
  while (count < Math.min(a.length, b.length) && a.at(-1 - count) === b.at(-1 - count)) count++;
  return count;
}

/** What is true of the ends of two scenes, as the page and its tour (`stop`) say it. */
export function ending([one, other]: Loaded[], stop: "apart" | "stop"): string {
  const count = shared(one!, other!);
  const kind = count === null ? "Aligned" : count === 0 ? "Differ" : count === one!.steps && count === other!.steps ? "Same" : "Alike";
  const first = (loaded: Loaded): number => loaded.steps - (count ?? 0) + 1;
  return say(`${stop}${kind}` as Word, { one: first(one!), other: first(other!) });
}
