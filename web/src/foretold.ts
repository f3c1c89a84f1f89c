/** States told by their distance from what their gates let guess, as `look/foretold.py` of Recurra writes them: the same sums
 *  of doubles make the same guess, and the distance, counted in numbers of single precision, brings back every bit. */

/** Numbers by name at one place, and the leaf before the step. */
type Guess = (of: Float32Array[], at: number, before: number) => number;

interface Rule {
  of: string[];
  guess: Guess;
}

export const RULES: Record<string, Rule> = {
  "gru.h": { of: ["z", "n"], guess: ([z, n], at, h) => n![at]! + z![at]! * (h - n![at]!) },
  "mingru.h": { of: ["z", "n"], guess: ([z, n], at, h) => h + z![at]! * (n![at]! - h) },
  "lstm.c": { of: ["i", "f", "g"], guess: ([i, f, g], at, c) => f![at]! * c + i![at]! * g![at]! },
  "lstm.h": { of: ["o", "c"], guess: ([o, c], at) => o![at]! * nearlyTanh(c![at]!) },
};

/** tanh to within 1e-4 by operations that all machines round alike. */
function nearlyTanh(given: number): number {
  const x = Math.min(5, Math.max(-5, given));
  const u = x * x;
  return (x * (135135 + u * (17325 + u * (378 + u)))) / (135135 + u * (62370 + u * (3150 + u * 28)));
}

/** residues[T, H] -> the leaf[T, H] itself. */
export function restored(
  residues: Uint32Array, rule: Rule, of: Float32Array[], initial: Float32Array, reverse: boolean,
): Float32Array<ArrayBuffer> {
  const units = initial.length;
  const steps = units ? residues.length / units : 0;
  const values = new Float32Array(residues.length);
  const bits = new Int32Array(values.buffer);
  const guess = new Float32Array(1);
  const guessBits = new Int32Array(guess.buffer);
  for (let i = 0; i < steps; i++) {
    const step = reverse ? steps - 1 - i : i;
    const [from, before] = [step * units, (reverse ? step + 1 : step - 1) * units];
    for (let k = 0; k < units; k++) {
      const single = Math.fround(rule.guess(of, from + k, i ? values[before + k]! : initial[k]!));
      guess[0] = Number.isFinite(single) ? single : 0;
      const residue = residues[from + k]!;
      // as whole numbers in the order of the numbers they stand for; the sum wraps round at 32 bits
      bits[from + k] = ordered(ordered(guessBits[0]!) + ((residue >>> 1) ^ -(residue & 1)));
    }
  }
  return values;
}

function ordered(bits: number): number {
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
