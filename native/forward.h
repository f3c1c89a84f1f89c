// All steps of a layer: projection of the inputs, time loop, lengths, resets, direction, dropout mask.
// Compiled once for each instruction set; knows nothing of Python.
//
// The sequence is run in chunks of steps: the inputs of a chunk are projected in one product of many rows
// while their weight is in cache, and the time loop adds the recurrent products to those sums in place. A
// worker runs some rows of the batch through all steps and meets nobody; or, where rows are few, some units
// of every step and meets the others once a step.
#pragma once

#include "layer.h"

namespace recurra::RECURRA_ISA {

// The scratch of a call: shared by the team, but for what is taken once for each worker.
template <class T>
struct ForwardSpace {
  static constexpr int64_t kSumBytes =
      1 << 18;  // what the sums of one chunk may take, so that they stay in cache

  int64_t gates, units, width;  // G, padded H, padded P
  int64_t chunk_rows;           // as many steps as have so many rows make a chunk
  Panels<T> panels{};
  T *in_panels = nullptr, *state_panels = nullptr, *projection_panels = nullptr;  // to be packed here
  T* bias_in;                                                                     // [G, units]
  T* bias;                                                                        // [units]
  T* symbols;      // [symbols, G, units]: every symbol's projection
  T* state[2];     // [B, width]
  T* fed[2];       // [B, width]: masked; the state itself where there is no mask
  T* cell;         // [B, units]
  T* early;        // [B, units]
  T* produced;     // [B, units]: what the projection reads
  T* sums;         // [chunk_rows, G, units]
  T* apart;        // [rows, a group of panels]
  const T** rows;  // [chunk_rows]

  ForwardSpace(const ForwardCall<T>& call, int size, int worker, Arena& arena) {
    gates = gate_count(call.cell);
    units = padded<T>(call.units);
    width = padded<T>(call.width);
    const int64_t own_rows = call.by_units ? call.batch : (call.batch + size - 1) / size;
    int64_t most = kSumBytes / (gates * units * static_cast<int64_t>(sizeof(T)));
    if (most < 4 * kBlockRows) most = 4 * kBlockRows;
    chunk_rows = most < own_rows ? own_rows : most;
    if (chunk_rows > call.steps * own_rows) chunk_rows = call.steps * own_rows;

    panels = call.packed;
    if (call.weight_in && !panels.in)
      panels.in = in_panels = arena.take<T>(gates * packed_size<T>(call.units, call.inputs));
    if (!panels.state)
      panels.state = state_panels = arena.take<T>(gates * packed_size<T>(call.units, call.width));
    if (call.projection && !panels.projection)
      panels.projection = projection_panels = arena.take<T>(packed_size<T>(call.width, call.units));
    bias_in = call.bias_in ? arena.take<T>(gates * units) : nullptr;
    bias = arena.take<T>(units);
    symbols = call.tokens && call.weight_in ? arena.take<T>(call.symbols * gates * units) : nullptr;
    for (T*& each : state) each = arena.take<T>(call.batch * width);
    for (int i = 0; i < 2; ++i) fed[i] = call.mask ? arena.take<T>(call.batch * width) : state[i];
    cell = call.cell == Cell::kLstm ? arena.take<T>(call.batch * units) : nullptr;
    early = call.cell == Cell::kGruResetBefore ? arena.take<T>(call.batch * units) : nullptr;
    produced = call.projection ? arena.take<T>(call.batch * units) : nullptr;
    for (int i = 0; i < size; ++i) {
      T* mine = i == 0 || !call.by_units ? arena.take<T>(chunk_rows * gates * units) : nullptr;
      T* mine_apart = arena.take<T>(own_rows * 4 * panel_width<T>());
      const T** mine_rows = arena.take<const T*>(chunk_rows);
      if (i == 0 || i == worker) {
        sums = mine ? mine : sums;
        apart = mine_apart;
        rows = mine_rows;
      }
    }
  }
};

template <class T>
int64_t forward_scratch(const ForwardCall<T>& call, int size) {
  Arena arena(nullptr);
  ForwardSpace<T> space(call, size, 0, arena);
  return arena.used();
}

template <class T, template <class> class CellOf>
class Forward {
 public:
  Forward(const ForwardCall<T>& call, char* scratch, const Worker& worker)
      : call_(call),
        worker_(worker),
        time_{call},
        part_(call, worker),
        arena_(scratch),
        space_(call, worker.size, worker.index, arena_) {}

