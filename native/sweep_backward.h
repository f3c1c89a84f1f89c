// The gradients of a sweep. Compiled once for each instruction set; knows nothing of Python.
//
// Chunks from the last to the first: each worker takes its units backwards through the steps and leaves the
// gradients of their sums; then the team turns those of all rows of the chunk into gradients of inputs and
// weights. With tokens they are added up for each symbol instead, and a symbol is a row at the end. The order
// of additions is that of groups, chunks, rows and steps, whatever the number of threads.
#pragma once

#include "outer.h"
#include "sweep_chunks.h"
#include "sweep_forward.h"

namespace recurra::RECURRA_ISA {

template <class T>
struct SweepBackwardSpace {
  static constexpr int64_t kRows = 512, kSlots = 8;  // of a chunk
  static constexpr int64_t kTileRows = 4 * kBlockRows;

  // One row of what becomes gradients of weights.
  struct Line {
    const T* x;
    T* grad_x;  // or null
  };

  SweepPlan plan;
  int64_t sums, row, units;  // S, numbers from one row of sums to the next, padded H
  T* panels;                 // with tokens: weight_in, to make the sums of the symbols again
  T* symbols;                // [symbols, row]
  T* symbol_grads;           // [symbols, row]
  T* in_panels;              // weight_in transposed
  T* zeros;                  // [units]
  T* grad_state;             // [leaves, B, units]
  T* grads;                  // [rows of a chunk, row]: gradients of the sums
  T* blocks;                 // the same, packed for the weights' gradients
  T* x_panels;
  Line* lines;      // [rows of a chunk]
  const T** read;   // [rows of a chunk]: the sums
  int64_t* places;  // [rows of a chunk]: in [T, B]
  T* tile;          // one worker's

  SweepBackwardSpace(const SweepBackwardCall<T>& call, int size, int worker, Arena& arena)
      : plan(call.batch, call.steps, kSlots, kRows) {
    sums = call.sums();
    row = padded<T>(sums) + 64 / static_cast<int64_t>(sizeof(T));
    units = padded<T>(call.units);
    const bool looks_up = call.tokens != nullptr;
    const int64_t most = looks_up && call.symbols < kRows ? call.symbols : kRows;
    const int64_t rows = looks_up ? most : plan.rows();
    panels = looks_up ? arena.take<T>(packed_size<T>(sums, call.inputs)) : nullptr;
    symbols = looks_up ? arena.take<T>(call.symbols * row) : nullptr;
    symbol_grads = looks_up ? arena.take<T>(call.symbols * row) : nullptr;
    in_panels = call.grad_x ? arena.take<T>(packed_size<T>(call.inputs, sums)) : nullptr;
    zeros = arena.take<T>(units);
    grad_state = arena.take<T>(sweep_leaves(call.cell) * call.batch * units);
    grads = looks_up ? nullptr : arena.take<T>(rows * row);
    blocks = arena.take<T>(rows * sums + kBlockRows);
    x_panels = arena.take<T>(packed_size<T>(call.inputs, rows));
    lines = arena.take<Line>(rows);
    for (int i = 0; i < size; ++i) {
      const T** mine_read = arena.take<const T*>(plan.rows());
      int64_t* mine_places = arena.take<int64_t>(plan.rows());
      T* mine = arena.take<T>(kTileRows * panel_width<T>());
      if (i == 0 || i == worker) read = mine_read, places = mine_places, tile = mine;
    }
  }
};

template <class T>
int64_t sweep_backward_scratch(const SweepBackwardCall<T>& call, int size) {
  Arena arena(nullptr);
  SweepBackwardSpace<T> space(call, size, 0, arena);
  return arena.used();
}

template <class T, template <class> class CellOf>
class SweepBackward {
 public:
  SweepBackward(const SweepBackwardCall<T>& call, char* scratch, const Worker& worker)
      : call_(call),
        worker_(worker),
        time_{call},
        part_(SweepPart::of<T>(call.units, worker)),
        arena_(scratch),
        space_(call, worker.size, worker.index, arena_) {
    // what is added up for a symbol comes from all rows: the units alone are shared out
    if (call.tokens && part_.row_index > 0) part_.units.first = part_.units.last = 0;
    if (call.tokens) part_.down = 1;
  }

  void run() {
    prepare();
    worker_.meet();
    if (call_.tokens) {
      project_symbols();
      worker_.meet();
    }
    for (int64_t slot = 0; slot < call_.batch; slot += space_.plan.slots) {
      const int64_t left = call_.batch - slot, slots = left < space_.plan.slots ? left : space_.plan.slots;
      const int64_t steps = space_.plan.steps, chunks = (time_.length(slot) + steps - 1) / steps;
      for (int64_t c = chunks - 1; c >= 0; --c) {
        const SweepChunk chunk{slot, slots, c * steps, steps};
        const int64_t rows = lay_out(chunk);
        sweep(chunk);
        if (call_.tokens) continue;
        worker_.meet();
        lines_of_chunk(rows);
        spread(space_.grads, rows);
      }
    }
    if (call_.tokens) {
      worker_.meet();
      spread_symbols();
    }
    end();
  }

