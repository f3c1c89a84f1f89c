// The gradients of a layer: the time loop backwards, and the products of many rows around it. Compiled once
// for each instruction set; knows nothing of Python.
//
// As in forward the sequence is run in chunks of steps. The loop leaves the gradients of the sums of a chunk,
// row by row without padding; then the team turns them into gradients of inputs and weights while they are in
// cache. The order of additions is that of the chunks, steps and slots, whatever the number of threads.
#pragma once

#include "layer.h"
#include "outer.h"

namespace recurra::RECURRA_ISA {

// One row of a chunk: a row of the batch at one step, or (with tokens) a symbol.
template <class T>
struct ChunkRow {
  int64_t at;    // its place in [T, B]
  int64_t row;   // its place in the batch
  const T* x;    // [I]
  T* grad_x;     // [I] or null
  const T* fed;  // [P]: the state before, not yet masked
};

template <class T>
struct BackwardSpace {
  static constexpr int64_t kGradBytes =
      1 << 19;  // what the gradients of one chunk may take, where that is enough
  // to be worth reading and writing the weights' gradients once a chunk
  static constexpr int64_t kLeastRows = 256, kMostRows = 512;

  int64_t units, width;  // padded H, padded P
  int64_t grads, row;    // numbers in the gradients of one row, and from one row to the next
  int64_t chunk_rows;    // as many steps as have so many rows make a chunk
  T *in_panels, *state_panels, *projection_panels;  // the transposed weights
  T* zeros;                                         // [units or width]
  T* grad_state;                                    // [B, width]
  T* grad_cell;                                     // [B, units]
  T* grad_produced;                                 // [B, units]: with a projection
  T* grad_early;                                    // [B, units]
  T* masked;                                        // [B, width]: what the products give, before the mask
  T* sums;  // [chunk_rows, row]: gradients of x, of products that stand apart, and (projection) of the state
  T* blocks;  // the same, packed for the weights' gradients
  T *x_panels, *fed_panels, *early_panels, *produced_panels;
  T* symbols;          // [symbols, row]: gradients of every symbol's projection
  int64_t* start;      // [chunk_rows + 1]: step -> its first row in the chunk
  ChunkRow<T>* chunk;  // [chunk_rows]
  T* tile;             // one worker's
  static constexpr int64_t kTileRows = 4 * kBlockRows;

  BackwardSpace(const BackwardCall<T>& call, int grads_per_unit, int size, int worker, Arena& arena) {
    units = padded<T>(call.units);
    width = padded<T>(call.width);
    grads = grads_per_unit * call.units + (call.projection ? call.width : 0);
    row = padded<T>(grads) +
          64 / static_cast<int64_t>(sizeof(T));  // an odd number of lines: no two rows collide
    // without the padding: where a chunk ends changes the bits of a sum, and must not depend on the vectors'
    // width
    int64_t most = kGradBytes / (grads * static_cast<int64_t>(sizeof(T)));
    most = most < kLeastRows ? kLeastRows : most > kMostRows ? kMostRows : most;
    chunk_rows = most < call.batch ? call.batch : most;
    // the symbols go through in chunks of the same size
    const int64_t all = call.steps * call.batch, enough = call.symbols > all ? call.symbols : all;
    if (chunk_rows > enough) chunk_rows = enough;

    const int64_t gates = gate_count(call.cell);
    in_panels = call.weight_in && call.grad_x ? arena.take<T>(packed_size<T>(call.inputs, gates * call.units))
                                              : nullptr;
    state_panels = arena.take<T>(packed_size<T>(call.width, gates * call.units));
    projection_panels = call.projection ? arena.take<T>(packed_size<T>(call.units, call.width)) : nullptr;
    zeros = arena.take<T>(units > width ? units : width);
    grad_state = arena.take<T>(call.batch * width);
    grad_cell = call.cell == Cell::kLstm ? arena.take<T>(call.batch * units) : nullptr;
    grad_produced = call.projection ? arena.take<T>(call.batch * units) : nullptr;
    grad_early = call.cell == Cell::kGruResetBefore ? arena.take<T>(call.batch * units) : nullptr;
    masked = call.mask ? arena.take<T>(call.batch * width) : nullptr;
    sums = arena.take<T>(chunk_rows * row);
    blocks = arena.take<T>(chunk_rows * grads + kBlockRows);
    x_panels = call.weight_in ? arena.take<T>(packed_size<T>(call.inputs, chunk_rows)) : nullptr;
    fed_panels = arena.take<T>(packed_size<T>(call.width, chunk_rows));
    early_panels =
        call.cell == Cell::kGruResetBefore ? arena.take<T>(packed_size<T>(call.width, chunk_rows)) : nullptr;
    produced_panels = call.projection ? arena.take<T>(packed_size<T>(call.units, chunk_rows)) : nullptr;
    symbols = call.tokens ? arena.take<T>(call.symbols * row) : nullptr;
    start = arena.take<int64_t>(chunk_rows + 1);
    chunk = arena.take<ChunkRow<T>>(chunk_rows);
    for (int i = 0; i < size; ++i) {
      T* mine = arena.take<T>(kTileRows * panel_width<T>());
      if (i == 0 || i == worker) tile = mine;
    }
  }
};

template <class T, template <class> class CellOf>
class Backward {
 public:
  Backward(const BackwardCall<T>& call, char* scratch, const Worker& worker)
      : call_(call),
        worker_(worker),
        time_{call},
        part_(call, worker),
        arena_(scratch),
        space_(call, Cell::grads, worker.size, worker.index, arena_) {}