  void run() {
    prepare();
    worker_.meet();
    if (space_.symbols) {
      project_symbols();
      worker_.meet();
    }
    int now = 0;
    const auto rows_at = [&](int64_t s) { return part_.count(time_.active(time_.step(s))); };
    for (int64_t s = 0, last = 0; s < call_.steps; s = last) {
      int64_t rows = 0;
      do rows += rows_at(last++);
      while (last < call_.steps && rows + rows_at(last) <= space_.chunk_rows);
      project(s, last);
      T* sums = space_.sums;
      for (int64_t k = s; k < last; ++k) {
        const int64_t t = time_.step(k), n = rows_at(k);
        if (n > 0) step(t, n, sums, now);
        sums += n * row_;
        now = 1 - now;
      }
    }
  }

 private:
  using Cell = CellOf<T>;
  static constexpr int64_t kWidth = panel_width<T>(), kLanes = Simd<T>::lanes;

  // ---- before the first step

  void prepare() {
    for (int g = 0; g < Cell::gates; ++g) {
      if (space_.in_panels) {
        pack(call_.weight_in + g * call_.units * call_.inputs, call_.units, call_.inputs,
             space_.in_panels + g * packed_size<T>(call_.units, call_.inputs), worker_);
      }
      if (space_.state_panels) {
        pack(call_.weight + g * call_.units * call_.width, call_.units, call_.width,
             space_.state_panels + g * packed_size<T>(call_.units, call_.width), worker_);
      }
    }
    if (space_.projection_panels)
      pack(call_.projection, call_.width, call_.units, space_.projection_panels, worker_);
    if (worker_.index == 0) {
      clear(space_.bias, space_.units);
      if (call_.bias) copy(space_.bias, call_.bias, call_.units);
      for (int g = 0; call_.bias_in && g < Cell::gates; ++g) {
        clear(space_.bias_in + g * space_.units, space_.units);
        copy(space_.bias_in + g * space_.units, call_.bias_in + g * call_.units, call_.units);
      }
    }
    time_.clear_tail(call_.outputs, call_.width, worker_);
    time_.clear_tail(call_.gates, Cell::saved * call_.units, worker_);
    time_.clear_tail(call_.cells, call_.units, worker_);
    const Share share(call_.batch, worker_.index, worker_.size);
    for (int64_t slot = share.first; slot < share.last; ++slot) begin_row(slot);
  }

  // The given state of a row, or zeros where its first step is a reset, where either parity of step finds it.
  void begin_row(int64_t slot) {
    const int64_t row = call_.order.row[slot];
    const bool runs = call_.order.length[slot] > 0;
    if (!runs) {
      copy(call_.h_last + row * call_.width, call_.h + row * call_.width, call_.width);
      if (Cell::second_state)
        copy(call_.c_last + row * call_.units, call_.c + row * call_.units, call_.units);
    }
    const bool fresh = runs && time_.reset(time_.first_step(slot), slot);
    for (int i = 0; i < 2; ++i) {
      T* state = space_.state[i] + slot * space_.width;
      clear(state, space_.width);
      if (!fresh) copy(state, call_.h + row * call_.width, call_.width);
      if (call_.mask) feed(state, space_.fed[i] + slot * space_.width, row, Share(call_.width, 0, 1));
    }
    if (Cell::second_state) {
      T* cell = space_.cell + slot * space_.units;
      clear(cell, space_.units);
      if (!fresh) copy(cell, call_.c + row * call_.units, call_.units);
    }
    if (space_.early) clear(space_.early + slot * space_.units, space_.units);
  }

  // fed = state * mask, for some columns whose first is the first of a vector.
  void feed(const T* state, T* fed, int64_t row, Share columns) {
    const T* mask = call_.mask + row * call_.width;
    for (int64_t j = columns.first; j < columns.last; j += kLanes)
      store(fed + j, load(state + j) * load(mask + j, call_.width - j));
  }

  // ---- the inputs

  Target<T> sums_of_gate(T* sums, int g) const {
    const int64_t column = g * space_.units + part_.units.first * kWidth;
    return {sums + column, row_, space_.bias_in ? space_.bias_in + column : nullptr, 0, space_.units};
  }

