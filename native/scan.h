// Runs a program over a sequence: the time loop, with each instruction over the rows of a block. Compiled
// once for each instruction set; knows no cell.
//
// A block is a few rows that stay in cache; it goes through all steps before the next one begins, so threads
// never wait for one another. Rows are in the order of their lengths, so those that take part in a step are
// the first ones of a block. A row's numbers depend on nothing but that row.
#pragma once

#include "matmul.h"
#include "program.h"
#include "rows.h"

namespace recurra::RECURRA_ISA {

constexpr int64_t kStripBytes =
    24 << 10;  // what goes through many instructions at once: the first level of cache
constexpr int64_t kScanBytes =
    640 << 10;  // what a block may take, so that it stays in the second level of cache

inline int64_t aligned(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

template <class T>
class Scan {
 public:
  Scan(const ScanCall<T>& call, char* scratch, const Worker& worker)
      : call_(call), program_(call.program), worker_(worker), rows_(block_rows(call, worker.size)) {
    panels_ = reinterpret_cast<T*>(scratch);
    char* own = scratch + panel_bytes(call) + worker.index * own_bytes(call, rows_);
    numbers_ = reinterpret_cast<T*>(own);
    own += aligned(program_.number_count * static_cast<int64_t>(sizeof(T)));
    lines_ = reinterpret_cast<Line*>(own);
    block_ = reinterpret_cast<T*>(own + aligned(program_.step_count * static_cast<int64_t>(sizeof(Line))));
  }

  static int64_t scratch(const ScanCall<T>& call, int size) {
    return panel_bytes(call) + size * own_bytes(call, block_rows(call, size));
  }

  void run() {
    pack();
    worker_.meet();
    for (int64_t i = 0; i < program_.number_count; ++i) numbers_[i] = static_cast<T>(program_.numbers[i]);
    for (int64_t first = worker_.index * rows_; first < call_.batch; first += worker_.size * rows_) {
      first_ = first;
      count_ = call_.batch - first < rows_ ? call_.batch - first : rows_;
      run_block();
    }
  }

 private:
  // An instruction, and where its operands are in this block.
  struct Line {
    Operation operation;
    int64_t weight;
    RowBlock<T> to, a, b, c;
  };

  static int64_t block_rows(const ScanCall<T>& call, int size) {
    const int64_t each = (call.batch + size - 1) / size;
    int64_t fit = kScanBytes / (call.program.row_numbers * static_cast<int64_t>(sizeof(T)) + 1);
    fit = fit < kBlockRows ? kBlockRows : fit;
    const int64_t blocks = (each + fit - 1) / fit;
    return blocks ? (each + blocks - 1) / blocks : 1;
  }
  static int64_t panel_bytes(const ScanCall<T>& call) {
    int64_t numbers = 0;
    for (int64_t i = 0; i < call.program.weight_count; ++i) numbers += panel_numbers(call.program.weights[i]);
    return aligned(numbers * static_cast<int64_t>(sizeof(T)));
  }
  static int64_t panel_numbers(const ProgramWeight& weight) {
    return weight.transposed ? packed_size<T>(weight.columns, weight.rows)
                             : packed_size<T>(weight.rows, weight.columns);
  }
  static int64_t own_bytes(const ScanCall<T>& call, int64_t rows) {
    const int64_t one = static_cast<int64_t>(sizeof(T));
    return aligned(call.program.number_count * one) +
           aligned(call.program.step_count * static_cast<int64_t>(sizeof(Line))) +
           aligned(rows * call.program.row_numbers * one);
  }

  void pack() {
    T* panels = panels_;
    for (int64_t i = 0; i < program_.weight_count; ++i) {
      const ProgramWeight& weight = program_.weights[i];
      const T* from = call_.weights[weight.number];
      const int64_t columns = weight.transposed ? weight.columns : weight.rows;
      const int64_t depth = weight.transposed ? weight.rows : weight.columns;
      const Share share(panel_count<T>(columns), worker_.index, worker_.size);
      if (weight.transposed) {
        pack_columns(from, columns, depth, share, panels);
      } else {
        pack_rows(from, columns, depth, share, panels);
      }
      panels += panel_numbers(weight);
    }
  }

  // Where a value's rows are.
  RowBlock<T> at(int64_t value) const {
    const ProgramValue& v = program_.values[value];
    switch (v.kind) {
      case ProgramValue::Kind::kScratch:
        return {block_ + v.offset + v.column, program_.row_numbers, v.width};
      case ProgramValue::Kind::kShared:
        // (never written: only given values are shared)
        return {const_cast<T*>(call_.shared[v.offset]) + v.column, 0, v.width};
      default:
        return {numbers_ + v.offset, 0, 1};
    }
  }

  int64_t row(int64_t slot) const { return call_.order.row[first_ + slot]; }

  void run_block() {
    for (int64_t i = 0; i < program_.step_count; ++i) {
      const ProgramStep& step = program_.steps[i];
      const RowBlock<T> a = at(step.from[0]);
      lines_[i] = {step.operation,
                   step.weight,
                   at(step.to),
                   a,
                   step.from[1] < 0 ? a : at(step.from[1]),
                   step.from[2] < 0 ? a : at(step.from[2])};
    }
    const int64_t fixed = program_.inputs, states = fixed + program_.fixed;
    for (int64_t i = 0; i < program_.fixed; ++i) fetch(fixed + i, call_.fixed[i], 0, count_);
    for (int64_t i = 0; i < program_.states; ++i) fetch(states + i, call_.states[i], 0, count_);
    for (int64_t n = 0; n < call_.steps; ++n) {
      const int64_t t = call_.reverse ? call_.steps - 1 - n : n;
      const int64_t left = call_.order.active[t] - first_;
      const int64_t active = left < 0 ? 0 : left < count_ ? left : count_;
      if (active > 0) run_step(t, active);
    }
    for (int64_t i = 0; i < program_.states; ++i) hand_out(states + i, call_.after[i], 0, count_);
  }

  void run_step(int64_t t, int64_t active) {
    const int64_t states = program_.inputs + program_.fixed;
    for (int64_t i = 0; i < program_.inputs; ++i) fetch(i, call_.inputs[i], t, active);
    if (!call_.reset_after) reset(t, active);
    for (int64_t i = 0; i < program_.step_count;) {
      if (lines_[i].operation == Operation::kProduct) {
        multiply(lines_[i++], active);
      } else {
        i = pointwise_until_product(i, active);
      }
    }
    for (int64_t i = 0; i < program_.emitted; ++i) hand_out(program_.emit[i], call_.emitted[i], t, active);
    for (int64_t i = 0; i < program_.states; ++i) copy(at(program_.after[i]), at(states + i), active);
    if (call_.reset_after) reset(t, active);
  }

  void reset(int64_t t, int64_t active) {
    if (!call_.resets) return;
    for (int64_t slot = 0; slot < active; ++slot) {
      if (!call_.resets[t * call_.batch + row(slot)]) continue;
      for (int64_t i = 0; i < program_.resettable; ++i) {
        const RowBlock<T> state = at(program_.inputs + program_.fixed + i);
        std::memset(state.row(slot), 0, static_cast<size_t>(state.width) * sizeof(T));
      }
    }
  }

  // Rows of an array [T, B, width] to and from a block.
  void fetch(int64_t value, const T* from, int64_t t, int64_t active) {
    const RowBlock<T> to = at(value);
    for (int64_t slot = 0; slot < active; ++slot) {
      std::memcpy(to.row(slot), from + (t * call_.batch + row(slot)) * to.width,
                  static_cast<size_t>(to.width) * sizeof(T));
    }
  }
  void hand_out(int64_t value, T* to, int64_t t, int64_t active) {
    const RowBlock<T> from = at(value);
    for (int64_t slot = 0; slot < active; ++slot) {
      std::memcpy(to + (t * call_.batch + row(slot)) * from.width, from.row(slot),
                  static_cast<size_t>(from.width) * sizeof(T));
    }
  }

  // Runs the instructions from this one up to the next product, a few rows at a time; gives where it stopped.
  // (Each row has all its values to itself, so rows may be at different instructions.)
  int64_t pointwise_until_product(int64_t first, int64_t active) {
    int64_t last = first;
    while (last < program_.step_count && lines_[last].operation != Operation::kProduct) ++last;
    const int64_t fit = kStripBytes / (program_.row_numbers * static_cast<int64_t>(sizeof(T)) + 1);
    const int64_t strip = fit < 1 ? 1 : fit;
    for (int64_t row = 0; row < active; row += strip) {
      const int64_t rows = active - row < strip ? active - row : strip;
      for (int64_t i = first; i < last; ++i) {
        const Line& line = lines_[i];
        pointwise(line.operation, line.a.from(row), line.b.from(row), line.c.from(row), line.to.from(row),
                  rows);
      }
    }
    return last;
  }

  void multiply(const Line& line, int64_t active) {
    const RowBlock<T>&to = line.to, &from = line.a;
    const T* panels = panels_;
    for (int64_t i = 0; i < line.weight; ++i) panels += panel_numbers(program_.weights[i]);
    product(active, Strided<T>{from.base, from.stride}, panels, from.width * panel_width<T>(), from.width,
            panel_count<T>(to.width), Target<T>{to.base, to.stride, nullptr, 0, to.width});
  }

  const ScanCall<T>& call_;
  const ProgramView& program_;
  const Worker& worker_;
  const int64_t rows_;  // of a block
  T *panels_, *numbers_, *block_;
  Line* lines_;
  int64_t first_ = 0, count_ = 0;  // slots of the block that is run
};

}  // namespace recurra::RECURRA_ISA