  static int64_t scratch(const BackwardCall<T>& call, int size) {
    Arena arena(nullptr);
    BackwardSpace<T> space(call, Cell::grads, size, 0, arena);
    return arena.used();
  }

  void run() {
    prepare();
    worker_.meet();
    for (int64_t s = call_.steps; s > 0;) {
      int64_t first = s - 1, rows = time_.active(time_.step(first));
      while (first > 0 && s - first < space_.chunk_rows) {
        const int64_t more = time_.active(time_.step(first - 1));
        if (rows + more > space_.chunk_rows) break;
        rows += more;
        --first;
      }
      // in memory the chunk is [from, to), whatever the direction
      const int64_t from = call_.reverse ? call_.steps - s : first, to = from + (s - first);
      if (rows > 0) {
        lay_out(from, to);
        worker_.meet();
        for (int64_t k = s - 1; k >= first; --k) {
          const int64_t t = time_.step(k), n = part_.count(time_.active(t));
          if (n > 0) step(t, n, space_.sums + space_.start[t - from] * space_.row);
        }
        worker_.meet();
        spread_chunk(rows);
        worker_.meet();
      }
      s = first;
    }
    if (call_.tokens) spread_symbols();
    end();
  }

 private:
  using Cell = CellOf<T>;
  static constexpr int64_t kWidth = panel_width<T>(), kLanes = Simd<T>::lanes;

  // ---- before the last step

  template <class U>
  void clear_share(U* values, int64_t n) {
    if (!values) return;
    const Share share(n, worker_.index, worker_.size, 16);
    clear(values + share.first, share.last - share.first);
  }

  void prepare() {
    const int64_t sums = Cell::gates * call_.units;
    const auto share = [&](int64_t columns) {
      return Share(panel_count<T>(columns), worker_.index, worker_.size);
    };
    if (space_.in_panels)
      pack_columns(call_.weight_in, call_.inputs, sums, share(call_.inputs), space_.in_panels);
    pack_columns(call_.weight, call_.width, sums, share(call_.width), space_.state_panels);
    if (call_.projection) {
      pack_columns(call_.projection, call_.units, call_.width, share(call_.units), space_.projection_panels);
      clear_share(call_.grad_projection, call_.width * call_.units);
    }
    if (call_.weight_in) clear_share(call_.grad_weight_in, sums * call_.inputs);
    clear_share(call_.grad_bias_in, sums);
    clear_share(call_.grad_weight, sums * call_.width);
    clear_share(call_.grad_bias, call_.units);
    if (call_.peepholes) clear_share(call_.grad_peepholes, 3 * call_.units);
    clear_share(space_.symbols, call_.symbols * space_.row);
    clear_share(space_.zeros, space_.units > space_.width ? space_.units : space_.width);
    if (!call_.tokens) time_.clear_tail(call_.grad_x, call_.inputs, worker_);
    const Share rows(call_.batch, worker_.index, worker_.size);
    for (int64_t slot = rows.first; slot < rows.last; ++slot) {
      const int64_t row = call_.order.row[slot];
      T* state = space_.grad_state + slot * space_.width;
      clear(state, space_.width);
      if (call_.grad_h_last) copy(state, call_.grad_h_last + row * call_.width, call_.width);
      if (!Cell::second_state) continue;
      T* cell = space_.grad_cell + slot * space_.units;
      clear(cell, space_.units);
      if (call_.grad_c_last) copy(cell, call_.grad_c_last + row * call_.units, call_.units);
    }
  }

