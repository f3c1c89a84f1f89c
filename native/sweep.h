// What a sweep is given and what it is asked: plain structures, and one table of functions for each
// instruction set. Knows neither Python nor any instruction set.
//
// A sweep is a layer whose units (or blocks of them) meet nobody on their way through time: all products of
// its inputs are large ones over many steps, and what is left goes through the steps on its own.
//
// Axes: T steps, B batch, I inputs, H units, S sums of a step (what the units read), W units of a block. All
// arrays are contiguous and row-major.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "parallel.h"

// (Always inlined: the linker must not keep one copy of a function for all instruction sets.)
#define RECURRA_EVERYWHERE inline __attribute__((always_inline))

namespace recurra {

enum class SweepCell : int { kMinGru, kMinLstm, kRgLru, kLru, kSlstm, kMlstm };
constexpr int kSweepCells = 6;

// Blocks of H among the sums of a step; those of them that weight_in makes from the inputs; tensors in its
// state, the first `emits` of which are its outputs side by side; parameters of each unit; weights [H, W] of
// gates; and whether these act on the output before (and not on the first sums).
struct SweepCounts {
  int gates, read, leaves, emits, own, blocks;
  bool recurrent;
};
// Steps between two states that are kept for the gradients of a recurrent cell.
constexpr int64_t kMarkSteps = 32;
constexpr RECURRA_EVERYWHERE SweepCounts sweep_counts(SweepCell cell) {
  switch (cell) {
    case SweepCell::kMinGru:
      return {2, 2, 1, 1, 0, 0, false};
    case SweepCell::kMinLstm:
      return {3, 3, 1, 1, 0, 0, false};
    case SweepCell::kRgLru:
      return {3, 1, 1, 1, 1, 2, false};
    case SweepCell::kLru:
      return {2, 2, 2, 2, 3, 0, false};
    case SweepCell::kSlstm:
      return {4, 4, 4, 1, 0, 4, true};
    case SweepCell::kMlstm:
      return {4, 4, 3, 1, 0, 0, true};
  }
  return {};
}

// The parameters of a sweep; null where it has none.
template <class T>
struct SweepParameters {
  const T* weight_in;  // [read*H, I]; an RG-LRU without it reads its inputs themselves, I = H
  const T* bias_in;    // [read*H]: with weight_in
  const T*
      weight_gates;  // [blocks, H, W]: what units read of one another's first sums or outputs, block by block
  const T* bias_gates;  // [blocks*H]: of gates that read first sums
  const T* own;         // [own, H]
};

// What forward and backward share.
template <class T>
struct SweepCall {
  SweepCell cell;
  bool reverse;  // steps run from T-1 down to 0
  int64_t steps, batch, inputs, units;
  int64_t block;    // W, or 0 where there are no blocks
  int64_t symbols;  // rows of `x` where tokens choose them, otherwise 0
  Order order;

  const T* x;              // [T, B, I], or [symbols, I] with tokens
  const int64_t* tokens;   // [T, B] or null: which row of x a step reads
  const uint8_t* resets;   // [T, B], not zero where the state becomes zero before the step, or null
  const T* const* states;  // the given state: each [B, leaf]
  SweepParameters<T> parameters;

  RECURRA_EVERYWHERE int64_t sums() const { return sweep_counts(cell).gates * units + gates_of_heads(); }
  RECURRA_EVERYWHERE int64_t read() const { return sweep_counts(cell).read * units + gates_of_heads(); }
  // An mLSTM's gates are two numbers a head, behind the others.
  RECURRA_EVERYWHERE int64_t gates_of_heads() const {
    return cell == SweepCell::kMlstm ? 2 * units / block : 0;
  }
  // The width of a tensor of the state: H, or of an mLSTM n, the matrices C and m.
  RECURRA_EVERYWHERE int64_t leaf(int i) const {
    if (cell != SweepCell::kMlstm || i == 0) return units;
    return i == 1 ? units * block : units / block;
  }
  RECURRA_EVERYWHERE int64_t marked() const {  // of all of them
    int64_t sum = 0;
    for (int i = 0; i < sweep_counts(cell).leaves; ++i) sum += leaf(i);
    return sum;
  }
  RECURRA_EVERYWHERE int64_t gate_blocks() const {
    return block ? sweep_counts(cell).blocks * units / block : 0;
  }
  // The first column of the sums that weight_gates are for.
  RECURRA_EVERYWHERE int64_t gated() const { return sweep_counts(cell).recurrent ? 0 : read(); }
  RECURRA_EVERYWHERE int64_t mark_steps() const { return sweep_counts(cell).recurrent ? kMarkSteps : 0; }
  RECURRA_EVERYWHERE int64_t width() const { return sweep_counts(cell).emits * units; }  // of an output
};

template <class T>
struct SweepForwardCall : SweepCall<T> {
  const T* packed;        // weight_in as panels, kept from an earlier call, or null
  const T* packed_gates;  // weight_gates so, block by block
  const T* projected;     // [symbols, S]: every symbol's sums, kept from an earlier call, or null
  T* outputs;             // [T, B, width]
  T* const* last;         // the last state: each [B, leaf]
  T* kept;                // [T, B, S]: the sums of every step, what is recurrent among them, or null
  T* marks;               // [chunks, B, marked]: the states that chunks of steps begin with, or null
};

template <class T>
struct SweepBackwardCall : SweepCall<T> {
  const T* grad_outputs;      // [T, B, width] or null
  const T* const* grad_last;  // each [B, leaf] or null
  const T* outputs;           // [T, B, width]
  const T* kept;              // [T, B, S], or null: made again (a linear cell's; always with tokens)
  const T* marks;             // of a recurrent cell
  // Results, all of them overwritten.
  T* grad_x;  // the shape of x, or null
  T* const* grad_states;
  T *grad_weight_in, *grad_bias_in, *grad_weight_gates, *grad_bias_gates, *grad_own;  // as the parameters
};

// The sweeps of one instruction set for one number type: bytes of scratch that a team of this size needs, and
// this worker's part of the work.
template <class T>
struct SweepKernels {
  int64_t (*forward_scratch)(const SweepForwardCall<T>& call, int size);
  void (*forward)(const SweepForwardCall<T>& call, char* scratch, const Worker& worker);
  int64_t (*backward_scratch)(const SweepBackwardCall<T>& call, int size);
  void (*backward)(const SweepBackwardCall<T>& call, char* scratch, const Worker& worker);
};

struct SweepTable {
  SweepKernels<float> single;
  SweepKernels<double> twice;

  template <class T>
  const SweepKernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return single;
    } else {
      return twice;
    }
  }
};

namespace portable {
extern const SweepTable matrices;  // the mLSTM's
extern const SweepTable sweeps;
}  // namespace portable
#if defined(__x86_64__)
namespace avx2 {
extern const SweepTable matrices;
extern const SweepTable sweeps;
}  // namespace avx2
namespace avx512 {
extern const SweepTable matrices;
extern const SweepTable sweeps;
}  // namespace avx512
#endif

}  // namespace recurra