  void project_symbols() {
    const Share share(call_.symbols, worker_.index, worker_.size, kBlockRows);
    const int64_t panel = call_.inputs * kWidth, count = space_.units / kWidth;
    for (int g = 0; g < Cell::gates; ++g) {
      const int64_t column = g * space_.units;
      T* into = space_.symbols + share.first * row_ + column;
      product(share.last - share.first, Strided<T>{call_.x + share.first * call_.inputs, call_.inputs},
              space_.panels.in + g * count * panel, panel, call_.inputs, count,
              Target<T>{into, row_, space_.bias_in ? space_.bias_in + column : nullptr, 0, space_.units});
    }
  }

  // Fills the sums of this worker's rows and units at steps [first, last).
  void project(int64_t first, int64_t last) {
    int64_t rows = 0;
    for (int64_t s = first; s < last; ++s) {
      const int64_t t = time_.step(s), n = part_.count(time_.active(t));
      for (int64_t i = 0; i < n; ++i) {
        const int64_t at = time_.at(t, part_.slot(i));
        space_.rows[rows++] = space_.symbols ? space_.symbols + call_.tokens[at] * row_
                              : call_.tokens ? call_.x + call_.tokens[at] * call_.inputs
                                             : call_.x + at * call_.inputs;
      }
    }
    const int64_t panel = call_.inputs * kWidth, count = space_.units / kWidth;
    if (call_.weight_in && !space_.symbols) {
      for (int g = 0; g < Cell::gates; ++g) {
        product(rows, Gathered<T>{space_.rows, 0}, space_.panels.in + (g * count + part_.units.first) * panel,
                panel, call_.inputs, part_.units.last - part_.units.first, sums_of_gate(space_.sums, g));
      }
      return;
    }
    // already projected: only to be copied
    const int64_t gate = space_.symbols ? space_.units : call_.units;
    const Share columns = columns_of<T>(part_.units, call_.units);
    for (int64_t m = 0; m < rows; ++m) {
      for (int g = 0; g < Cell::gates; ++g) {
        const T* from = space_.rows[m] + g * gate;
        T* to = space_.sums + m * row_ + g * space_.units;
        const T* bias = space_.symbols || !space_.bias_in ? nullptr : space_.bias_in + g * space_.units;
        for (int64_t j = columns.first; j < columns.last; j += kLanes) {
          const Vector<T> value = load(from + j, call_.units - j);
          store(to + j, bias ? value + load(bias + j) : value);
        }
      }
    }
  }

  // ---- one step

  void step(int64_t t, int64_t n, T* sums, int now) {
    if constexpr (Cell::early > 0) {
      gates_of(t, n, sums, now, 0, Cell::early,
               [](const ForwardSite<T>& site, int64_t j, int64_t left)
                   __attribute__((always_inline)) { Cell::forward_early(site, j, left); });
      if (call_.by_units) worker_.meet();
    }
    gates_of(t, n, sums, now, Cell::early, Cell::gates,
             [](const ForwardSite<T>& site, int64_t j, int64_t left)
                 __attribute__((always_inline)) { Cell::forward(site, j, left); });
    if (call_.projection) {
      if (call_.by_units) worker_.meet();
      project_state(t, n, now);
    }
    end_rows(t, n, now);
    if (call_.by_units) worker_.meet();
  }

  // Gates [from, to) of this worker's units for its first n rows: the products, then the cell's arithmetic.
  template <class Pointwise>
  RECURRA_INLINE void gates_of(int64_t t, int64_t n, T* sums, int now, int from, int to,
                               const Pointwise& pointwise) {
    const int64_t group = panels_at_once(n), panel = call_.width * kWidth, count = space_.units / kWidth;
    const int64_t slot_width = part_.stride * space_.width, slot_units = part_.stride * space_.units;
    const Strided<T> fed{space_.fed[now] + part_.first * space_.width, slot_width};
    const Strided<T> early{space_.early + part_.first * space_.units, slot_units};
    for (int64_t p = part_.units.first; p < part_.units.last; p += group) {
      const int64_t here = part_.units.last - p < group ? part_.units.last - p : group, first = p * kWidth;
      for (int g = from; g < to; ++g) {
        const T* panels = space_.panels.state + (g * count + p) * panel;
        const Target<T> target =
            Cell::apart(g) ? Target<T>{space_.apart, here * kWidth, space_.bias + first, 0, space_.units}
                           : add_to(sums + g * space_.units + first, row_, space_.units);
        product(n, Cell::reads_early(g) ? early : fed, panels, panel, call_.width, here, target);
      }
      for (int64_t i = 0; i < n; ++i) {
        const ForwardSite<T> site = site_of(t, i, sums + i * row_, now, here, first);
        const int64_t end = first + here * kWidth < call_.units ? first + here * kWidth : call_.units;
        for (int64_t j = first; j < end; j += kLanes) pointwise(site, j, call_.units - j);
      }
    }
  }

