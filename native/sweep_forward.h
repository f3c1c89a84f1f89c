// All steps of a sweep. Compiled once for each instruction set; knows nothing of Python.
//
// The sums of a chunk are one product of many rows while the weight is in cache, and small ones more where
// gates read the first sums block by block; then each worker takes its units through the chunk's steps, and
// meets the others before the next one.
#pragma once

#include "sweep_chunks.h"

namespace recurra::RECURRA_ISA {

// The sums of rows: what forward makes of its inputs, and backward of the symbols once more.
template <class T>
class SweepSums {
 public:
  // `packed`: weight_in as panels, or null, and `packed_gates` the gates'; `needed`: whether `make` is
  // called.
  SweepSums(const SweepCall<T>& call, const T* packed, const T* packed_gates, bool needed, Arena& arena)
      : call_(call), parameters_(call.parameters), packed_(packed), packed_gates_(packed_gates) {
    sums = call.sums();
    row = padded<T>(sums) + 64 / static_cast<int64_t>(sizeof(T));  // an odd number of lines
    if (needed && parameters_.weight_in && !packed)
      packed_ = panels_ = arena.take<T>(packed_size<T>(call.read(), call.inputs));
    if (call.gate_blocks() && !packed_gates && (needed || sweep_counts(call.cell).recurrent))
      packed_gates_ = gates_ = arena.take<T>(call.gate_blocks() * block_size());
  }

  int64_t sums, row;  // S, and numbers from one row of them to the next

  void pack(const Worker& worker) const {
    if (panels_)
      recurra::RECURRA_ISA::pack(parameters_.weight_in, call_.read(), call_.inputs, panels_, worker);
    if (!gates_) return;
    const int64_t w = call_.block;
    const Share share(call_.gate_blocks(), worker.index, worker.size);
    for (int64_t b = share.first; b < share.last; ++b)
      pack_rows(parameters_.weight_gates + b * w * w, w, w, Share(panel_count<T>(w), 0, 1),
                gates_ + b * block_size());
  }

  const T* gate_block(int64_t b) const { return packed_gates_ + b * block_size(); }

  // into[rows, row] from the rows of a: this worker's share of the rows, or of the columns where rows are
  // few.
  template <class A>
  void make(int64_t rows, const A& a, T* into, const Worker& worker) const {
    const bool by_rows = rows >= 2 * kBlockRows * worker.size;
    const Share share = by_rows ? Share(rows, worker.index, worker.size, kBlockRows) : Share(rows, 0, 1);
    if (parameters_.weight_in) {
      const int64_t panel_stride = call_.inputs * kWidth, count = panel_count<T>(call_.read());
      const Share panel = by_rows ? Share(count, 0, 1) : Share(count, worker.index, worker.size);
      const Target<T> target{into, row, parameters_.bias_in, 0, call_.read()};
      constexpr int64_t tile = 8 * kBlockRows;
      for (int64_t n = share.first; n < share.last; n += tile) {
        const int64_t here = share.last - n < tile ? share.last - n : tile;
        product(here, a.from(n, 0), packed_ + panel.first * panel_stride, panel_stride, call_.inputs,
                panel.last - panel.first, target.at(n, panel.first * kWidth));
      }
    } else {
      const Share own(rows, worker.index, worker.size, by_rows ? kBlockRows : 1);
      for (int64_t n = own.first; n < own.last; ++n) copy(into + n * row, a.line(n), call_.inputs);
    }
    if (!call_.gate_blocks() || sweep_counts(call_.cell).recurrent) return;
    if (!by_rows) worker.meet();
    gates_of(into, by_rows ? share : Share(rows, 0, 1), by_rows ? Worker{0, 1, nullptr} : worker);
  }

 private:
  static constexpr int64_t kWidth = panel_width<T>();

  int64_t block_size() const { return packed_size<T>(call_.block, call_.block); }

  // The gates' sums of these rows, from the first sums of their blocks; this worker's share of the blocks.
  void gates_of(T* into, Share rows, const Worker& worker) const {
    const int64_t w = call_.block, read = call_.read(), each = call_.units / w;
    const Share share(call_.gate_blocks(), worker.index, worker.size);
    for (int64_t b = share.first; b < share.last; ++b) {
      const Target<T> target{into + read + b * w, row, parameters_.bias_gates + b * w, 0, w};
      product(rows.last - rows.first, Strided<T>{into + rows.first * row + b % each * w, row},
              packed_gates_ + b * block_size(), w * kWidth, w, panel_count<T>(w), target.at(rows.first, 0));
    }
  }

  const SweepCall<T>& call_;
  const SweepParameters<T>& parameters_;
  const T *packed_, *packed_gates_;
  T *panels_ = nullptr, *gates_ = nullptr;
};

template <class T>
struct SweepForwardSpace {
  static constexpr int64_t kRows = 128, kSlots = 32;  // of a chunk

