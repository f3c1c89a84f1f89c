// How a sweep goes through its rows and steps, forward and backward alike. Compiled once for each instruction
// set.
//
// The rows go in groups, and a group goes through its steps in chunks: a chunk is so many rows of sums that
// they stay in cache. Steps are counted in the order in which a row takes them, from its first one. Where
// chunks end depends on shapes alone.
#pragma once

#include "layer.h"
#include "sweep.h"

namespace recurra::RECURRA_ISA {

struct SweepPlan {
  int64_t slots, steps;  // of a chunk, at most

  // `fixed` steps, or as many as give the rows.
  SweepPlan(int64_t batch, int64_t all_steps, int64_t most_slots, int64_t rows, int64_t fixed) {
    slots = batch < most_slots ? batch : most_slots;
    if (fixed && rows / fixed > slots) slots = batch < rows / fixed ? batch : rows / fixed;
    steps = fixed ? fixed : rows / (slots ? slots : 1);
    if (steps > all_steps) {  // few steps: as many rows as make a chunk of them
      steps = all_steps;
      slots = steps ? rows / steps : batch;
      if (slots < 1) slots = 1;
    }
    const int64_t groups = slots ? (batch + slots - 1) / slots : 0;
    slots = groups ? (batch + groups - 1) / groups : 1;  // nearly equal groups
    if (steps < 1) steps = 1;
  }
  int64_t rows() const { return slots * steps; }
};

// Some steps of a group of rows: slots [slot, slot + slots), each from its step `first` on.
struct SweepChunk {
  int64_t slot, slots, first, steps;
};

template <class T>
struct SweepTime {
  const SweepCall<T>& call;

  int64_t length(int64_t slot) const { return call.order.length[slot]; }
  // The place in [T, B] of a row's step s.
  int64_t at(int64_t slot, int64_t s) const {
    const int64_t t = call.reverse ? length(slot) - 1 - s : s;
    return t * call.batch + call.order.row[slot];
  }
  bool reset(int64_t at) const { return call.resets && call.resets[at]; }
  // How many steps of a chunk a row takes part in.
  int64_t count(const SweepChunk& chunk, int64_t slot) const {
    const int64_t left = length(slot) - chunk.first;
    return left < 0 ? 0 : left < chunk.steps ? left : chunk.steps;
  }
  // Zeros at the steps that rows take no part in; this worker's share of the rows.
  void clear_tail(T* values, int64_t width, const Worker& worker) const {
    if (!values) return;
    const Share share(call.batch, worker.index, worker.size);
    for (int64_t slot = share.first; slot < share.last; ++slot)
      for (int64_t t = length(slot); t < call.steps; ++t)
        clear(values + (t * call.batch + call.order.row[slot]) * width, width);
  }
};

// Rows of inputs, side by side or anywhere, as a product reads them and one by one.
template <class T>
struct Lines : Strided<T> {
  Lines(const T* base, int64_t stride) : Strided<T>{base, stride} {}
  const T* line(int64_t n) const { return this->base + n * this->stride; }
};
template <class T>
struct LinesAnywhere : Gathered<T> {
  LinesAnywhere(const T* const* row, int64_t first) : Gathered<T>{row, first} {}
  const T* line(int64_t n) const { return this->row[n]; }
};

// What one worker takes through time: some units of some of a group's rows.
struct SweepPart {
  int64_t across, down, unit_index, row_index;
  Share units;

  template <class T>
  static SweepPart of(int64_t units, int64_t block, const Worker& worker) {
    const int64_t each = block ? block : panel_width<T>(), panels = (units + each - 1) / each;
    const int64_t across = panels < worker.size ? (panels ? panels : 1) : worker.size;
    const int64_t down = worker.size / across;
    const int64_t index = worker.index % across, row = worker.index / across;
    Share columns(units, static_cast<int>(index), static_cast<int>(across), each);
    if (row >= down) columns.first = columns.last = 0;
    return {across, down, index, row < down ? row : 0, columns};
  }
  Share rows(int64_t slots) const {
    return Share(slots, static_cast<int>(row_index), static_cast<int>(down));
  }
};

}  // namespace recurra::RECURRA_ISA