  RECURRA_INLINE ForwardSite<T> site_of(int64_t t, int64_t i, const T* sums, int now, int64_t here,
                                        int64_t first) {
    const int64_t slot = part_.slot(i), at = time_.at(t, slot), units = call_.units;
    const bool projected = call_.projection != nullptr;
    return {units,
            space_.units,
            sums,
            space_.apart + i * here * kWidth,
            space_.state[now] + slot * space_.width,
            space_.fed[now] + slot * space_.width,
            call_.mask ? call_.mask + call_.order.row[slot] * call_.width : nullptr,
            call_.peepholes,
            projected ? space_.produced + slot * space_.units : space_.state[1 - now] + slot * space_.width,
            projected || !call_.mask ? nullptr : space_.fed[1 - now] + slot * space_.width,
            space_.early + slot * space_.units,
            space_.cell + slot * space_.units,
            projected ? nullptr : call_.outputs + at * units,
            call_.gates ? call_.gates + at * Cell::saved * units : nullptr,
            call_.cells ? call_.cells + at * units : nullptr,
            first};
  }

  // S' = projection of what the cell produced, this worker's columns.
  void project_state(int64_t t, int64_t n, int now) {
    const int64_t panel = call_.units * kWidth, first = part_.width.first * kWidth;
    T* next = space_.state[1 - now];
    product(n, Strided<T>{space_.produced + part_.first * space_.units, part_.stride * space_.units},
            space_.panels.projection + part_.width.first * panel, panel, call_.units,
            part_.width.last - part_.width.first,
            Target<T>{next + part_.first * space_.width + first, part_.stride * space_.width, nullptr, 0,
                      space_.width});
    const Share columns = columns_of<T>(part_.width, call_.width);
    if (columns.first == columns.last) return;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t slot = part_.slot(i);
      const T* state = next + slot * space_.width;
      copy(call_.outputs + time_.at(t, slot) * call_.width + columns.first, state + columns.first,
           columns.last - columns.first);
      if (call_.mask) feed(state, space_.fed[1 - now] + slot * space_.width, call_.order.row[slot], columns);
    }
  }

  // What must happen between two steps: last states of the rows that end here, zeros for the rows that begin
  // anew.
  void end_rows(int64_t t, int64_t n, int now) {
    const Share width = columns_of<T>(part_.width, call_.width),
                units = columns_of<T>(part_.units, call_.units);
    const int64_t staying = call_.reverse ? (t == 0 ? 0 : n) : part_.count(time_.active(t + 1));
    T* next = space_.state[1 - now];
    for (int64_t i = staying; i < n; ++i) {
      const int64_t slot = part_.slot(i), row = call_.order.row[slot];
      copy(call_.h_last + row * call_.width + width.first, next + slot * space_.width + width.first,
           width.last - width.first);
      if (Cell::second_state) {
        copy(call_.c_last + row * call_.units + units.first, space_.cell + slot * space_.units + units.first,
             units.last - units.first);
      }
    }
    if (!call_.resets) return;
    const int64_t after = call_.reverse ? t - 1 : t + 1;
    for (int64_t i = 0; i < staying; ++i) {
      const int64_t slot = part_.slot(i);
      if (!time_.reset(after, slot)) continue;
      clear(next + slot * space_.width + width.first, width.last - width.first);
      if (call_.mask)
        clear(space_.fed[1 - now] + slot * space_.width + width.first, width.last - width.first);
      if (Cell::second_state)
        clear(space_.cell + slot * space_.units + units.first, units.last - units.first);
    }
  }

  const ForwardCall<T>& call_;
  const Worker& worker_;
  const Timeline<T> time_;
  const Part part_;
  Arena arena_;
  const ForwardSpace<T> space_;
  const int64_t row_ = Cell::gates * space_.units;  // numbers in the sums of one row
};

}  // namespace recurra::RECURRA_ISA
