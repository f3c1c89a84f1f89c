// How a sweep goes through its rows and steps, forward and backward alike. Compiled once for each instruction
// set.
//
// The rows go in groups, and a group goes through its steps in chunks: a chunk is so many rows of sums that
// they stay in cache. Steps are counted in the order in which a row takes them, from its first one. Where
// chunks end depends on shapes alone. The rows of a chunk lie step by step, as they do in [T, B], or slot by
// slot where each takes all its steps by itself (a recurrent cell's).
#pragma once

#include "layer.h"
#include "sweep.h"

namespace recurra::RECURRA_ISA {

struct SweepPlan {
  int64_t slots, steps;  // of a chunk, at most

  // `fixed` steps, or as many as give the rows.
  SweepPlan(int64_t batch, int64_t all_steps, int64_t most_slots, int64_t rows, int64_t fixed) {
    if (fixed) most_slots = rows / fixed;
    slots = batch < most_slots ? batch : most_slots;
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
  // How many slots of a chunk take part in its step s: the longest come first.
  int64_t active(const SweepChunk& chunk, int64_t s) const {
    int64_t slots = chunk.slots;
    while (slots > 0 && length(chunk.slot + slots - 1) <= chunk.first + s) --slots;
    return slots;
  }
  // Calls `use(n, at)` for the rows of a chunk in their order: n counts them, `at` is the place in [T, B].
  // Gives how many they are.
  template <class Use>
  int64_t for_rows(const SweepChunk& chunk, bool by_slots, const Use& use) const {
    int64_t n = 0;
    if (by_slots) {
      for (int64_t slot = chunk.slot; slot < chunk.slot + chunk.slots; ++slot)
        for (int64_t s = 0, steps = count(chunk, slot); s < steps; ++s) use(n++, at(slot, chunk.first + s));
    } else {
      for (int64_t s = 0; s < chunk.steps; ++s) {
        const int64_t slots = active(chunk, s);
        if (slots == 0) break;
        for (int64_t i = 0; i < slots; ++i) use(n++, at(chunk.slot + i, chunk.first + s));
      }
    }
    return n;
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

// A whole vector where that is known, otherwise its first `left` numbers.
template <bool Whole, class T>
RECURRA_INLINE Vector<T> load_part(const T* from, int64_t left) {
  if constexpr (Whole) {
    return load(from);
  } else {
    return load(from, left);
  }
}
template <bool Whole, class T>
RECURRA_INLINE void store_part(T* to, Vector<T> value, int64_t left) {
  if constexpr (Whole) {
    store(to, value);
  } else {
    store(to, value, left);
  }
}

// How far apart n rows lie that lie evenly: a product reads and writes them where they are. 0 where they do
// not; `place(k)` is where row k is, and one row alone lies evenly.
template <class Place>
int64_t apart(int64_t n, const Place& place) {
  const int64_t each = n > 1 ? static_cast<int64_t>(place(1) - place(0)) : 1;
  for (int64_t k = 2; k < n; ++k)
    if (place(k) - place(k - 1) != each) return 0;
  return each;
}

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
