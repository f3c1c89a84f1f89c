// All steps of a sweep. Compiled once for each instruction set; knows nothing of Python.
//
// The sums of a chunk are one product of many rows while the weight is in cache; then each worker takes its
// units through the chunk's steps, and meets the others before the next one.
#pragma once

#include "sweep_chunks.h"

namespace recurra::RECURRA_ISA {

template <class T>
struct SweepForwardSpace {
  static constexpr int64_t kRows = 128, kSlots = 4;  // of a chunk

  SweepPlan plan;
  int64_t sums, row, units;  // S, numbers from one row of sums to the next, padded H
  T* panels;                 // weight_in, to be packed here
  T* symbols;                // [symbols, row]: every symbol's sums
  T* state;                  // [leaves, B, units]
  T* chunk;                  // [rows of a chunk, row]
  const T** inputs;          // [rows of a chunk]: where each reads its inputs
  const T** read;            // [rows of a chunk]: where its sums are

  SweepForwardSpace(const SweepForwardCall<T>& call, int size, int worker, Arena& arena)
      : plan(call.batch, call.steps, kSlots, kRows) {
    sums = call.sums();
    row = padded<T>(sums) + 64 / static_cast<int64_t>(sizeof(T));  // an odd number of lines
    units = padded<T>(call.units);
    const bool looks_up = call.tokens != nullptr;
    panels = call.packed || call.projected ? nullptr : arena.take<T>(packed_size<T>(sums, call.inputs));
    symbols = looks_up && !call.projected ? arena.take<T>(call.symbols * row) : nullptr;
    state = arena.take<T>(sweep_leaves(call.cell) * call.batch * units);
    chunk = looks_up ? nullptr : arena.take<T>(plan.rows() * row);
    for (int i = 0; i < size; ++i) {
      const T** mine = arena.take<const T*>(2 * plan.rows());
      if (i == 0 || i == worker) inputs = mine, read = mine + plan.rows();
    }
  }
};

template <class T>
int64_t sweep_forward_scratch(const SweepForwardCall<T>& call, int size) {
  Arena arena(nullptr);
  SweepForwardSpace<T> space(call, size, 0, arena);
  return arena.used();
}

template <class T, template <class> class CellOf>
class SweepForward {
 public:
  SweepForward(const SweepForwardCall<T>& call, char* scratch, const Worker& worker)
      : call_(call),
        worker_(worker),
        time_{call},
        part_(SweepPart::of<T>(call.units, worker)),
        arena_(scratch),
        space_(call, worker.size, worker.index, arena_) {}

  void run() {
    prepare();
    worker_.meet();
    if (space_.symbols) {
      project(call_.symbols, Strided<T>{call_.x, call_.inputs}, space_.symbols);
      worker_.meet();
    }
    for (int64_t slot = 0; slot < call_.batch; slot += space_.plan.slots) {
      const int64_t left = call_.batch - slot, slots = left < space_.plan.slots ? left : space_.plan.slots;
      const int64_t longest = time_.length(slot);  // the longest rows come first
      for (int64_t s = 0; s < longest; s += space_.plan.steps) {
        const SweepChunk chunk{slot, slots, s, space_.plan.steps};
        const int64_t rows = lay_out(chunk);
        if (space_.chunk) {
          project(rows, Gathered<T>{space_.inputs, 0}, space_.chunk);
          worker_.meet();
        }
        sweep(chunk);
        if (space_.chunk) worker_.meet();
      }
    }
  }

 private:
  using Cell = CellOf<T>;
  static constexpr int64_t kWidth = panel_width<T>(), kLanes = Simd<T>::lanes;