  SweepPlan plan;
  SweepSums<T> sums;
  int64_t units;     // padded H
  T* own;            // [own, units]
  T* symbols;        // [symbols, row]: every symbol's sums
  T* state;          // [leaves, B, units]
  T* chunk;          // [rows of a chunk, row]
  const T** inputs;  // [rows of a chunk]: where each reads its inputs
  const T** read;    // [rows of a chunk]: where its sums are
  int64_t* starts;   // [slots of a chunk]: a row's first sums in the chunk
  T* totals;         // [slots of a chunk, row]: with what a recurrent cell's products add

  SweepForwardSpace(const SweepForwardCall<T>& call, int size, int worker, Arena& arena)
      : plan(call.batch, call.steps, kSlots, kRows, call.mark_steps()),
        sums(call, call.packed, call.packed_gates, !call.projected, arena) {
    units = padded<T>(call.units);
    const bool looks_up = call.tokens != nullptr;
    own = arena.take<T>(sweep_counts(call.cell).own * units);
    symbols = looks_up && !call.projected ? arena.take<T>(call.symbols * sums.row) : nullptr;
    state = arena.take<T>(sweep_counts(call.cell).leaves * call.batch * units);
    chunk = looks_up ? nullptr : arena.take<T>(plan.rows() * sums.row);
    const bool recurrent = sweep_counts(call.cell).recurrent;
    totals = recurrent ? arena.take<T>(plan.slots * sums.row) : nullptr;
    for (int i = 0; i < size; ++i) {
      const T** mine = arena.take<const T*>(2 * plan.rows());
      int64_t* mine_starts = arena.take<int64_t>(plan.slots);
      if (i == 0 || i == worker) inputs = mine, read = mine + plan.rows(), starts = mine_starts;
    }
  }
};

// The own numbers of all units, by one worker.
template <class Cell, class T>
void prepare_own(const SweepCall<T>& call, T* numbers, int64_t stride) {
  if constexpr (Cell::own > 0) {
    clear(numbers, Cell::own * stride);
    for (int64_t j = 0; j < call.units; ++j)
      Cell::prepare(call.parameters.own + j, call.units, numbers + j, stride);
  }
}

template <class T>
int64_t sweep_forward_scratch(const SweepForwardCall<T>& call, int size) {
  Arena arena(nullptr);
  SweepForwardSpace<T> space(call, size, 0, arena);
  return arena.used();
}

// The terms of rows of sums, `from` and `into` a row of each: units [first, last). They may be the same row.
template <class Cell, class T>
RECURRA_INLINE void terms_of_row(const T* from, const T* own, int64_t own_stride, int64_t h, Share units,
                                 T* into) {
  constexpr int64_t lanes = Simd<T>::lanes;
  for (int64_t j = units.first; j < units.last; j += lanes) {
    const int64_t left = units.last - j;
    Vector<T> s[Cell::gates], numbers[Cell::own + 1], terms[Cell::terms];
#pragma GCC unroll 8
    for (int g = 0; g < Cell::gates; ++g) s[g] = load(from + g * h + j, left);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::own; ++i) numbers[i] = load(own + i * own_stride + j, left);
    Cell::terms_of(typename Cell::Parts(s, numbers), terms);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::terms; ++i) store(into + i * h + j, terms[i], left);
  }
}

template <class T, template <class> class CellOf>
class SweepForward {
 public:
  SweepForward(const SweepForwardCall<T>& call, char* scratch, const Worker& worker)
      : call_(call),
        worker_(worker),
        time_{call},
        part_(SweepPart::of<T>(call.units, Cell::recurrent ? call.block : 0, worker)),
        arena_(scratch),
        space_(call, worker.size, worker.index, arena_) {}

  void run() {
    prepare();
    worker_.meet();
    if (space_.symbols) {
      space_.sums.make(call_.symbols, Lines<T>{call_.x, call_.inputs}, space_.symbols, worker_);
      worker_.meet();
      terms_of_symbols();
    }
    for (int64_t slot = 0; slot < call_.batch; slot += space_.plan.slots) {
      const int64_t left = call_.batch - slot, slots = left < space_.plan.slots ? left : space_.plan.slots;
      const int64_t longest = time_.length(slot);  // the longest rows come first
      for (int64_t s = 0; s < longest; s += space_.plan.steps) {
        const SweepChunk chunk{slot, slots, s, space_.plan.steps};
        make_sums(lay_out(chunk));
        sweep(chunk);
        if (space_.chunk) worker_.meet();
      }
    }
  }

 protected:
  using Cell = CellOf<T>;
  static constexpr int64_t kWidth = panel_width<T>(), kLanes = Simd<T>::lanes;

