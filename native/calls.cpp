// See calls.h.
#include "calls.h"

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>

#include "dispatch.h"
#include "parallel.h"

namespace recurra {
namespace {

constexpr int64_t kMostRows = 48;  // of one group: more would push its sums out of the first level of cache
constexpr int64_t kWorthPacking = 1 << 15;  // numbers to pack before a second thread helps

constexpr int64_t kWorthWaking = 1 << 17;  // multiply-adds of a call below which a second thread is not woken

constexpr std::align_val_t kAlignment{64};
struct AlignedDelete {
  void operator()(void* memory) const { ::operator delete(memory, kAlignment); }
};
template <class T>
using Buffer = std::unique_ptr<T[], AlignedDelete>;

template <class T>
Buffer<T> allocate(int64_t n) {
  return Buffer<T>(static_cast<T*>(::operator new(static_cast<size_t>(n) * sizeof(T), kAlignment)));
}

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Packs `blocks` matrices of columns x depth that follow one another in `weight`.
template <class T>
Buffer<T> packed(const Kernels<T>& kernels, const T* weight, int64_t blocks, int64_t columns, int64_t depth,
                 bool transposed, int threads) {
  const int64_t count = divide_up(columns, kernels.panel_width);
  const int64_t block = count * kernels.panel_width * depth;
  Buffer<T> panels = allocate<T>(blocks * block);
  const int64_t parts = blocks * columns * depth < kWorthPacking ? 1 : std::min<int64_t>(threads, count);
  parallel(parts, threads, [&](int64_t part) {
    for (int64_t b = 0; b < blocks; ++b) {
      kernels.pack(weight + b * columns * depth, columns, depth, transposed, count * part / parts,
                   count * (part + 1) / parts, panels.get() + b * block);
    }
  });
  return panels;
}

// The rows of the batch in groups, one thread a group at a time, longest rows first in each.
class Deal {
 public:
  Deal(const std::vector<int64_t>& lengths, int threads) {
    const int64_t batch = static_cast<int64_t>(lengths.size());
    std::vector<int64_t> order(lengths.size());
    std::iota(order.begin(), order.end(), 0);
    const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
    const bool ragged = *shortest != *longest;
    if (ragged) {
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    }
    const int64_t groups = std::min(batch, divide_up(divide_up(batch, kMostRows), threads) * threads);
    row_.reserve(lengths.size());
    for (int64_t g = 0; g < groups; ++g) {
      start_.push_back(static_cast<int64_t>(row_.size()));
      if (ragged) {  // every group gets long and short rows, so that the threads end together
        for (int64_t i = g; i < batch; i += groups) row_.push_back(order[i]);
      } else {  // neighbours in memory stay together
        for (int64_t i = batch * g / groups; i < batch * (g + 1) / groups; ++i) row_.push_back(i);
      }
    }
    start_.push_back(batch);
    for (const int64_t row : row_) length_.push_back(lengths[row]);
  }

  int64_t groups() const { return static_cast<int64_t>(start_.size()) - 1; }
  Rows rows(int64_t group) const {
    const int64_t start = start_[group];
    return {row_.data() + start, length_.data() + start, start_[group + 1] - start};
  }

 private:
  std::vector<int64_t> row_, length_, start_;
};

template <class T, class Run>
void run_rows(const Kernels<T>& kernels, const Call<T>& call, const std::vector<int64_t>& lengths,
              int threads, const Run& run) {
  const int64_t steps = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (steps * gate_count(call.cell) * call.units * call.units < kWorthWaking) threads = 1;
  const Deal deal(lengths, threads);
  // One piece of scratch for each group, from here, because a task must not throw.
  int64_t most = 0;
  for (int64_t g = 0; g < deal.groups(); ++g) most = std::max(most, deal.rows(g).count);
  const int64_t size = divide_up(kernels.scratch(most, call.units), 64) * 64;
  const Buffer<T> scratch = allocate<T>(size * deal.groups());
  parallel(deal.groups(), threads, [&](int64_t g) { run(deal.rows(g), scratch.get() + g * size); });
}

}  // namespace

template <class T>
void linear(const T* x, int64_t rows, int64_t depth, const T* weight, int64_t columns, const T* bias, T* out,
            int threads) {
  if (rows == 0 || columns == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Buffer<T> panels = packed(kernels, weight, 1, columns, depth, false, threads);
  const int64_t parts = rows * columns * depth < kWorthWaking ? 1 : std::min<int64_t>(threads, rows);
  parallel(parts, threads, [&](int64_t part) {
    const int64_t first = rows * part / parts, last = rows * (part + 1) / parts;
    kernels.linear(x + first * depth, last - first, depth, panels.get(), bias, columns,
                   out + first * columns);
  });
}

template <class T>
void forward(ForwardCall<T> call, const T* weight, const std::vector<int64_t>& lengths, int threads) {
  if (call.batch == 0 || call.units == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Buffer<T> panels =
      packed(kernels, weight, gate_count(call.cell), call.units, call.units, false, threads);
  call.panels = panels.get();
  run_rows(kernels, call, lengths, threads,
           [&](const Rows& rows, T* scratch) { kernels.forward(call, rows, scratch); });
}

template <class T>
void backward(BackwardCall<T> call, const T* weight, const std::vector<int64_t>& lengths, int threads) {
  if (call.batch == 0 || call.units == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Buffer<T> panels =
      packed(kernels, weight, gate_count(call.cell), call.units, call.units, true, threads);
  call.panels = panels.get();
  run_rows(kernels, call, lengths, threads,
           [&](const Rows& rows, T* scratch) { kernels.backward(call, rows, scratch); });
}

template void linear(const float*, int64_t, int64_t, const float*, int64_t, const float*, float*, int);
template void linear(const double*, int64_t, int64_t, const double*, int64_t, const double*, double*, int);
template void forward(ForwardCall<float>, const float*, const std::vector<int64_t>&, int);
template void forward(ForwardCall<double>, const double*, const std::vector<int64_t>&, int);
template void backward(BackwardCall<float>, const float*, const std::vector<int64_t>&, int);
template void backward(BackwardCall<double>, const double*, const std::vector<int64_t>&, int);

}  // namespace recurra
