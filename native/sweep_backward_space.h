// What the gradients of a sweep need beside its arguments: where each number lies in the scratch of a call.
#pragma once

#include "outer.h"
#include "sweep_chunks.h"
#include "sweep_forward.h"

namespace recurra::RECURRA_ISA {

template <class T>
struct SweepBackwardSpace {
  static constexpr int64_t kRows = 512, kSlots = 32;  // of a chunk
  static constexpr int64_t kNarrow = 16;  // inputs up to which the weights' gradients are made transposed
  static constexpr int64_t kTileRows = 4 * kBlockRows;

  // One row of what becomes gradients of weights.
  struct Line {
    const T* x;
    T* grad_x;  // or null
    const T* sums;
  };

  SweepPlan plan;
  bool again;  // sums are made again: those of the symbols, or of inputs whose sums were not kept
  SweepSums<T> sums;
  int64_t row, units;          // numbers from one row of sums to the next, padded H
  T *own, *own_grads;          // [own, units]
  T* symbols;                  // [symbols, row]
  T* symbol_terms;             // [symbols, row]
  T* symbol_grads;             // [symbols, row]: of their terms, and at the end of their sums
  T *in_panels, *gate_panels;  // the transposed weights
  T* zeros;                    // [units]
  T* grad_state;               // [leaves, B, units]
  T* grads;                    // [rows of a chunk, row]: gradients of the sums
  T* made;                     // [rows of a chunk, row]: sums that are made again
  const T** inputs;            // [rows of a chunk]: of what
  T *x_panels, *first_panels;  // what the weights multiplied: inputs, and first sums block by block
  T* narrow;        // [I + 1, row]: gradients of few inputs' weights, transposed, and of the biases
  T* history;       // [rows of a chunk, leaves, units]: a recurrent cell's states before the steps
  Line* lines;      // [rows of a chunk]
  const T** read;   // [rows of a chunk]: the sums
  int64_t* places;  // [rows of a chunk]: in [T, B]
  T* tile;          // one worker's

  SweepBackwardSpace(const SweepBackwardCall<T>& call, int size, int worker, Arena& arena)
      : plan(call.batch, call.steps, kSlots, kRows, call.mark_steps()),
        again(!call.kept),
        sums(call, nullptr, nullptr, again, arena) {
    row = sums.row;
    units = padded<T>(call.units);
    const bool recurrent = call.mark_steps() > 0, looks_up = call.tokens && !recurrent;
    const int64_t most = call.symbols < kRows ? call.symbols : kRows;
    const int64_t rows = looks_up || most > plan.rows() ? most : plan.rows();
    const int64_t own_numbers = sweep_counts(call.cell).own * units, w = call.gate_blocks() ? call.block : 0;
    own = arena.take<T>(own_numbers), own_grads = arena.take<T>(own_numbers);
    symbols = looks_up ? arena.take<T>(call.symbols * row) : nullptr;
    symbol_terms = looks_up ? arena.take<T>(call.symbols * row) : nullptr;
    symbol_grads = call.tokens ? arena.take<T>(call.symbols * row) : nullptr;
    in_panels = call.grad_x && call.parameters.weight_in
                    ? arena.take<T>(packed_size<T>(call.inputs, call.read()))
                    : nullptr;
    gate_panels = w ? arena.take<T>(call.gate_blocks() * packed_size<T>(w, w)) : nullptr;
    zeros = arena.take<T>(units);
    grad_state = arena.take<T>(sweep_counts(call.cell).leaves * call.batch * units);
    grads = looks_up ? nullptr : arena.take<T>(rows * row);
    const SweepCounts counts = sweep_counts(call.cell);
    history = counts.recurrent ? arena.take<T>(rows * counts.leaves * units) : nullptr;
    const bool few = call.parameters.weight_in && call.inputs > 0 && call.inputs <= kNarrow;
    narrow = few ? arena.take<T>((call.inputs + 1) * row) : nullptr;
    x_panels = call.parameters.weight_in && !few ? arena.take<T>(packed_size<T>(call.inputs, rows)) : nullptr;
    made = again && !looks_up ? arena.take<T>(rows * row) : nullptr;
    first_panels = w ? arena.take<T>(call.units / w * packed_size<T>(w, rows)) : nullptr;
    lines = arena.take<Line>(rows);
    for (int i = 0; i < size; ++i) {
      const T** mine_read = arena.take<const T*>(plan.rows());
      const T** mine_inputs = arena.take<const T*>(again && !looks_up ? plan.rows() : 0);
      int64_t* mine_places = arena.take<int64_t>(plan.rows());
      T* mine = arena.take<T>(kTileRows * panel_width<T>());
      if (i == 0 || i == worker) read = mine_read, inputs = mine_inputs, places = mine_places, tile = mine;
    }
  }
};

template <class T>
int64_t sweep_backward_scratch(const SweepBackwardCall<T>& call, int size) {
  Arena arena(nullptr);
  SweepBackwardSpace<T> space(call, size, 0, arena);
  return arena.used();
}

}  // namespace recurra::RECURRA_ISA