  void prepare() {
    space_.sums.pack(worker_);
    if (worker_.index == 0) prepare_own<Cell>(call_, space_.own, space_.units);
    time_.clear_tail(call_.outputs, call_.width(), worker_);
    time_.clear_tail(call_.kept, space_.sums.sums, worker_);
    if (call_.marks) {
      const int64_t all =
          (call_.steps + kMarkSteps - 1) / kMarkSteps * call_.batch * Cell::leaves * call_.units;
      const Share marks(all, worker_.index, worker_.size);
      clear(call_.marks + marks.first, marks.last - marks.first);
    }
    const Share share(call_.batch, worker_.index, worker_.size);
    for (int64_t slot = share.first; slot < share.last; ++slot) {
      const int64_t row = call_.order.row[slot];
      for (int leaf = 0; leaf < Cell::leaves; ++leaf) {
        T* state = state_of(leaf, slot);
        clear(state, space_.units);
        copy(state, call_.states[leaf] + row * call_.units, call_.units);
        if (time_.length(slot) == 0) copy(call_.last[leaf] + row * call_.units, state, call_.units);
      }
    }
  }

  T* state_of(int leaf, int64_t slot) const {
    return space_.state + (leaf * call_.batch + slot) * space_.units;
  }

  // The terms of every symbol in place of its sums: no step makes them again. This worker's share of them.
  void terms_of_symbols() {
    if constexpr (Cell::terms > 0) {
      const Share share(call_.symbols, worker_.index, worker_.size);
      for (int64_t v = share.first; v < share.last; ++v) {
        T* row = space_.symbols + v * space_.sums.row;
        terms_of_row<Cell>(row, space_.own, space_.units, call_.units, Share(call_.units, 0, 1), row);
      }
      worker_.meet();
    }
  }

  // Where the rows of a chunk read; gives how many they are.
  int64_t lay_out(const SweepChunk& chunk) {
    return time_.for_rows(chunk, call_.mark_steps() > 0, [&](int64_t n, int64_t at) {
      if (!call_.tokens) {
        space_.inputs[n] = call_.x + at * call_.inputs;
        space_.read[n] = space_.chunk + n * space_.sums.row;
      } else if (space_.symbols) {
        space_.read[n] = space_.symbols + call_.tokens[at] * space_.sums.row;
      } else {
        space_.read[n] = call_.projected + call_.tokens[at] * space_.sums.sums;
      }
    });
  }

  // The sums of the n rows of a chunk; nothing to do where they are looked up.
  void make_sums(int64_t n) {
    if (!space_.chunk) return;
    const int64_t stride = apart(n, [&](int64_t k) { return space_.inputs[k]; });
    if (stride)
      space_.sums.make(n, Lines<T>{space_.inputs[0], stride}, space_.chunk, worker_);
    else
      space_.sums.make(n, LinesAnywhere<T>{space_.inputs, 0}, space_.chunk, worker_);
    worker_.meet();
  }

  // This worker's units through the steps of a chunk.
  void sweep(const SweepChunk& chunk) {
    const Share rows = part_.rows(chunk.slots), units = part_.units;
    if (units.first == units.last) return;
    if constexpr (Cell::recurrent) {
      sweep_together(chunk, rows);
    } else if (space_.symbols) {
      alone<true>(chunk, rows);
    } else {
      alone<false>(chunk, rows);
    }
    finish_those_done(chunk, rows);
  }

  template <bool Looked>
  void alone(const SweepChunk& chunk, Share rows) {
    int64_t n = 0;
    for (int64_t s = 0; s < chunk.steps; ++s) {
      const int64_t active = time_.active(chunk, s), last = active < rows.last ? active : rows.last;
      if (active == 0) break;
      for (int64_t i = rows.first; i < last; ++i)
        step<Looked>(chunk.slot + i, time_.at(chunk.slot + i, chunk.first + s), space_.read[n + i]);
      n += active;
    }
  }

