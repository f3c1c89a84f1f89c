// The one time loop, forward and backward, for every cell: lengths, resets, direction, dropout mask. A call
// runs all steps of some rows on one thread; different rows never meet. Compiled once for each instruction
// set; knows nothing of threads or Python.
//
// Rows come longest first, so the rows running at any step are the first `active` ones, and a finished row
// costs nothing. The states of all rows lie one after another in scratch; what the caller gave is only read.
#pragma once

#include "cells.h"
#include "kernels.h"
#include "matmul.h"

namespace recurra::RECURRA_ISA {

// Row length of scratch: whole panels, so that vectors need no end cases.
template <class T>
constexpr int64_t padded_units(int64_t units) {
  return panel_count<T>(units) * panel_width<T>();
}

constexpr int64_t kTilePanels = 4;

// Enough for `forward` (two states, fed, early, cell, tile), and `backward` (two gradients, two sums, gates,
// zeros).
template <class T>
int64_t scratch_size(int64_t rows, int64_t units) {
  const int64_t padded = padded_units<T>(units), tile = kTilePanels * panel_width<T>();
  const int64_t forward = rows * 5 * padded + rows * 4 * tile;
  const int64_t backward = rows * 8 * padded + padded;
  return forward > backward ? forward : backward;
}

template <class T>
struct Loop {
  const Call<T>& call;
  const Rows& rows;

  int64_t step(int64_t s) const { return call.reverse ? call.steps - 1 - s : s; }
  // Where a row's numbers at one step start in an array [T, B, width].
  int64_t at(int64_t t, int64_t slot, int64_t width) const {
    return (t * call.batch + rows.row[slot]) * width;
  }
  bool reset(int64_t t, int64_t slot) const {
    return call.resets && call.resets[t * call.batch + rows.row[slot]];
  }

  // The rows that take part in step t, given how many took part in a neighbouring step.
  int64_t active(int64_t t, int64_t guess) const {
    while (guess > 0 && rows.length[guess - 1] <= t) --guess;
    while (guess < rows.count && rows.length[guess] > t) ++guess;
    return guess;
  }

  // The state before step t: from `values` [T, B, H], from the `given` state at a row's first step, zero
  // after a reset.
  const T* before(int64_t t, int64_t slot, const T* values, const T* given, const T* zeros) const {
    if (reset(t, slot)) return zeros;
    const int64_t first = call.reverse ? rows.length[slot] - 1 : 0;
    if (t == first) return given + rows.row[slot] * call.units;
    return values + at(call.reverse ? t + 1 : t - 1, slot, call.units);
  }

