// The gradients of a sweep. Compiled once for each instruction set; knows nothing of Python.
//
// Chunks from the last to the first: each worker takes its units backwards through the steps and leaves the
// gradients of their sums; then the team turns those of all rows of the chunk into gradients of inputs and
// weights. With tokens the gradients of the terms (or of the sums, where these are a recurrent cell's) are
// added up for each symbol instead, and a symbol is a row at the end. Where the sums were not kept they are
// made again, a chunk at a time. The order of additions is that of groups, chunks and the rows of a chunk,
// whatever the number of threads.
#pragma once

#include "narrow.h"
#include "outer.h"
#include "sweep_backward_space.h"
#include "sweep_chunks.h"
#include "sweep_forward.h"

namespace recurra::RECURRA_ISA {

template <class T, template <class> class CellOf>
class SweepBackward {
 public:
  SweepBackward(const SweepBackwardCall<T>& call, char* scratch, const Worker& worker)
      : call_(call),
        worker_(worker),
        time_{call},
        part_(SweepPart::of<T>(call.units, Cell::recurrent ? call.block : 0, worker)),
        arena_(scratch),
        space_(call, worker.size, worker.index, arena_) {
    // what is added up for a symbol, or for a unit's own numbers, comes from all rows: the units alone are
    // shared out
    const bool by_units = space_.symbols || Cell::own > 0;
    if (by_units && part_.row_index > 0) part_.units.first = part_.units.last = 0;
    if (by_units) part_.down = 1;
  }

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
      const int64_t steps = space_.plan.steps, chunks = (time_.length(slot) + steps - 1) / steps;
      for (int64_t c = chunks - 1; c >= 0; --c) {
        const SweepChunk chunk{slot, slots, c * steps, steps};
        const int64_t rows = lay_out(chunk);
        make_sums(rows);
        sweep(chunk, rows);
        if (!space_.symbols) spread_chunk(rows);
      }
    }
    if (space_.symbols) derive_symbols();
    if (call_.tokens) {
      worker_.meet();
      spread_symbols();
    }
    end();
  }

 protected:
  using Cell = CellOf<T>;
  using Line = typename SweepBackwardSpace<T>::Line;
  static constexpr int64_t kWidth = panel_width<T>(), kLanes = Simd<T>::lanes;
  static constexpr int64_t kPieces = 8;  // shared out at once
  static constexpr int64_t kMostSlots =
      SweepBackwardSpace<T>::kRows;  // of a chunk, however few its steps are

  // ---- before the last step

  void clear_share(T* values, int64_t n) {
    const Share share(n, worker_.index, worker_.size, 16);
    clear(values + share.first, share.last - share.first);
  }

  void prepare() {
    const SweepParameters<T>& p = call_.parameters;
    const int64_t read = call_.read(), w = call_.gate_blocks() ? call_.block : 0;
    if (space_.in_panels) {
      pack_columns(p.weight_in, call_.inputs, read,
                   Share(panel_count<T>(call_.inputs), worker_.index, worker_.size), space_.in_panels);
    }
    if (w) {
      const Share share(call_.gate_blocks(), worker_.index, worker_.size);
      for (int64_t b = share.first; b < share.last; ++b)
        pack_columns(p.weight_gates + b * w * w, w, w, Share(panel_count<T>(w), 0, 1),
                     space_.gate_panels + b * packed_size<T>(w, w));
      clear_share(call_.grad_weight_gates, call_.gate_blocks() * w * w);
      if (!Cell::recurrent) clear_share(call_.grad_bias_gates, call_.gate_blocks() * w);
    }
    if (space_.again) space_.sums.pack(worker_);
    if (call_.tokens) clear_share(space_.symbol_grads, call_.symbols * space_.row);
    if (space_.narrow) {
      clear_share(space_.narrow, (call_.inputs + 1) * space_.row);
    } else if (p.weight_in) {
      clear_share(call_.grad_weight_in, read * call_.inputs);
      clear_share(call_.grad_bias_in, read);
    }
    if (!call_.tokens) time_.clear_tail(call_.grad_x, call_.inputs, worker_);
    if (worker_.index == 0) {
      clear(space_.zeros, space_.units);
      prepare_own<Cell>(call_, space_.own, space_.units);
      clear(space_.own_grads, Cell::own * space_.units);
    }
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

  // Where the rows of a chunk are; gives how many.
  int64_t lay_out(const SweepChunk& chunk) {
    return time_.for_rows(chunk, call_.mark_steps() > 0, [&](int64_t n, int64_t at) {
      space_.places[n] = at;
      if (space_.made) {
        space_.inputs[n] = call_.x + at * call_.inputs;
        space_.read[n] = space_.made + n * space_.row;
      } else {
        space_.read[n] = space_.symbols ? space_.symbol_terms + call_.tokens[at] * space_.row
                                        : call_.kept + at * space_.sums.sums;
      }
    });
  }

  // The terms of every symbol, this worker's share of them.
  void terms_of_symbols() {
    if constexpr (Cell::terms > 0) {
      const Share share(call_.symbols, worker_.index, worker_.size);
      for (int64_t v = share.first; v < share.last; ++v)
        terms_of_row<Cell>(space_.symbols + v * space_.row, space_.own, space_.units, call_.units,
                           Share(call_.units, 0, 1), space_.symbol_terms + v * space_.row);
      worker_.meet();
    }
  }

  // Gradients of the symbols' terms -> gradients of their sums, of this worker's units.
  void derive_symbols() {
    if constexpr (Cell::terms > 0) {
      const int64_t h = call_.units;
      for (int64_t v = 0; v < call_.symbols; ++v) {
        const T* sums = space_.symbols + v * space_.row;
        T* grads = space_.symbol_grads + v * space_.row;
        for (int64_t j = part_.units.first; j < part_.units.last; j += kLanes) {
          const int64_t left = part_.units.last - j;
          Vector<T> given[Cell::gates], by[Cell::terms], found[Cell::gates], own[Cell::own + 1];
          Vector<T> own_grads[Cell::own + 1];
          for (int g = 0; g < Cell::gates; ++g) given[g] = load(sums + g * h + j, left);
          for (int i = 0; i < Cell::terms; ++i) by[i] = load(grads + i * h + j, left);
          for (int i = 0; i < Cell::own; ++i) {
            own[i] = load(space_.own + i * space_.units + j, left);
            own_grads[i] = load(space_.own_grads + i * space_.units + j, left);
          }
          Cell::derive(typename Cell::Parts(given, own), by, found, own, own_grads);
          for (int g = 0; g < Cell::gates; ++g) store(grads + g * h + j, found[g], left);
          for (int i = 0; i < Cell::own; ++i)
            store(space_.own_grads + i * space_.units + j, own_grads[i], left);
        }
      }
    }
  }

  // The sums of the n rows of a chunk, where they were not kept.
  void make_sums(int64_t n) {
    if (!space_.made) return;
    const int64_t stride = apart(n, [&](int64_t k) { return space_.inputs[k]; });
    if (stride)
      space_.sums.make(n, Lines<T>{space_.inputs[0], stride}, space_.made, worker_);
    else
      space_.sums.make(n, LinesAnywhere<T>{space_.inputs, 0}, space_.made, worker_);
    worker_.meet();
  }

  // ---- this worker's units backwards through the steps of a chunk

  void sweep(const SweepChunk& chunk, int64_t n) {
    const Share rows = part_.rows(chunk.slots);
    if (part_.units.first == part_.units.last) return;
    if constexpr (Cell::recurrent) {
      sweep_together(chunk, rows);
    } else if (call_.tokens) {
      alone<true>(chunk, rows, n);
    } else {
      alone<false>(chunk, rows, n);
    }
  }

  template <bool Looked>
  void alone(const SweepChunk& chunk, Share rows, int64_t n) {
    for (int64_t s = chunk.steps - 1; s >= 0; --s) {
      const int64_t active = time_.active(chunk, s), last = active < rows.last ? active : rows.last;
      n -= active;
      for (int64_t i = rows.first; i < last; ++i) step<Looked>(chunk.slot + i, chunk.first + s, n + i);
    }
  }

  // The same step after step, some rows at once: the states are made again from those that the chunk began
  // with, and each step ends with products.
  void sweep_together(const SweepChunk& chunk, Share rows) {
    const int64_t h = call_.units, w = call_.block;
    int64_t n = 0;
    for (int64_t i = 0; i < rows.first; ++i) n += time_.count(chunk, chunk.slot + i);
    int64_t starts[kMostSlots];
    const T* gathered[kMostSlots];
    for (int64_t i = rows.first; i < rows.last; ++i) {
      starts[i] = n;
      replay(chunk, chunk.slot + i, n);
      n += time_.count(chunk, chunk.slot + i);
    }
    for (int64_t s = chunk.steps - 1; s >= 0; --s) {
      int64_t last = rows.first;
      for (; last < rows.last && time_.count(chunk, chunk.slot + last) > s; ++last)
        step<false>(chunk.slot + last, chunk.first + s, starts[last] + s);
      for (int64_t i = rows.first; i < last; ++i) {
        const T* sums = space_.grads + (starts[i] + s) * space_.row;
        gathered[i] = sums;
      }
      for (int64_t b = part_.units.first / w; last > rows.first && b < part_.units.last / w; ++b) {
        T* grad = grad_of(0, chunk.slot + rows.first) + b * w;
        for (int g = 0; g < Cell::gates; ++g)
          product(last - rows.first, Gathered<T>{gathered + rows.first, g * h + b * w},
                  space_.gate_panels + (g * h / w + b) * packed_size<T>(w, w), w * kWidth, w,
                  panel_count<T>(w), add_to(grad, space_.units, w));
      }
      for (int64_t i = rows.first; i < last; ++i) {
        const int64_t slot = chunk.slot + i;
        if (!time_.reset(time_.at(slot, chunk.first + s))) continue;
        for (int leaf = 0; leaf < Cell::leaves; ++leaf)
          clear(grad_of(leaf, slot) + part_.units.first, part_.units.last - part_.units.first);
      }
    }
  }

  // The states before a row's steps of a chunk, `n` the first of them.
  void replay(const SweepChunk& chunk, int64_t slot, int64_t n) {
    const int64_t h = call_.units, count = time_.count(chunk, slot), first = part_.units.first;
    const T* from =
        call_.marks + (chunk.first / kMarkSteps * call_.batch + call_.order.row[slot]) * Cell::leaves * h;
    for (int64_t j = first; j < part_.units.last; j += kLanes) {
      const int64_t left = part_.units.last - j;
      Vector<T> s[Cell::gates], values[Cell::leaves], own[1];
      for (int i = 0; i < Cell::leaves; ++i) values[i] = load(from + i * h + j, left);
      for (int64_t k = n; k < n + count; ++k) {
        const bool fresh = time_.reset(space_.places[k]);
        for (int i = 0; i < Cell::leaves; ++i) {
          if (fresh) values[i] = Vector<T>{};
          store(space_.history + (k * Cell::leaves + i) * space_.units + j, values[i], left);
        }
        for (int g = 0; g < Cell::gates; ++g) s[g] = load(space_.read[k] + g * h + j, left);
        Cell::forward(s, values, own);
      }
    }
  }

  // Leaf i of the state before a row's step.
  const T* before(int i, int64_t slot, int64_t s, int64_t at, int64_t n) const {
    if (Cell::recurrent) return space_.history + (n * Cell::leaves + i) * space_.units;
    if (time_.reset(at)) return space_.zeros;
    if (s == 0) return call_.states[i] + call_.order.row[slot] * call_.units;
    return call_.outputs + time_.at(slot, s - 1) * call_.width() + i * call_.units;
  }

  // One step of a row. `Looked`: from the terms of its symbol, whose gradients are added up.
  template <bool Looked>
  RECURRA_INLINE void step(int64_t slot, int64_t s, int64_t n) {
    const int64_t at = space_.places[n];
    Rows r;
#pragma GCC unroll 8
    for (int i = 0; i < Cell::leaves; ++i) r.before[i] = before(i, slot, s, at, n);
    r.given = space_.read[n], r.grad = grad_of(0, slot);
    r.came = call_.grad_outputs ? call_.grad_outputs + at * call_.width() : nullptr;
    r.into = Looked ? space_.symbol_grads + call_.tokens[at] * space_.row : space_.grads + n * space_.row;
    r.fresh = !Cell::recurrent && time_.reset(at);
    int64_t j = part_.units.first;
    for (; j + kLanes <= part_.units.last; j += kLanes) step_of<Looked, true>(j, r);
    if (j < part_.units.last) step_of<Looked, false>(j, r);
  }

  // Where a step's numbers are: sums or terms, the state before, gradients that came, those of the state, and
  // those to be made.
  struct Rows {
    const T *given, *before[Cell::leaves + 1], *came;
    T *grad, *into;
    bool fresh;
  };

  template <bool Looked, bool Whole>
  RECURRA_INLINE void step_of(int64_t j, const Rows& r) {
    const int64_t h = call_.units, leaf = call_.batch * space_.units, left = part_.units.last - j;
    constexpr int reads = Looked ? Cell::terms : Cell::gates;
    Vector<T> given[Cell::gates], previous[Cell::leaves], carried[Cell::leaves], found[Cell::gates];
    Vector<T> own[Cell::own + 1], own_grads[Cell::own + 1];
#pragma GCC unroll 8
    for (int g = 0; g < reads; ++g) given[g] = load_part<Whole>(r.given + g * h + j, left);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::own; ++i) {
      own[i] = load_part<Whole>(space_.own + i * space_.units + j, left);
      own_grads[i] = load_part<Whole>(space_.own_grads + i * space_.units + j, left);
    }
#pragma GCC unroll 8
    for (int i = 0; i < Cell::leaves; ++i) {
      previous[i] = load_part<Whole>(r.before[i] + j, left);
      carried[i] = load_part<Whole>(r.grad + i * leaf + j, left);
      if (r.came && i < Cell::emits) carried[i] = carried[i] + load_part<Whole>(r.came + i * h + j, left);
    }
    if constexpr (Looked) {
      Cell::backward(given, previous, carried, found, own, own_grads);
    } else if constexpr (Cell::recurrent) {
      Cell::backward(given, previous, carried, found);
    } else {
      Vector<T> terms[Cell::terms], by[Cell::terms];
      const typename Cell::Parts parts(given, own);
      Cell::terms_of(parts, terms);
      Cell::backward(terms, previous, carried, by, own, own_grads);
      Cell::derive(parts, by, found, own, own_grads);
    }
#pragma GCC unroll 8
    for (int g = 0; g < reads; ++g) {
      T* to = r.into + g * h + j;
      store_part<Whole>(to, Looked ? load_part<Whole>(to, left) + found[g] : found[g], left);
    }
#pragma GCC unroll 8
    for (int i = 0; i < Cell::own; ++i)
      store_part<Whole>(space_.own_grads + i * space_.units + j, own_grads[i], left);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::leaves; ++i)
      store_part<Whole>(r.grad + i * leaf + j, r.fresh ? Vector<T>{} : carried[i], left);
  }

  // ---- gradients of rows of sums -> gradients of inputs and weights

  // Of the n rows of a chunk.
  void spread_chunk(int64_t n) {
    worker_.meet();
    const Share rows(n, worker_.index, worker_.size, kBlockRows);
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const int64_t at = call_.tokens ? 0 : space_.places[k] * call_.inputs;
      space_.lines[k] = {call_.x + at, call_.grad_x ? call_.grad_x + at : nullptr,
                         Cell::recurrent ? space_.history + k * Cell::leaves * space_.units : space_.read[k]};
    }
    if (call_.tokens) {
      add_to_symbols(n);
      spread(space_.grads, n, false, true);
    } else {
      spread(space_.grads, n, true, true);
    }
  }

  // Gradients of rows of sums, to those of their symbols; this worker's share of the columns.
  void add_to_symbols(int64_t n) {
    const Share share(call_.read(), worker_.index, worker_.size, kLanes);
    for (int64_t k = 0; k < n; ++k) {
      const T* from = space_.grads + k * space_.row;
      T* to = space_.symbol_grads + call_.tokens[space_.places[k]] * space_.row;
      for (int64_t j = share.first; j < share.last; j += kLanes) {
        const int64_t left = share.last - j;
        store(to + j, load(to + j, left) + load(from + j, left), left);
      }
    }
  }

  void spread_symbols() {
    for (int64_t first = 0; first < call_.symbols; first += SweepBackwardSpace<T>::kRows) {
      const int64_t left = call_.symbols - first;
      const int64_t n = left < SweepBackwardSpace<T>::kRows ? left : SweepBackwardSpace<T>::kRows;
      const Share rows(n, worker_.index, worker_.size, kBlockRows);
      for (int64_t k = rows.first; k < rows.last; ++k) {
        const int64_t at = (first + k) * call_.inputs;
        space_.lines[k] = {call_.x + at, call_.grad_x ? call_.grad_x + at : nullptr,
                           Cell::terms ? space_.symbols + (first + k) * space_.row : nullptr};
      }
      spread(space_.symbol_grads + first * space_.row, n, true, !Cell::recurrent);
    }
  }

  // n rows of gradients; lines[k] are laid out by whoever packs row k. Which weights' gradients are to be
  // made.
  void spread(T* grads, int64_t n, bool of_inputs, bool of_gates) {
    const Share rows(n, worker_.index, worker_.size, kBlockRows);
    const int64_t read = call_.read(), w = of_gates && call_.gate_blocks() ? call_.block : 0;
    const int64_t gated = call_.gated();
    const bool x_panels = of_inputs && space_.x_panels;
    if (w && !Cell::recurrent) through_gates(grads, rows);
    for (int64_t k = rows.first; k < rows.last; ++k) {
      if (x_panels) pack_panels(space_.lines[k].x, call_.inputs, n, k, space_.x_panels);
      for (int64_t b = 0; w && b < call_.units; b += w)
        pack_panels(space_.lines[k].sums + b, w, n, k, space_.first_panels + b / w * packed_size<T>(w, n));
    }
    if (of_inputs && call_.grad_x) inputs_of(grads, rows);
    if (w && !Cell::recurrent) worker_.meet();  // others have changed first sums
    if (x_panels) add_columns(call_.grad_bias_in, grads, read, n);
    if (w && !Cell::recurrent) add_columns(call_.grad_bias_gates, grads + read, space_.sums.sums - read, n);
    worker_.meet();
    if (of_inputs && space_.narrow) {
      const auto x = [&](int64_t k) { return space_.lines[k].x; };
      add_narrow(grads, space_.row, n, Share(read, worker_.index, worker_.size, kLanes), x, call_.inputs,
                 space_.narrow, space_.row);
    }
    if (x_panels) {
      Pieces<T, PlainColumns<T>> pieces({grads, space_.row}, n);
      pieces.add(0, read, space_.x_panels, call_.inputs, call_.grad_weight_in);
      pieces.run(worker_);
    }
    for (int64_t first = gated; w && first < space_.sums.sums; first += kPieces * w) {
      Pieces<T, PlainColumns<T>> pieces({grads, space_.row}, n);
      for (int64_t b = first; b < space_.sums.sums && b < first + kPieces * w; b += w)
        pieces.add(b, w, space_.first_panels + b % call_.units / w * packed_size<T>(w, n), w,
                   call_.grad_weight_gates + (b - gated) * w);
      pieces.run(worker_);
    }
    worker_.meet();  // who writes the next gradients waits for those that still read these
  }

  // The gates read the first sums: their gradients join those of these.
  void through_gates(T* grads, Share rows) {
    const int64_t w = call_.block, read = call_.read();
    for (int64_t b = read; b < space_.sums.sums; b += w) {
      T* first = grads + b % call_.units + rows.first * space_.row;
      product(rows.last - rows.first, Strided<T>{grads + b + rows.first * space_.row, space_.row},
              space_.gate_panels + (b - read) / w * packed_size<T>(w, w), w * kWidth, w, panel_count<T>(w),
              add_to(first, space_.row, w));
    }
  }

  // Row k of n as part of panels.
  void pack_panels(const T* from, int64_t columns, int64_t n, int64_t k, T* panels) {
    const int64_t whole = panel_count<T>(columns) * kWidth;
    for (int64_t j = 0; j < whole; j += kLanes)
      store(panels + (j / kWidth * n + k) * kWidth + j % kWidth, load(from + j, columns - j));
  }

  // total += the rows' columns, this worker's share of them.
  void add_columns(T* total, const T* grads, int64_t columns, int64_t n) {
    const Share share(columns, worker_.index, worker_.size, kLanes);
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t j = share.first; j < share.last; j += kLanes) {
        const int64_t left = share.last - j;
        store(total + j, load(total + j, left) + load(grads + k * space_.row + j, left), left);
      }
    }
  }

  // grad_x = gradients of the sums times the input weight.
  void inputs_of(const T* grads, Share rows) {
    const int64_t depth = call_.read(), count = panel_count<T>(call_.inputs), panel = depth * kWidth;
    if (!call_.parameters.weight_in) {
      for (int64_t k = rows.first; k < rows.last; ++k)
        copy(space_.lines[k].grad_x, grads + k * space_.row, call_.inputs);
      return;
    }
    for (int64_t first = rows.first; first < rows.last; first += space_.kTileRows) {
      const int64_t here = rows.last - first < space_.kTileRows ? rows.last - first : space_.kTileRows;
      const Strided<T> from{grads + first * space_.row, space_.row};
      T* line = space_.lines[first].grad_x;
      const int64_t stride = apart(here, [&](int64_t k) { return space_.lines[first + k].grad_x; });
      if (stride) {
        product(here, from, space_.in_panels, panel, depth, count,
                Target<T>{line, stride, nullptr, 0, call_.inputs});
        continue;
      }
      for (int64_t p = 0; p < count; ++p) {
        product(here, from, space_.in_panels + p * panel, panel, depth, 1,
                Target<T>{space_.tile, kWidth, nullptr, 0, kWidth});
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

  // The transposed gradients of few inputs' weights -> those of the weights; this worker's share of the sums.
  void weights_of_few() {
    if (!space_.narrow) return;
    const Share share(call_.read(), worker_.index, worker_.size, kLanes);
    for (int64_t j = share.first; j < share.last; ++j) {
      const T* column = space_.narrow + j;
      for (int64_t i = 0; i < call_.inputs; ++i)
        call_.grad_weight_in[j * call_.inputs + i] = column[i * space_.row];
      call_.grad_bias_in[j] = column[call_.inputs * space_.row];
    }
  }

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
    weights_of_few();
    if constexpr (Cell::own > 0) {
      for (int64_t j = units.first; j < units.last; ++j) {
        T* grads = space_.own_grads + j;
        Cell::finish(call_.parameters.own + j, call_.units, space_.own + j, grads, space_.units);
        for (int i = 0; i < Cell::own; ++i) call_.grad_own[i * call_.units + j] = grads[i * space_.units];
      }
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