  // The same step after step, some rows at once: each step begins with products.
  void sweep_together(const SweepChunk& chunk, Share rows) {
    int64_t n = 0;
    for (int64_t i = 0; i < chunk.slots; ++i) {
      space_.starts[i] = n;
      n += time_.count(chunk, chunk.slot + i);
    }
    if (call_.marks)
      for (int64_t i = rows.first; i < rows.last; ++i) mark(chunk, chunk.slot + i);
    const int64_t h = call_.units, w = call_.block;
    for (int64_t s = 0; s < chunk.steps; ++s) {
      int64_t last = rows.first;  // the longest rows come first
      for (; last < rows.last && time_.count(chunk, chunk.slot + last) > s; ++last) {
        const int64_t slot = chunk.slot + last;
        if (time_.reset(time_.at(slot, chunk.first + s))) forget(slot);
        const T* read = space_.read[space_.starts[last] + s];
        for (int g = 0; g < Cell::gates; ++g)
          copy(space_.totals + last * space_.sums.row + g * h + part_.units.first,
               read + g * h + part_.units.first, part_.units.last - part_.units.first);
      }
      if (last == rows.first) break;
      for (int64_t b = part_.units.first / w; b < part_.units.last / w; ++b) {
        const Strided<T> before{state_of(0, chunk.slot + rows.first) + b * w, space_.units};
        for (int g = 0; g < Cell::gates; ++g)
          product(last - rows.first, before, space_.sums.gate_block(g * h / w + b), w * kWidth, w,
                  panel_count<T>(w),
                  add_to(space_.totals + rows.first * space_.sums.row + g * h + b * w, space_.sums.row, w));
      }
      for (int64_t i = rows.first; i < last; ++i)
        step<false>(chunk.slot + i, time_.at(chunk.slot + i, chunk.first + s),
                    space_.totals + i * space_.sums.row);
    }
  }

  // The state that a row begins a chunk with.
  void mark(const SweepChunk& chunk, int64_t slot) {
    const int64_t h = call_.units, first = part_.units.first;
    T* to = call_.marks +
            (chunk.first / kMarkSteps * call_.batch + call_.order.row[slot]) * Cell::leaves * h + first;
    for (int i = 0; i < Cell::leaves; ++i)
      copy(to + i * h, state_of(i, slot) + first, part_.units.last - first);
  }

  void forget(int64_t slot) {
    for (int i = 0; i < Cell::leaves; ++i)
      clear(state_of(i, slot) + part_.units.first, part_.units.last - part_.units.first);
  }

  // One step of a row, from its sums or (`Looked`) from the terms of its symbol.
  template <bool Looked>
  RECURRA_INLINE void step(int64_t slot, int64_t at, const T* sums) {
    const int64_t h = call_.units;
    T* state = state_of(0, slot);
    if (!Cell::recurrent && time_.reset(at)) forget(slot);
    T *output = call_.outputs + at * call_.width(),
      *kept = call_.kept ? call_.kept + at * space_.sums.sums : nullptr;
    int64_t j = part_.units.first;
    for (; j + kLanes <= part_.units.last; j += kLanes)
      step_of<Looked, true>(j, h, state, sums, kept, output);
    if (j < part_.units.last) step_of<Looked, false>(j, h, state, sums, kept, output);
  }

  template <bool Looked, bool Whole>
  RECURRA_INLINE void step_of(int64_t j, int64_t h, T* state, const T* sums, T* kept, T* output) {
    const int64_t leaf = call_.batch * space_.units, left = part_.units.last - j;
    Vector<T> s[Cell::gates], values[Cell::leaves], own[Cell::own + 1];
    constexpr int given = Looked ? Cell::terms : Cell::gates;
#pragma GCC unroll 8
    for (int g = 0; g < given; ++g) {
      s[g] = load_part<Whole>(sums + g * h + j, left);
      if (!Looked && kept) store_part<Whole>(kept + g * h + j, s[g], left);
    }
#pragma GCC unroll 8
    for (int i = 0; i < Cell::own; ++i) own[i] = load_part<Whole>(space_.own + i * space_.units + j, left);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::leaves; ++i) values[i] = load_part<Whole>(state + i * leaf + j, left);
    if constexpr (Looked || Cell::recurrent) {
      Cell::forward(s, values, own);
    } else {
      Vector<T> terms[Cell::terms];
      Cell::terms_of(typename Cell::Parts(s, own), terms);
      Cell::forward(terms, values, own);
    }
#pragma GCC unroll 8
    for (int i = 0; i < Cell::leaves; ++i) {
      store_part<Whole>(state + i * leaf + j, values[i], left);
      if (i < Cell::emits) store_part<Whole>(output + i * h + j, values[i], left);
    }
  }

  // The last states of the rows whose last step was in this chunk.
  void finish_those_done(const SweepChunk& chunk, Share rows) {
    for (int64_t i = rows.first; i < rows.last; ++i) {
      const int64_t slot = chunk.slot + i, count = time_.count(chunk, slot);
      if (count > 0 && chunk.first + count == time_.length(slot)) finish(slot);
    }
  }

  void finish(int64_t slot) {
    const Share units = part_.units;
    for (int leaf = 0; leaf < Cell::leaves; ++leaf)
      copy(call_.last[leaf] + call_.order.row[slot] * call_.units + units.first,
           state_of(leaf, slot) + units.first, units.last - units.first);
  }

  const SweepForwardCall<T>& call_;
  const Worker& worker_;
  const SweepTime<T> time_;
  SweepPart part_;
  Arena arena_;
  const SweepForwardSpace<T> space_;
};

}  // namespace recurra::RECURRA_ISA