 private:
  using Cell = CellOf<T>;
  using Line = typename SweepBackwardSpace<T>::Line;
  static constexpr int64_t kWidth = panel_width<T>(), kLanes = Simd<T>::lanes;

  // ---- before the last step

  void clear_share(T* values, int64_t n) {
    const Share share(n, worker_.index, worker_.size, 16);
    clear(values + share.first, share.last - share.first);
  }

  void prepare() {
    if (space_.in_panels) {
      pack_columns(call_.weight_in, call_.inputs, space_.sums,
                   Share(panel_count<T>(call_.inputs), worker_.index, worker_.size), space_.in_panels);
    }
    if (space_.panels) pack(call_.weight_in, space_.sums, call_.inputs, space_.panels, worker_);
    clear_share(call_.grad_weight_in, space_.sums * call_.inputs);
    clear_share(call_.grad_bias_in, space_.sums);
    if (call_.tokens) clear_share(space_.symbol_grads, call_.symbols * space_.row);
    if (!call_.tokens) time_.clear_tail(call_.grad_x, call_.inputs, worker_);
    if (worker_.index == 0) clear(space_.zeros, space_.units);
    const Share rows(call_.batch, worker_.index, worker_.size);
    for (int64_t slot = rows.first; slot < rows.last; ++slot) {
      for (int leaf = 0; leaf < Cell::leaves; ++leaf) {
        T* grad = grad_of(leaf, slot);
        clear(grad, space_.units);
        if (call_.grad_last[leaf])
          copy(grad, call_.grad_last[leaf] + call_.order.row[slot] * call_.units, call_.units);
      }
    }
  }

  T* grad_of(int leaf, int64_t slot) const {
    return space_.grad_state + (leaf * call_.batch + slot) * space_.units;
  }

  void project_symbols() {
    const Share row(call_.symbols, worker_.index, worker_.size, kBlockRows);
    const int64_t stride = call_.inputs * kWidth;
    product(row.last - row.first, Strided<T>{call_.x + row.first * call_.inputs, call_.inputs}, space_.panels,
            stride, call_.inputs, panel_count<T>(space_.sums),
            Target<T>{space_.symbols + row.first * space_.row, space_.row, call_.bias_in, 0, space_.sums});
  }

  // Where the rows of a chunk are; gives how many.
  int64_t lay_out(const SweepChunk& chunk) {
    int64_t n = 0;
    for (int64_t slot = chunk.slot; slot < chunk.slot + chunk.slots; ++slot) {
      const int64_t count = time_.count(chunk, slot);
      for (int64_t s = 0; s < count; ++s, ++n) {
        const int64_t at = time_.at(slot, chunk.first + s);
        space_.places[n] = at;
        space_.read[n] =
            call_.tokens ? space_.symbols + call_.tokens[at] * space_.row : call_.kept + at * space_.sums;
      }
    }
    return n;
  }

  // ---- this worker's units backwards through the steps of a chunk

  void sweep(const SweepChunk& chunk) {
    const Share rows = part_.rows(chunk.slots);
    if (part_.units.first == part_.units.last) return;
    int64_t n = 0;
    for (int64_t i = 0; i < chunk.slots; ++i) {
      const int64_t slot = chunk.slot + i, count = time_.count(chunk, slot);
      if (i >= rows.first && i < rows.last)
        for (int64_t s = count - 1; s >= 0; --s) step(slot, chunk.first + s, n + s);
      n += count;
    }
  }

  // The state before a row's step.
  const T* before(int64_t slot, int64_t s, int64_t at) const {
    if (time_.reset(at)) return space_.zeros;
    if (s == 0) return call_.states[0] + call_.order.row[slot] * call_.units;
    return call_.outputs + time_.at(slot, s - 1) * call_.units;
  }

  RECURRA_INLINE void step(int64_t slot, int64_t s, int64_t n) {
    const int64_t h = call_.units, leaf = call_.batch * space_.units, at = space_.places[n];
    const T *sums = space_.read[n], *from = before(slot, s, at);
    const T* came = call_.grad_outputs ? call_.grad_outputs + at * h : nullptr;
    const bool adds = call_.tokens != nullptr, fresh = time_.reset(at);
    T* into = adds ? space_.symbol_grads + call_.tokens[at] * space_.row : space_.grads + n * space_.row;
    T* grad = grad_of(0, slot);
    for (int64_t j = part_.units.first; j < part_.units.last; j += kLanes) {
      const int64_t left = h - j;
      Vector<T> given[Cell::gates], previous[Cell::leaves], carried[Cell::leaves], found[Cell::gates];
#pragma GCC unroll 8
      for (int g = 0; g < Cell::gates; ++g) given[g] = load(sums + g * h + j, left);
      previous[0] = load(from + j, left);
#pragma GCC unroll 8
      for (int i = 0; i < Cell::leaves; ++i) carried[i] = load(grad + i * leaf + j);
      if (came) carried[0] = carried[0] + load(came + j, left);
      Cell::backward(given, previous, carried, found);
#pragma GCC unroll 8
      for (int g = 0; g < Cell::gates; ++g) {
        T* to = into + g * h + j;
        store(to, adds ? load(to, left) + found[g] : found[g], left);
      }
#pragma GCC unroll 8
      for (int i = 0; i < Cell::leaves; ++i) store(grad + i * leaf + j, fresh ? Vector<T>{} : carried[i]);
    }
  }