  // Zeros at the steps a row takes no part in.
  void clear_tail(T* values, int64_t width) const {
    if (!values) return;
    for (int64_t slot = 0; slot < rows.count; ++slot) {
      for (int64_t t = rows.length[slot]; t < call.steps; ++t) {
        std::memset(values + at(t, slot, width), 0, static_cast<size_t>(width) * sizeof(T));
      }
    }
  }
};

template <class T>
void copy(T* to, const T* from, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

template <class T>
void clear(T* to, int64_t n) {
  std::memset(to, 0, static_cast<size_t>(n) * sizeof(T));
}

// to[j] = a[j] * b[j] over padded `a`, unpadded `b`.
template <class T>
void multiply(T* to, const T* a, const T* b, int64_t units) {
  for (int64_t j = 0; j < units; j += Simd<T>::lanes) store(to + j, load(a + j) * load(b + j, units - j));
}

template <class T, template <class> class CellOf>
void forward_loop(const ForwardCall<T>& call, const Rows& rows, T* scratch) {
  using Cell = CellOf<T>;
  constexpr int64_t lanes = Simd<T>::lanes, width = panel_width<T>();
  const Loop<T> loop{call, rows};
  const int64_t units = call.units, padded = padded_units<T>(units), count = padded / width;
  const int64_t block = padded * units;  // packed weight of one gate

  T* state = scratch;
  T* next = state + rows.count * padded;
  T* masked = next + rows.count * padded;
  T* early = masked + rows.count * padded;
  T* cell = early + rows.count * padded;
  T* tile = cell + rows.count * padded;
  clear(scratch, tile - scratch);

  loop.clear_tail(call.outputs, units);
  loop.clear_tail(call.gates, Cell::saved * units);
  loop.clear_tail(call.cells, units);
  for (int64_t slot = 0; slot < rows.count; ++slot) {
    if (rows.length[slot] > 0) continue;
    copy(call.h_last + rows.row[slot] * units, call.h + rows.row[slot] * units, units);
    if (Cell::second_state)
      copy(call.c_last + rows.row[slot] * units, call.c + rows.row[slot] * units, units);
  }

  int64_t started = 0, active = 0;
  for (int64_t s = 0; s < call.steps; ++s) {
    const int64_t t = loop.step(s);
    active = loop.active(t, active);
    for (; started < active; ++started) {
      copy(state + started * padded, call.h + rows.row[started] * units, units);
      if (Cell::second_state) copy(cell + started * padded, call.c + rows.row[started] * units, units);
    }
    if (active == 0) continue;
    if (call.resets) {
      for (int64_t slot = 0; slot < active; ++slot) {
        if (!loop.reset(t, slot)) continue;
        clear(state + slot * padded, units);
        if (Cell::second_state) clear(cell + slot * padded, units);
      }
    }
    const T* fed = state;
    if (call.mask) {
      for (int64_t slot = 0; slot < active; ++slot) {
        multiply(masked + slot * padded, state + slot * padded, call.mask + rows.row[slot] * units, units);
      }
      fed = masked;
    }

    // Some units of some gates, all rows: start from x or bias, add the products, then the cell's arithmetic.
    const int64_t group = panels_at_once(active);
    auto run = [&](int from, int to, auto&& pointwise) {
      for (int64_t p = 0; p < count; p += group) {
        const int64_t panels = count - p < group ? count - p : group;
        const int64_t tile_width = panels * width, first = p * width;
        const int64_t stride = Cell::gates * tile_width;
        for (int64_t slot = 0; slot < active; ++slot) {
          const T* x = call.x + loop.at(t, slot, Cell::gates * units);
          for (int g = from; g < to; ++g) {
            const T* start = Cell::from_bias(g) ? call.bias : x + g * units;
            T* into = tile + slot * stride + g * tile_width;
            for (int64_t i = 0; i < tile_width; i += lanes) {
              const int64_t left = units - first - i;
              store(into + i, start && left > 0 ? load(start + first + i, left) : Vector<T>{});
            }
            __builtin_prefetch(x + g * units + first + tile_width);
          }
        }
        for (int g = from; g < to; ++g) {
          product<T>(active, Cell::reads_early(g) ? early : fed, padded,
                     call.panels + g * block + p * width * units, units, panels, tile + g * tile_width,
                     stride);
        }
        for (int64_t slot = 0; slot < active; ++slot) {
          const ForwardSite<T> site{units,
                                    tile_width,
                                    call.x + loop.at(t, slot, Cell::gates * units),
                                    tile + slot * stride,
                                    state + slot * padded,
                                    fed + slot * padded,
                                    next + slot * padded,
                                    early + slot * padded,
                                    cell + slot * padded,
                                    call.outputs + loop.at(t, slot, units),
                                    call.gates ? call.gates + loop.at(t, slot, Cell::saved * units) : nullptr,
                                    call.cells ? call.cells + loop.at(t, slot, units) : nullptr};
          for (int64_t i = 0; i < tile_width && first + i < units; i += lanes) {
            pointwise(site, first + i, i, units - first - i);
          }
        }
      }
    };
    if constexpr (Cell::early > 0) {
      run(0, Cell::early,
          [](const ForwardSite<T>& site, int64_t j, int64_t i, int64_t n)
              __attribute__((always_inline)) { Cell::forward_early(site, j, i, n); });
    }
    run(Cell::early, Cell::gates,
        [](const ForwardSite<T>& site, int64_t j, int64_t i, int64_t n)
            __attribute__((always_inline)) { Cell::forward(site, j, i, n); });

    // Rows for which this was the last step.
    const int64_t staying = call.reverse ? (t == 0 ? 0 : active) : loop.active(t + 1, active);
    for (int64_t slot = staying; slot < active; ++slot) {
      copy(call.h_last + rows.row[slot] * units, next + slot * padded, units);
      if (Cell::second_state) copy(call.c_last + rows.row[slot] * units, cell + slot * padded, units);
    }
    T* swap = state;
    state = next;
    next = swap;
  }
}

template <class T, template <class> class CellOf>
void backward_loop(const BackwardCall<T>& call, const Rows& rows, T* scratch) {
  using Cell = CellOf<T>;
  constexpr int64_t lanes = Simd<T>::lanes, width = panel_width<T>();
  const Loop<T> loop{call, rows};
  const int64_t units = call.units, padded = padded_units<T>(units), count = padded / width;
  const int64_t block = padded * units, stride = Cell::gates * padded;

  T* grad_state = scratch;
  T* grad_cell = grad_state + rows.count * padded;
  T* masked = grad_cell + rows.count * padded;  // what the products give, before the mask
  T* grad_early = masked + rows.count * padded;
  T* grad_sums = grad_early + rows.count * padded;
  T* zeros = grad_sums + rows.count * stride;
  clear(scratch, zeros + padded - scratch);

  loop.clear_tail(call.grad_x, Cell::gates * units);
  loop.clear_tail(call.grad_q, units);
  for (int64_t slot = 0; slot < rows.count; ++slot) {
    const int64_t from = rows.row[slot] * units;
    if (call.grad_h_last) copy(grad_state + slot * padded, call.grad_h_last + from, units);
    if (Cell::second_state && call.grad_c_last)
      copy(grad_cell + slot * padded, call.grad_c_last + from, units);
  }

  int64_t active = 0;
  for (int64_t s = call.steps - 1; s >= 0; --s) {
    const int64_t t = loop.step(s);
    active = loop.active(t, active);
    if (active == 0) continue;
    T* fed_sum = call.mask ? masked : grad_state;
    if (call.mask) clear(masked, active * padded);

    auto run = [&](auto&& pointwise) {
      for (int64_t slot = 0; slot < active; ++slot) {
        const int64_t at = loop.at(t, slot, units);
        const BackwardSite<T> site{
            units,
            padded,
            call.grad_outputs ? call.grad_outputs + at : nullptr,
            call.grad_cells ? call.grad_cells + at : nullptr,
            call.outputs ? call.outputs + at : nullptr,
            call.gates ? call.gates + loop.at(t, slot, Cell::saved * units) : nullptr,
            call.cells ? call.cells + at : nullptr,
            Cell::second_state || !call.h ? nullptr : loop.before(t, slot, call.outputs, call.h, zeros),
            Cell::second_state ? loop.before(t, slot, call.cells, call.c, zeros) : nullptr,
            call.mask ? call.mask + rows.row[slot] * units : nullptr,
            call.grad_x + loop.at(t, slot, Cell::gates * units),
            call.grad_q ? call.grad_q + at : nullptr,
            grad_state + slot * padded,
            grad_cell + slot * padded,
            grad_sums + slot * stride,
            grad_early + slot * padded,
            fed_sum + slot * padded};
        for (int64_t j = 0; j < units; j += lanes) pointwise(site, j, units - j);
      }
    };
    run([](const BackwardSite<T>& site, int64_t j, int64_t n)
            __attribute__((always_inline)) { Cell::backward(site, j, n); });
    if constexpr (Cell::early > 0) {
      clear(grad_early, active * padded);
      for (int g = 0; g < Cell::gates; ++g) {
        if (!Cell::reads_early(g)) continue;
        product<T>(active, grad_sums + g * padded, stride, call.panels + g * block, units, count, grad_early,
                   padded);
      }
      run([](const BackwardSite<T>& site, int64_t j, int64_t n)
              __attribute__((always_inline)) { Cell::backward_early(site, j, n); });
    }
    for (int g = 0; g < Cell::gates; ++g) {
      if (Cell::reads_early(g)) continue;
      product<T>(active, grad_sums + g * padded, stride, call.panels + g * block, units, count, fed_sum,
                 padded);
    }
    for (int64_t slot = 0; slot < active; ++slot) {
      T* grad = grad_state + slot * padded;
      if (loop.reset(t, slot)) {
        clear(grad, units);
        if (Cell::second_state) clear(grad_cell + slot * padded, units);
      } else if (call.mask) {
        const T* mask = call.mask + rows.row[slot] * units;
        for (int64_t j = 0; j < units; j += lanes) {
          store(grad + j, fma(load(mask + j, units - j), load(masked + slot * padded + j), load(grad + j)));
        }
      }
    }
  }

  for (int64_t slot = 0; slot < rows.count; ++slot) {
    copy(call.grad_h + rows.row[slot] * units, grad_state + slot * padded, units);
    if (Cell::second_state) copy(call.grad_c + rows.row[slot] * units, grad_cell + slot * padded, units);
  }
}

}  // namespace recurra::RECURRA_ISA
