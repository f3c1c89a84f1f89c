// See calls.h.
#include "calls.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>

#include "dispatch.h"
#include "parallel.h"

namespace recurra {
namespace {

constexpr int64_t kWorthATeam = 1 << 17;  // multiply-adds of a call below which a second thread is not asked
constexpr int64_t kWorthMeeting = 3 << 13;  // multiply-adds of a step for each worker that pay for a meeting
constexpr int64_t kFastBytes = 768 << 10;   // weights up to this size come from a worker's own cache
constexpr int64_t kRowsThatHideWeights =
    12;  // rows that use a weight often enough to wait for it from farther away

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitised =
    true;  // room left over from a larger call would hide what is written past the end
#else
constexpr bool kSanitised = false;
#endif

constexpr std::align_val_t kAlignment{64};
struct AlignedDelete {
  void operator()(void* memory) const { ::operator delete(memory, kAlignment); }
};
using Buffer = std::unique_ptr<char[], AlignedDelete>;

constexpr int64_t kMostKept = 32 << 20, kMostRowsKept = 1 << 14;

struct Kept {
  Buffer memory;
  int64_t size = 0;
};
thread_local Kept kept;

Buffer allocate(int64_t bytes) {
  return Buffer(static_cast<char*>(::operator new(static_cast<size_t>(bytes), kAlignment)));
}

// Scratch for a team of this size, or for the caller alone where no team is to be had. It is the calling
// thread's and kept for its next call, because fresh memory costs more than many a call; large pieces are
// given back.
class Scratch {
 public:
  template <class Count>
  Scratch(int threads, const Count& count) {
    const int64_t bytes = std::max<int64_t>({count(threads), count(1), 64});  // never a null pointer
    if (kept.size < bytes) {
      kept.memory = nullptr;
      kept.memory = allocate(bytes);
      kept.size = bytes;
    }
    memory_ = kept.memory.get();
  }
  ~Scratch() {
    if (kSanitised || kept.size > kMostKept) kept = {};
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  char* get() const { return memory_; }

 private:
  char* memory_;  // `kept` means another thing in each of the team's threads
};

// Owns what an Order points to.
class Rows {
 public:
  Rows(const int64_t* lengths, int64_t batch, int64_t steps)
      : row_(batch), length_(batch, steps), active_(steps, batch) {
    std::iota(row_.begin(), row_.end(), 0);
    total_ = batch * steps;
    if (!lengths) return;
    std::stable_sort(row_.begin(), row_.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    for (int64_t slot = 0; slot < batch; ++slot) length_[slot] = lengths[row_[slot]];
    total_ = std::accumulate(length_.begin(), length_.end(), int64_t{0});
    int64_t slots = batch;
    for (int64_t t = 0; t < steps; ++t) {
      while (slots > 0 && length_[slots - 1] <= t) --slots;
      active_[t] = slots;
    }
  }

  bool is(int64_t batch, int64_t steps) const {
    return static_cast<int64_t>(row_.size()) == batch && static_cast<int64_t>(active_.size()) == steps;
  }
  Order order() const { return {row_.data(), length_.data(), active_.data()}; }
  int64_t total() const { return total_; }  // steps of all rows

 private:
  std::vector<int64_t> row_, length_, active_;
  int64_t total_;
};

// How many threads a call is worth, and whether they share out the units of each step.
template <class T>
int choose_team(Call<T>& call, const Rows& rows, int threads) {
  const int64_t step = gate_count(call.cell) * call.units * call.width;  // multiply-adds of a row
  const int64_t inputs =
      call.weight_in && !call.tokens ? gate_count(call.cell) * call.units * call.inputs : 0;
  const int64_t work = rows.total() * (step + inputs);
  call.by_units = false;
  if (threads < 2 || work < kWorthATeam || crowded()) return 1;
  threads = static_cast<int>(std::min<int64_t>({threads, kMostThreads, work / (kWorthATeam / 2)}));
  const int64_t running = std::max<int64_t>(1, rows.total() / std::max<int64_t>(1, call.steps));
  const int64_t each = (running + threads - 1) / threads;
  const bool pays = running * step / threads >= kWorthMeeting;
  const bool far = step * static_cast<int64_t>(sizeof(T)) > kFastBytes && each < kRowsThatHideWeights;
  if (pays && (each < 2 || far)) {
    call.by_units = true;
    return threads;
  }
  return static_cast<int>(std::min<int64_t>(threads, call.batch));
}

}  // namespace

template <class T>
void linear(const T* x, int64_t rows, int64_t depth, const T* weight, int64_t columns, const T* bias, T* out,
            int threads) {
  if (rows == 0 || columns == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Scratch scratch(
      1, [&](int) { return kernels.packed_size(columns, depth) * static_cast<int64_t>(sizeof(T)); });
  T* packed = reinterpret_cast<T*>(scratch.get());
  if (rows * columns * depth < kWorthATeam || crowded()) threads = 1;
  team(threads, [&](const Worker& worker) {
    kernels.pack(weight, columns, depth, packed, worker);
    worker.meet();
    kernels.linear(x, rows, depth, packed, bias, columns, out, worker);
  });
}

template <class T>
void linear_packed(const T* x, int64_t rows, int64_t depth, const T* panels, int64_t columns, const T* bias,
                   T* out, int threads) {
  if (rows == 0 || columns == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  if (rows * columns * depth < kWorthATeam || crowded()) threads = 1;
  team(threads,
       [&](const Worker& worker) { kernels.linear(x, rows, depth, panels, bias, columns, out, worker); });
}

template <class T>
void forward(ForwardCall<T> call, const int64_t* lengths, int threads) {
  if (call.batch == 0 || call.units == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  // a step after another asks for the same rows
  thread_local Rows same(nullptr, 0, 0);
  const bool short_one = !lengths && call.batch + call.steps < kMostRowsKept;
  if (short_one && !same.is(call.batch, call.steps)) same = Rows(nullptr, call.batch, call.steps);
  const Rows own = short_one ? Rows(nullptr, 0, 0) : Rows(lengths, call.batch, call.steps);
  const Rows& rows = short_one ? same : own;
  call.order = rows.order();
  threads = choose_team(call, rows, threads);
  const Scratch scratch(threads, [&](int size) { return kernels.forward_scratch(call, size); });
  team(threads, [&](const Worker& worker) { kernels.forward(call, scratch.get(), worker); });
}

template <class T>
void forward_pair(ForwardCall<T> a, ForwardCall<T> b, const int64_t* lengths, int threads) {
  const int64_t work = a.steps * a.batch * gate_count(a.cell) * a.units * (a.width + a.inputs);
  if (threads < 2 || a.batch >= threads || a.batch == 0 || a.units == 0 || b.units == 0 ||
      work < kWorthATeam / 2 || crowded()) {
    forward(a, lengths, threads);
    forward(b, lengths, threads);
    return;
  }
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Rows rows(lengths, a.batch, a.steps);
  a.order = b.order = rows.order();
  const int half = threads / 2, used_a = choose_team(a, rows, half),
            used_b = choose_team(b, rows, threads - half);
  const auto bytes = [&](const ForwardCall<T>& call, int used) {
    const int64_t most = std::max(kernels.forward_scratch(call, used), kernels.forward_scratch(call, 1));
    return (most + 63) / 64 * 64;
  };
  const int64_t bytes_a = bytes(a, used_a), bytes_b = bytes(b, used_b);
  const Scratch scratch(1, [&](int) { return bytes_a + bytes_b; });
  struct Half {
    const Kernels<T>& kernels;
    const ForwardCall<T>& call;
    char* scratch;
  };
  const Half half_a{kernels, a, scratch.get()}, half_b{kernels, b, scratch.get() + bytes_a};
  const Job job = [](const void* given, const Worker& worker) {
    const Half& half = *static_cast<const Half*>(given);
    half.kernels.forward(half.call, half.scratch, worker);
  };
  run_two_teams(used_a + used_b, used_a, job, &half_a, job, &half_b);
}

template <class T>
void backward(BackwardCall<T> call, const int64_t* lengths, int threads) {
  if (call.batch == 0 || call.units == 0) {
    // no sums: what is added up stays zero
    const int64_t sums = gate_count(call.cell) * call.units;
    if (call.grad_weight_in) std::fill_n(call.grad_weight_in, sums * call.inputs, T(0));
    if (call.grad_bias_in) std::fill_n(call.grad_bias_in, sums, T(0));
    if (call.grad_weight) std::fill_n(call.grad_weight, sums * call.width, T(0));
    if (call.grad_bias) std::fill_n(call.grad_bias, call.units, T(0));
    if (call.grad_peepholes) std::fill_n(call.grad_peepholes, 3 * call.units, T(0));
    if (call.grad_projection) std::fill_n(call.grad_projection, call.width * call.units, T(0));
    const int64_t x = (call.tokens ? call.symbols : call.steps * call.batch) * call.inputs;
    if (call.grad_x) std::fill_n(call.grad_x, x, T(0));
    return;
  }
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Rows rows(lengths, call.batch, call.steps);
  call.order = rows.order();
  threads = choose_team(call, rows, threads);
  const Scratch scratch(threads, [&](int size) { return kernels.backward_scratch(call, size); });
  team(threads, [&](const Worker& worker) { kernels.backward(call, scratch.get(), worker); });
}

template <class T>
void scan(ScanCall<T> call, const int64_t* lengths, int threads) {
  if (call.batch == 0) return;
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const Rows rows(lengths, call.batch, call.steps);
  call.order = rows.order();
  // a pointwise number costs about as much as some multiply-adds
  int64_t each = 8 * call.program.row_numbers;
  for (int64_t i = 0; i < call.program.weight_count; ++i)
    each += call.program.weights[i].rows * call.program.weights[i].columns;
  const int64_t work = rows.total() * each;
  threads = work < kWorthATeam || crowded() ? 1 : std::min<int>(threads, kMostThreads);
  threads = static_cast<int>(std::min<int64_t>(threads, call.batch));
  const Scratch scratch(threads, [&](int size) { return kernels.scan_scratch(call, size); });
  team(threads, [&](const Worker& worker) { kernels.scan(call, scratch.get(), worker); });
}

namespace {

template <class T>
const SweepKernels<T>& sweeps_for(SweepCell cell) {
  return (cell == SweepCell::kMlstm ? chosen_matrices() : chosen_sweeps()).of<T>();
}

// How many threads a sweep is worth.
template <class T>
int sweep_team(const SweepCall<T>& call, const Rows& rows, int threads) {
  // a number that goes through time costs about as much as some multiply-adds
  const int64_t products = call.tokens ? call.symbols * call.inputs : rows.total() * call.inputs;
  const int64_t work =
      call.sums() * (products + (8 + (call.cell == SweepCell::kMlstm ? call.block : 0)) * rows.total());
  if (threads < 2 || work < kWorthATeam || crowded()) return 1;
  return static_cast<int>(std::min<int64_t>({threads, kMostThreads, work / (kWorthATeam / 2)}));
}

}  // namespace

template <class T>
void sweep_forward(SweepForwardCall<T> call, const int64_t* lengths, int threads) {
  if (call.batch == 0 || call.units == 0) return;
  const SweepKernels<T>& sweeps = sweeps_for<T>(call.cell);
  thread_local Rows same(nullptr, 0, 0);
  const bool short_one = !lengths && call.batch + call.steps < kMostRowsKept;
  if (short_one && !same.is(call.batch, call.steps)) same = Rows(nullptr, call.batch, call.steps);
  const Rows own = short_one ? Rows(nullptr, 0, 0) : Rows(lengths, call.batch, call.steps);
  const Rows& rows = short_one ? same : own;
  call.order = rows.order();
  threads = sweep_team(call, rows, threads);
  const Scratch scratch(threads, [&](int size) { return sweeps.forward_scratch(call, size); });
  team(threads, [&](const Worker& worker) { sweeps.forward(call, scratch.get(), worker); });
}

template <class T>
void sweep_backward(SweepBackwardCall<T> call, const int64_t* lengths, int threads) {
  if (call.batch == 0 || call.units == 0) {
    const SweepCounts counts = sweep_counts(call.cell);
    const int64_t gates = call.sums() - call.read(), weights = counts.blocks * call.units * call.block;
    if (call.grad_weight_in) std::fill_n(call.grad_weight_in, call.read() * call.inputs, T(0));
    if (call.grad_bias_in) std::fill_n(call.grad_bias_in, call.read(), T(0));
    if (call.grad_weight_gates) std::fill_n(call.grad_weight_gates, weights, T(0));
    if (call.grad_bias_gates) std::fill_n(call.grad_bias_gates, gates, T(0));
    if (call.grad_own) std::fill_n(call.grad_own, counts.own * call.units, T(0));
    const int64_t x = (call.tokens ? call.symbols : call.steps * call.batch) * call.inputs;
    if (call.grad_x) std::fill_n(call.grad_x, x, T(0));
    return;
  }
  const SweepKernels<T>& sweeps = sweeps_for<T>(call.cell);
  const Rows rows(lengths, call.batch, call.steps);
  call.order = rows.order();
  threads = sweep_team(call, rows, threads);
  const Scratch scratch(threads, [&](int size) { return sweeps.backward_scratch(call, size); });
  team(threads, [&](const Worker& worker) { sweeps.backward(call, scratch.get(), worker); });
}

template void sweep_forward(SweepForwardCall<float>, const int64_t*, int);
template void sweep_forward(SweepForwardCall<double>, const int64_t*, int);
template void sweep_backward(SweepBackwardCall<float>, const int64_t*, int);
template void sweep_backward(SweepBackwardCall<double>, const int64_t*, int);
template void scan(ScanCall<float>, const int64_t*, int);
template void scan(ScanCall<double>, const int64_t*, int);
template void linear(const float*, int64_t, int64_t, const float*, int64_t, const float*, float*, int);
template void linear(const double*, int64_t, int64_t, const double*, int64_t, const double*, double*, int);
template void linear_packed(const float*, int64_t, int64_t, const float*, int64_t, const float*, float*, int);
template void linear_packed(const double*, int64_t, int64_t, const double*, int64_t, const double*, double*,
                            int);
template void forward(ForwardCall<float>, const int64_t*, int);
template void forward(ForwardCall<double>, const int64_t*, int);
template void forward_pair(ForwardCall<float>, ForwardCall<float>, const int64_t*, int);
template void forward_pair(ForwardCall<double>, ForwardCall<double>, const int64_t*, int);
template void backward(BackwardCall<float>, const int64_t*, int);
template void backward(BackwardCall<double>, const int64_t*, int);

}  // namespace recurra
