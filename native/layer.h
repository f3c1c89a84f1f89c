// What the forward and the backward loop share: scratch memory, who does what, and where numbers lie.
// Compiled once for each instruction set.
#pragma once

#include "cells.h"
#include "kernels.h"
#include "matmul.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace recurra::RECURRA_ISA {

// Hands out pieces of one block of memory, each on a line of cache of its own. Without memory it only counts.
// For the address sanitizer a line that nobody may touch lies behind every piece.
class Arena {
 public:
  explicit Arena(char* base) : base_(base) {}

  template <class U>
  U* take(int64_t n) {
    U* piece = base_ ? reinterpret_cast<U*>(base_ + used_) : nullptr;
    const int64_t end = used_ + n * static_cast<int64_t>(sizeof(U));
    used_ = (end + 63) / 64 * 64;
#if defined(__SANITIZE_ADDRESS__)
    used_ += 64;
    if (base_) __asan_poison_memory_region(base_ + end, static_cast<size_t>(used_ - end));
#endif
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

template <class T>
void copy(T* to, const T* from, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

template <class T>
void clear(T* to, int64_t n) {
  std::memset(to, 0, static_cast<size_t>(n) * sizeof(T));
}

// What one worker does inside the time loop: some of the rows and all units, or all rows and some of the
// units.
struct Part {
  int64_t first, stride;  // slots first, first + stride, ...
  Share units, width;     // panels of the units, and of the state's width

  template <class T>
  Part(const Call<T>& call, const Worker& worker)
      : first(call.by_units ? 0 : worker.index),
        stride(call.by_units ? 1 : worker.size),
        units(panel_count<T>(call.units), call.by_units ? worker.index : 0, call.by_units ? worker.size : 1),
        width(panel_count<T>(call.width), call.by_units ? worker.index : 0, call.by_units ? worker.size : 1) {
  }

  // How many of the first `slots` slots are this worker's.
  int64_t count(int64_t slots) const { return slots > first ? (slots - first + stride - 1) / stride : 0; }
  int64_t slot(int64_t i) const { return first + i * stride; }
};

// Columns [first, last) of a matrix of this many columns that belong to panels.
template <class T>
Share columns_of(Share panels, int64_t columns) {
  panels.first *= panel_width<T>();
  panels.last *= panel_width<T>();
  if (panels.first > columns) panels.first = columns;
  if (panels.last > columns) panels.last = columns;
  return panels;
}

template <class T>
struct Timeline {
  const Call<T>& call;

  int64_t step(int64_t s) const { return call.reverse ? call.steps - 1 - s : s; }
  int64_t active(int64_t t) const { return t >= 0 && t < call.steps ? call.order.active[t] : 0; }
  // The place of (t, slot) in an array [T, B].
  int64_t at(int64_t t, int64_t slot) const { return t * call.batch + call.order.row[slot]; }
  bool reset(int64_t t, int64_t slot) const { return call.resets && call.resets[at(t, slot)]; }
  int64_t first_step(int64_t slot) const { return call.reverse ? call.order.length[slot] - 1 : 0; }

  // The state before step t: from `values` [T, B, width], from the `given` state at a row's first step, zero
  // after a reset.
  const T* before(int64_t t, int64_t slot, const T* values, const T* given, int64_t width,
                  const T* zeros) const {
    if (reset(t, slot)) return zeros;
    if (t == first_step(slot)) return given + call.order.row[slot] * width;
    return values + at(call.reverse ? t + 1 : t - 1, slot) * width;
  }

  // Zeros at the steps that rows take no part in; this worker's share of the rows.
  void clear_tail(T* values, int64_t width, const Worker& worker) const {
    if (!values) return;
    const Share share(call.batch, worker.index, worker.size);
    for (int64_t slot = share.first; slot < share.last; ++slot) {
      for (int64_t t = call.order.length[slot]; t < call.steps; ++t)
        clear(values + at(t, slot) * width, width);
    }
  }
};

}  // namespace recurra::RECURRA_ISA