  void prepare() {
    if (space_.panels) pack(call_.weight_in, space_.sums, call_.inputs, space_.panels, worker_);
    time_.clear_tail(call_.outputs, call_.units, worker_);
    time_.clear_tail(call_.kept, space_.sums, worker_);
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

  // Where the rows of a chunk read; gives how many they are.
  int64_t lay_out(const SweepChunk& chunk) {
    int64_t n = 0;
    for (int64_t slot = chunk.slot; slot < chunk.slot + chunk.slots; ++slot) {
      const int64_t count = time_.count(chunk, slot);
      for (int64_t s = 0; s < count; ++s, ++n) {
        const int64_t at = time_.at(slot, chunk.first + s);
        if (!call_.tokens) {
          space_.inputs[n] = call_.x + at * call_.inputs;
          space_.read[n] = space_.chunk + n * space_.row;
        } else if (space_.symbols) {
          space_.read[n] = space_.symbols + call_.tokens[at] * space_.row;
        } else {
          space_.read[n] = call_.projected + call_.tokens[at] * space_.sums;
        }
      }
    }
    return n;
  }

  // into[rows, S] = bias + a W^T: this worker's share of the rows, or of the columns where rows are few.
  template <class A>
  void project(int64_t rows, const A& a, T* into) {
    const T* panels = call_.packed ? call_.packed : space_.panels;
    const int64_t stride = call_.inputs * kWidth, count = panel_count<T>(space_.sums);
    const bool by_rows = rows >= 2 * kBlockRows * worker_.size;
    const Share row = by_rows ? Share(rows, worker_.index, worker_.size, kBlockRows) : Share(rows, 0, 1);
    const Share panel = by_rows ? Share(count, 0, 1) : Share(count, worker_.index, worker_.size);
    const Target<T> target{into, space_.row, call_.bias_in, 0, space_.sums};
    constexpr int64_t tile = 8 * kBlockRows;
    for (int64_t n = row.first; n < row.last; n += tile) {
      const int64_t here = row.last - n < tile ? row.last - n : tile;
      product(here, a.from(n, 0), panels + panel.first * stride, stride, call_.inputs,
              panel.last - panel.first, target.at(n, panel.first * kWidth));
    }
  }

  // This worker's units through the steps of a chunk.
  void sweep(const SweepChunk& chunk) {
    const Share rows = part_.rows(chunk.slots), units = part_.units;
    if (units.first == units.last) return;
    int64_t n = 0;
    for (int64_t i = 0; i < chunk.slots; ++i) {
      const int64_t slot = chunk.slot + i, count = time_.count(chunk, slot);
      if (i >= rows.first && i < rows.last && count > 0) {
        for (int64_t s = 0; s < count; ++s) step(slot, time_.at(slot, chunk.first + s), space_.read[n + s]);
        if (chunk.first + count == time_.length(slot)) finish(slot);
      }
      n += count;
    }
  }

  RECURRA_INLINE void step(int64_t slot, int64_t at, const T* sums) {
    const int64_t h = call_.units, leaf = call_.batch * space_.units;
    T* state = state_of(0, slot);
    if (time_.reset(at)) {
      for (int i = 0; i < Cell::leaves; ++i)
        clear(state + i * leaf + part_.units.first, part_.units.last - part_.units.first);
    }
    T *output = call_.outputs + at * h, *kept = call_.kept ? call_.kept + at * space_.sums : nullptr;
    for (int64_t j = part_.units.first; j < part_.units.last; j += kLanes) {
      const int64_t left = h - j;
      Vector<T> s[Cell::gates], values[Cell::leaves];
#pragma GCC unroll 8
      for (int g = 0; g < Cell::gates; ++g) {
        s[g] = load(sums + g * h + j, left);
        if (kept) store(kept + g * h + j, s[g], left);
      }
#pragma GCC unroll 8
      for (int i = 0; i < Cell::leaves; ++i) values[i] = load(state + i * leaf + j);
      Cell::forward(s, values);
#pragma GCC unroll 8
      for (int i = 0; i < Cell::leaves; ++i) store(state + i * leaf + j, values[i]);
      store(output + j, values[0], left);
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
  const SweepPart part_;
  Arena arena_;
  const SweepForwardSpace<T> space_;
};

}  // namespace recurra::RECURRA_ISA