  // ---- gradients of rows of sums -> gradients of inputs and weights

  void lines_of_chunk(int64_t n) {
    const Share rows(n, worker_.index, worker_.size, kBlockRows);
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const int64_t at = space_.places[k] * call_.inputs;
      space_.lines[k] = {call_.x + at, call_.grad_x ? call_.grad_x + at : nullptr};
    }
  }

  void spread_symbols() {
    for (int64_t first = 0; first < call_.symbols; first += SweepBackwardSpace<T>::kRows) {
      const int64_t left = call_.symbols - first;
      const int64_t n = left < SweepBackwardSpace<T>::kRows ? left : SweepBackwardSpace<T>::kRows;
      const Share rows(n, worker_.index, worker_.size, kBlockRows);
      for (int64_t k = rows.first; k < rows.last; ++k) {
        const int64_t at = (first + k) * call_.inputs;
        space_.lines[k] = {call_.x + at, call_.grad_x ? call_.grad_x + at : nullptr};
      }
      spread(space_.symbol_grads + first * space_.row, n);
      worker_.meet();
    }
  }

  // n rows of gradients; lines[k] are laid out by whoever packs row k.
  void spread(const T* grads, int64_t n) {
    const Share rows(n, worker_.index, worker_.size, kBlockRows);
    const Blocks blocks(space_.sums);
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const T* from = grads + k * space_.row;
      for (int64_t i = 0; i < blocks.count; ++i) {
        const int64_t size = blocks.size(i), start = blocks.start(i);
        T* piece = space_.blocks + start * n + k * size;
        for (int64_t j = 0; j < size; j += kLanes)
          store(piece + j, load(from + start + j, size - j), size - j);
      }
      const int64_t whole = panel_count<T>(call_.inputs) * kWidth;
      for (int64_t j = 0; j < whole; j += kLanes)
        store(space_.x_panels + (j / kWidth * n + k) * kWidth + j % kWidth,
              load(space_.lines[k].x + j, call_.inputs - j));
    }
    if (call_.grad_x) inputs_of(grads, rows);
    const Share columns(space_.sums, worker_.index, worker_.size, kLanes);
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t j = columns.first; j < columns.last; j += kLanes) {
        const int64_t left = columns.last - j;
        T* total = call_.grad_bias_in + j;
        store(total, load(total, left) + load(grads + k * space_.row + j, left), left);
      }
    }
    worker_.meet();
    Pieces<T> pieces(space_.blocks, n);
    pieces.add(0, space_.sums, space_.x_panels, call_.inputs, call_.grad_weight_in);
    pieces.run(worker_);
  }

  // grad_x = gradients of the sums times the input weight.
  void inputs_of(const T* grads, Share rows) {
    const int64_t depth = space_.sums, count = panel_count<T>(call_.inputs), panel = depth * kWidth;
    for (int64_t first = rows.first; first < rows.last; first += space_.kTileRows) {
      const int64_t here = rows.last - first < space_.kTileRows ? rows.last - first : space_.kTileRows;
      for (int64_t p = 0; p < count; ++p) {
        product(here, Strided<T>{grads + first * space_.row, space_.row}, space_.in_panels + p * panel, panel,
                depth, 1, Target<T>{space_.tile, kWidth, nullptr, 0, kWidth});
        const int64_t left = call_.inputs - p * kWidth;
        for (int64_t k = 0; k < here; ++k) {
          T* to = space_.lines[first + k].grad_x + p * kWidth;
          for (int64_t j = 0; j < kWidth; j += kLanes)
            store(to + j, load(space_.tile + k * kWidth + j), left - j);
        }
      }
    }
  }

  // ---- after the first step

  void end() {
    const Share units = part_.units;
    for (int64_t slot = 0; slot < call_.batch; ++slot) {
      const int64_t group = slot / space_.plan.slots * space_.plan.slots, left = call_.batch - group;
      const Share rows = part_.rows(left < space_.plan.slots ? left : space_.plan.slots);
      if (slot - group < rows.first || slot - group >= rows.last) continue;
      for (int leaf = 0; leaf < Cell::leaves; ++leaf)
        copy(call_.grad_states[leaf] + call_.order.row[slot] * call_.units + units.first,
             grad_of(leaf, slot) + units.first, units.last - units.first);
    }
  }

  const SweepBackwardCall<T>& call_;
  const Worker& worker_;
  const SweepTime<T> time_;
  SweepPart part_;
  Arena arena_;
  const SweepBackwardSpace<T> space_;
};

}  // namespace recurra::RECURRA_ISA