  // Where the rows of the steps [from, to) stand, this worker's share of them.
  void lay_out(int64_t from, int64_t to) {
    if (worker_.index == 0) {
      int64_t n = 0;
      for (int64_t t = from; t < to; ++t) {
        space_.start[t - from] = n;
        n += time_.active(t);
      }
    }
    const Share steps(to - from, worker_.index, worker_.size);
    int64_t n = 0;
    for (int64_t t = from; t < from + steps.first; ++t) n += time_.active(t);
    for (int64_t t = from + steps.first; t < from + steps.last; ++t) {
      for (int64_t slot = 0; slot < time_.active(t); ++slot) {
        const int64_t at = time_.at(t, slot);
        ChunkRow<T>& row = space_.chunk[n++];
        row.at = at;
        row.row = call_.order.row[slot];
        row.x = call_.tokens ? nullptr : call_.x + at * call_.inputs;
        row.grad_x = call_.tokens || !call_.grad_x ? nullptr : call_.grad_x + at * call_.inputs;
        row.fed = time_.before(t, slot, call_.outputs, call_.h, call_.width, space_.zeros);
      }
    }
  }

  // ---- one step

  // `sums` are the gradients of all rows at step t; n of them are this worker's.
  void step(int64_t t, int64_t n, T* sums) {
    T* own = sums + part_.first * space_.row;
    const int64_t row = part_.stride * space_.row;
    if (call_.projection) through_projection(t, n, own, row);
    T* fed_sum = call_.mask ? space_.masked : space_.grad_state;
    const Share width = columns_of<T>(part_.width, call_.width);
    if (call_.mask) {
      for (int64_t i = 0; i < n; ++i) {
        T* zeroed = fed_sum + part_.slot(i) * space_.width;
        clear(zeroed + part_.width.first * kWidth, (part_.width.last - part_.width.first) * kWidth);
      }
    }
    pointwise(t, n, own, row, fed_sum,
              [](const BackwardSite<T>& site, int64_t j, int64_t left)
                  __attribute__((always_inline)) { Cell::backward(site, j, left); });
    if (call_.by_units) worker_.meet();
    if constexpr (Cell::early > 0) {
      to_early(n, own, row);
      pointwise(t, n, own, row, fed_sum,
                [](const BackwardSite<T>& site, int64_t j, int64_t left)
                    __attribute__((always_inline)) { Cell::backward_early(site, j, left); });
      if (call_.by_units) worker_.meet();
    }
    const Target<T> target = add_to(fed_sum + part_.first * space_.width + part_.width.first * kWidth,
                                    part_.stride * space_.width, space_.width);
    for (int g = 0; g < Cell::gates;) {
      // gates whose gradients stand side by side go in one product
      int next = g + 1;
      while (next < Cell::gates && !Cell::reads_early(next) &&
             Cell::product_grad(next) == Cell::product_grad(g) + next - g) {
        ++next;
      }
      if (!Cell::reads_early(g)) through_gates(n, own, row, g, next, target);
      g = next;
    }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t slot = part_.slot(i);
      T* grad = space_.grad_state + slot * space_.width;
      if (time_.reset(t, slot)) {
        clear(grad + width.first, width.last - width.first);
        if (Cell::second_state) {
          const Share units = columns_of<T>(part_.units, call_.units);
          clear(space_.grad_cell + slot * space_.units + units.first, units.last - units.first);
        }
      } else if (call_.mask) {
        const T* mask = call_.mask + call_.order.row[slot] * call_.width;
        const T* masked = space_.masked + slot * space_.width;
        for (int64_t j = width.first; j < width.last; j += kLanes)
          store(grad + j, fma(load(mask + j, call_.width - j), load(masked + j), load(grad + j)));
      }
    }
  }

