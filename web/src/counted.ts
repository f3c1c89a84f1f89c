/** How many parameters there are, and how they stand: layers, directions and networks, each with the steps it takes. */

import type { Group, Loaded } from "./scene";
import type { Layer, Look } from "./types";
import { count, say } from "./words";

export function counted(look: Look, loaded: Loaded): string {
  const parts = loaded.groups.map((group) =>
    say(group.steps === 1 ? "countedOnce" : "countedPart", { cells: cells(look.model.layers, group), steps: count(group.steps) }));
  return say("counted", { count: count(look.model.parameters), parts: parts.join(say("countedAnd")) });
}

/** The cells of one strip: in how many layers, in which directions, in how many networks. */
function cells(layers: Layer[], group: Group): string {
  const networks = new Map<string, Layer[]>();
  for (const place of group.layers) {
    const layer = layers[place]!;
    const network = /^members\.\d+/.exec(layer.name)?.[0] ?? "";
    networks.set(network, [...(networks.get(network) ?? []), layer]);
  }
  const first = stacked([...networks.values()][0]!);
  return networks.size > 1 ? say("manyNetworks", { n: networks.size, cells: first }) : first;
}

function stacked(layers: Layer[]): string {
  const [n, all] = [layers.length, layers.reduce((sum, layer) => sum + layer.directions.length, 0)];
  if (all === n) return n === 1 ? say("oneCell") : say("manyCells", { n });
  if (all === 2 * n) return n === 1 ? say("oneBoth") : say("manyBoth", { n });
  return say("manyMixed", { n, cells: all });
}
