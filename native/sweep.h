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

namespace recurra {

enum class SweepCell : int { kMinGru, kMinLstm, kRgLru, kLru };
constexpr int kSweepCells = 4;

// Blocks of H among the sums of a step; those of them that weight_in makes from the inputs; tensors in its
// state, which are its outputs side by side; parameters of each unit.
struct SweepCounts {
  int gates, read, leaves, own;
};
constexpr SweepCounts sweep_counts(SweepCell cell) {
  switch (cell) {
    case SweepCell::kMinGru:
      return {2, 2, 1, 0};
    case SweepCell::kMinLstm:
      return {3, 3, 1, 0};
    case SweepCell::kRgLru:
      return {3, 1, 1, 1};
    case SweepCell::kLru:
      return {2, 2, 2, 3};
  }
  return {};
}
constexpr int kMostSweepLeaves = 2;

// The parameters of a sweep; null where it has none.
template <class T>
struct SweepParameters {
  const T* weight_in;     // [read*H, I]; an RG-LRU without it reads its inputs themselves, I = H
  const T* bias_in;       // [read*H]: with weight_in
  const T* weight_gates;  // [gates - read, H, W]: what the units of a block read of one another's first sums
  const T* bias_gates;    // [(gates - read)*H]
  const T* own;           // [own, H]
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
  const T* const* states;  // the given state: each [B, H]
  SweepParameters<T> parameters;

  int64_t sums() const { return sweep_counts(cell).gates * units; }
  int64_t read() const { return sweep_counts(cell).read * units; }
  int64_t width() const { return sweep_counts(cell).leaves * units; }  // of an output
};

template <class T>
struct SweepForwardCall : SweepCall<T> {
  const T* packed;     // weight_in as panels, kept from an earlier call, or null
  const T* projected;  // [symbols, S]: every symbol's sums, kept from an earlier call, or null
  T* outputs;          // [T, B, width]
  T* const* last;      // the last state: each [B, H]
  T* kept;             // [T, B, S]: the sums of every step, or null
};

template <class T>
struct SweepBackwardCall : SweepCall<T> {
  const T* grad_outputs;      // [T, B, width] or null
  const T* const* grad_last;  // each [B, H] or null
  const T* outputs;           // [T, B, width]
  const T* kept;              // [T, B, S]; not with tokens, whose sums are made again
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
extern const SweepTable sweeps;
}
#if defined(__x86_64__)
namespace avx2 {
extern const SweepTable sweeps;
}
namespace avx512 {
extern const SweepTable sweeps;
}
#endif

}  // namespace recurra