  template <class Function>
  RECURRA_INLINE void pointwise(int64_t t, int64_t n, T* own, int64_t row, T* fed_sum,
                                const Function& function) {
    const Share units = columns_of<T>(part_.units, call_.units);
    const int64_t h = call_.units;
    const bool projected = call_.projection != nullptr;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t slot = part_.slot(i), at = time_.at(t, slot);
      const BackwardSite<T> site{
          h,
          call_.grad_outputs && !projected ? call_.grad_outputs + at * h : nullptr,
          call_.grad_cells ? call_.grad_cells + at * h : nullptr,
          call_.outputs + at * call_.width,
          call_.gates ? call_.gates + at * Cell::saved * h : nullptr,
          call_.cells ? call_.cells + at * h : nullptr,
          Cell::second_state ? nullptr : time_.before(t, slot, call_.outputs, call_.h, h, space_.zeros),
          Cell::second_state ? time_.before(t, slot, call_.cells, call_.c, h, space_.zeros) : nullptr,
          call_.mask ? call_.mask + call_.order.row[slot] * call_.width : nullptr,
          call_.peepholes,
          own + i * row,
          projected ? space_.grad_produced + slot * space_.units : space_.grad_state + slot * space_.width,
          space_.grad_cell + slot * space_.units,
          space_.grad_early + slot * space_.units,
          fed_sum + slot * space_.width};
      for (int64_t j = units.first; j < units.last; j += kLanes) function(site, j, h - j);
    }
  }

  // The gradient of the state, kept for the projection's weight, and through it to what the cell produced.
  void through_projection(int64_t t, int64_t n, T* own, int64_t row) {
    const Share width = columns_of<T>(part_.width, call_.width);
    const int64_t kept = Cell::grads * call_.units;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t slot = part_.slot(i);
      T* grad = space_.grad_state + slot * space_.width;
      const T* came = call_.grad_outputs ? call_.grad_outputs + time_.at(t, slot) * call_.width : nullptr;
      for (int64_t j = width.first; j < width.last; j += kLanes) {
        const Vector<T> value = load(grad + j);
        store(own + i * row + kept + j, came ? value + load(came + j, call_.width - j) : value,
              call_.width - j);
        store(grad + j, Vector<T>{});
      }
    }
    if (call_.by_units) worker_.meet();
    const int64_t panel = call_.width * kWidth, first = part_.units.first * kWidth;
    product(n, Strided<T>{own + kept, row}, space_.projection_panels + part_.units.first * panel, panel,
            call_.width, part_.units.last - part_.units.first,
            Target<T>{space_.grad_produced + part_.first * space_.units + first, part_.stride * space_.units,
                      nullptr, 0, space_.units});
  }

  // target += gradients of gates [from, to) times their weights, this worker's columns of the state.
  void through_gates(int64_t n, const T* own, int64_t row, int from, int to, const Target<T>& target) {
    const int64_t panel = Cell::gates * call_.units * kWidth;
    product(n, Strided<T>{own + Cell::product_grad(from) * call_.units, row},
            space_.state_panels + part_.width.first * panel + from * call_.units * kWidth, panel,
            (to - from) * call_.units, part_.width.last - part_.width.first, target);
  }

  void to_early(int64_t n, const T* own, int64_t row) {
    T* into = space_.grad_early + part_.first * space_.units + part_.width.first * kWidth;
    bool first = true;
    for (int g = 0; g < Cell::gates; ++g) {
      if (!Cell::reads_early(g)) continue;
      const int64_t stride = part_.stride * space_.units;
      through_gates(n, own, row, g, g + 1, {into, stride, first ? nullptr : into, stride, space_.units});
      first = false;
    }
  }

  // ---- a chunk's gradients of the sums -> gradients of inputs and weights

  void spread_chunk(int64_t n) {
    const Share rows(n, worker_.index, worker_.size, kBlockRows);
    pack_sums(space_.sums, n, rows, 0, space_.grads);
    if (!call_.tokens) inputs_of(space_.sums, n, rows);
    pack_states(n, rows);
    sum_columns(n);
    worker_.meet();
    Pieces<T> pieces({space_.blocks, n}, n);
    if (!call_.tokens) add_inputs(pieces);
    add_states(pieces);
    pieces.run(worker_);
  }

  // Tokens: the gradients of all steps of a symbol were added up; from there on a symbol is a row as any
  // other.
  void spread_symbols() {
    if (!call_.weight_in) {
      const Share rows(call_.symbols, worker_.index, worker_.size);
      for (int64_t v = rows.first; call_.grad_x && v < rows.last; ++v)
        copy(call_.grad_x + v * call_.inputs, space_.symbols + v * space_.row, call_.inputs);
      return;
    }
    for (int64_t first = 0; first < call_.symbols; first += space_.chunk_rows) {
      const int64_t n = call_.symbols - first < space_.chunk_rows ? call_.symbols - first : space_.chunk_rows;
      const Share rows(n, worker_.index, worker_.size, kBlockRows);
      const T* sums = space_.symbols + first * space_.row;
      for (int64_t k = rows.first; k < rows.last; ++k) {
        space_.chunk[k].x = call_.x + (first + k) * call_.inputs;
        space_.chunk[k].grad_x = call_.grad_x ? call_.grad_x + (first + k) * call_.inputs : nullptr;
      }
      pack_sums(sums, n, rows, 0, Cell::gates * call_.units);
      inputs_of(sums, n, rows);
      worker_.meet();
      Pieces<T> pieces({space_.blocks, n}, n);
      add_inputs(pieces);
      pieces.run(worker_);
      worker_.meet();
    }
  }

  // Every `call_.units` columns of the gradients as blocks for `outer`; the projection's part has a width of
  // its own.
  void pack_sums(const T* sums, int64_t n, Share rows, int64_t first, int64_t last) {
    for (int64_t column = first; column < last;) {
      const bool projected = column == Cell::grads * call_.units;
      const int64_t columns = projected ? call_.width : call_.units;
      const Blocks blocks(columns);
      for (int64_t k = rows.first; k < rows.last; ++k) {
        const T* from = sums + k * space_.row + column;
        T* to = space_.blocks + column * n;
        for (int64_t i = 0; i < blocks.count; ++i) {
          const int64_t size = blocks.size(i), start = blocks.start(i);
          T* piece = to + start * n + k * size;
          for (int64_t j = 0; j < size; j += kLanes) store(piece + j, load(from + start + j), size - j);
        }
      }
      column += columns;
    }
  }

  // grad_x = gradients of the sums times the input weight; and x as panels for the weight's gradient.
  void inputs_of(const T* sums, int64_t n, Share rows) {
    const int64_t depth = Cell::gates * call_.units;
    if (!call_.weight_in) {
      for (int64_t k = rows.first; k < rows.last; ++k)
        if (space_.chunk[k].grad_x) copy(space_.chunk[k].grad_x, sums + k * space_.row, call_.inputs);
      return;
    }
    for (int64_t k = rows.first; k < rows.last; ++k)
      pack_row(space_.chunk[k].x, call_.inputs, n, k, space_.x_panels,
               [](Vector<T> value, int64_t) { return value; });
    if (!call_.grad_x) return;
    const int64_t count = panel_count<T>(call_.inputs), panel = depth * kWidth;
    for (int64_t first = rows.first; first < rows.last; first += space_.kTileRows) {
      const int64_t here = rows.last - first < space_.kTileRows ? rows.last - first : space_.kTileRows;
      for (int64_t p = 0; p < count; ++p) {
        product(here, Strided<T>{sums + first * space_.row, space_.row}, space_.in_panels + p * panel, panel,
                depth, 1, Target<T>{space_.tile, kWidth, nullptr, 0, kWidth});
        const int64_t left = call_.inputs - p * kWidth;
        for (int64_t k = 0; k < here; ++k) {
          T* to = space_.chunk[first + k].grad_x + p * kWidth;
          for (int64_t j = 0; j < kWidth; j += kLanes)
            store(to + j, load(space_.tile + k * kWidth + j), left - j);
        }
      }
    }
  }

  // Row k of n as part of panels: what `change` makes of each of its vectors.
  template <class Change>
  RECURRA_INLINE void pack_row(const T* from, int64_t columns, int64_t n, int64_t k, T* panels,
                               const Change& change) {
    const int64_t whole = panel_count<T>(columns) * kWidth;
    for (int64_t j = 0; j < whole; j += kLanes) {
      T* to = panels + (j / kWidth * n + k) * kWidth + j % kWidth;
      store(to, change(load(from + j, columns - j), j));
    }
  }

  // The states before the steps as the products saw them, as panels for the weights' gradients.
  void pack_states(int64_t n, Share rows) {
    const int64_t h = call_.units, p = call_.width;
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const ChunkRow<T>& row = space_.chunk[k];
      const T* mask = call_.mask ? call_.mask + row.row * p : nullptr;
      const auto fed = [&](Vector<T> value, int64_t j) __attribute__((always_inline)) {
        return mask ? value * load(mask + j, p - j) : value;
      };
      pack_row(row.fed, p, n, k, space_.fed_panels, fed);
      if (Cell::early > 0) {
        const T* gates = call_.gates + row.at * Cell::saved * h;
        pack_row(row.fed, p, n, k, space_.early_panels,
                 [&](Vector<T> value, int64_t j)
                     __attribute__((always_inline)) { return load(gates + j, h - j) * fed(value, j); });
      }
      if (call_.projection) {
        const T* output_gate = call_.gates + row.at * Cell::saved * h + 3 * h;
        pack_row(call_.cells + row.at * h, h, n, k, space_.produced_panels,
                 [&](Vector<T> value, int64_t j) __attribute__((always_inline)) {
                   return load(output_gate + j, h - j) * tanh<T>(value);
                 });
      }
    }
  }

  // Sums over rows that are no products: biases, symbols, peepholes. This worker's columns of all rows.
  void sum_columns(int64_t n) {
    const int64_t h = call_.units, sums = Cell::gates * h;
    const Share in(sums, worker_.index, worker_.size, kLanes), units(h, worker_.index, worker_.size, kLanes);
    const auto add = [](T* total, const T* values, Share columns) __attribute__((always_inline)) {
      for (int64_t j = columns.first; j < columns.last; j += kLanes)
        store(total + j, load(total + j, columns.last - j) + load(values + j, columns.last - j),
              columns.last - j);
    };
    for (int64_t k = 0; k < n; ++k) {
      const T* row = space_.sums + k * space_.row;
      if (call_.grad_bias_in) add(call_.grad_bias_in, row, in);
      if (call_.tokens) add(space_.symbols + call_.tokens[space_.chunk[k].at] * space_.row, row, in);
      if (call_.grad_bias) add(call_.grad_bias, row + 3 * h, units);
    }
    if (!call_.peepholes) return;
    for (int64_t k = 0; k < n; ++k) {
      const T* row = space_.sums + k * space_.row;
      const int64_t at = space_.chunk[k].at;
      const T* before = cell_before(space_.chunk[k]);
      for (int64_t j = units.first; j < units.last; j += kLanes) {
        const int64_t left = units.last - j;
        const Vector<T> c[] = {load(before + j, left), load(before + j, left),
                               load(call_.cells + at * h + j, left)};
        constexpr int gate[] = {0, 1, 3};
        for (int i = 0; i < 3; ++i) {
          T* total = call_.grad_peepholes + i * h + j;
          store(total, fma(load(row + gate[i] * h + j, left), c[i], load(total, left)), left);
        }
      }
    }
  }

  const T* cell_before(const ChunkRow<T>& row) const {
    const int64_t t = row.at / call_.batch;
    if (row.fed == space_.zeros) return space_.zeros;
    if (row.fed == call_.h + row.row * call_.width) return call_.c + row.row * call_.units;
    return call_.cells + ((call_.reverse ? t + 1 : t - 1) * call_.batch + row.row) * call_.units;
  }

  // The products that give the gradients of weight_in.
  void add_inputs(Pieces<T>& pieces) const {
    const int64_t h = call_.units;
    for (int g = 0; call_.weight_in && g < Cell::gates; ++g)
      pieces.add(g * h, h, space_.x_panels, call_.inputs, call_.grad_weight_in + g * h * call_.inputs);
  }

  // Those of the weights that act on the state, and of the projection.
  void add_states(Pieces<T>& pieces) const {
    const int64_t h = call_.units;
    for (int g = 0; g < Cell::gates; ++g) {
      const T* panels = Cell::reads_early(g) ? space_.early_panels : space_.fed_panels;
      pieces.add(Cell::product_grad(g) * h, h, panels, call_.width, call_.grad_weight + g * h * call_.width);
    }
    if (call_.projection)
      pieces.add(Cell::grads * h, call_.width, space_.produced_panels, h, call_.grad_projection);
  }

  // ---- after the first step

  void end() {
    const Share width = columns_of<T>(part_.width, call_.width),
                units = columns_of<T>(part_.units, call_.units);
    for (int64_t i = 0; i < part_.count(call_.batch); ++i) {
      const int64_t slot = part_.slot(i), row = call_.order.row[slot];
      copy(call_.grad_h + row * call_.width + width.first,
           space_.grad_state + slot * space_.width + width.first, width.last - width.first);
      if (Cell::second_state) {
        copy(call_.grad_c + row * call_.units + units.first,
             space_.grad_cell + slot * space_.units + units.first, units.last - units.first);
      }
    }
  }

  const BackwardCall<T>& call_;
  const Worker& worker_;
  const Timeline<T> time_;
  const Part part_;
  Arena arena_;
  const BackwardSpace<T> space_;
};

}  // namespace recurra::RECURRA_ISA
