// What a kernel is given and what it is asked: plain structures, and one table of functions for each
// instruction set. Knows neither Python nor any instruction set; every other file includes this one.
//
// Axes: T steps, B batch, I inputs, H units, P width of the state (H, or what a projection leaves), G gates.
// All arrays are contiguous and row-major.
#pragma once

#include <cstdint>

#include "parallel.h"

namespace recurra {

enum class Cell : int { kElman, kGru, kGruResetBefore, kLstm };
enum class Activation : int { kTanh, kRelu, kSigmoid, kIdentity };

// Gates in the weight, numbers per unit in the saved `gates`, and in the gradients of one step.
constexpr int gate_count(Cell cell) {
  return cell == Cell::kElman ? 1 : cell == Cell::kLstm ? 4 : 3;
}
constexpr int saved_count(Cell cell) {
  return cell == Cell::kElman ? 1 : 4;
}

// The batch in the order in which it is run: longest rows first, so that the rows that take part in step t
// are the first active[t] ones, whatever the order of the batch. A row's place in this order is its slot.
struct Order {
  const int64_t* row;     // [B]: slot -> place in the batch
  const int64_t* length;  // [B]: slot -> steps
  const int64_t* active;  // [T]
};

// The weights of a layer as `pack_*` leave them; null where the layer has none, and in backward where only
// the transposed ones are needed.
template <class T>
struct Panels {
  const T* in;          // [G][H columns, I deep]
  const T* state;       // [G][H columns, P deep]
  const T* projection;  // [P columns, H deep]
};

// What forward and backward share.
template <class T>
struct Call {
  Cell cell;
  Activation activation;  // Elman only
  bool reverse;           // steps run from T-1 down to 0
  int64_t steps, batch, inputs, units, width;
  int64_t symbols;  // rows of `x` where tokens choose them, otherwise 0
  Order order;
  bool by_units;  // threads share out the units of every step instead of the rows

  const T* x;             // [T, B, I], or [symbols, I] with tokens; I = G*H where there is no weight_in
  const int64_t* tokens;  // [T, B] or null: which row of x a step reads
  const uint8_t* resets;  // [T, B], not zero where the state becomes zero before the step, or null
  const T* mask;          // [B, P] or null: multiplies the state inside the recurrent product
  const T* h;             // [B, P]: the given state
  const T* c;             // [B, H]: LSTM only

  const T* weight_in;   // [G*H, I] or null: x is the projected input
  const T* weight;      // [G*H, P]
  const T* peepholes;   // [3, H] or null: LSTM only
  const T* projection;  // [P, H] or null: LSTM only
};

template <class T>
struct ForwardCall : Call<T> {
  const T* bias_in;  // [G*H] or null
  const T* bias;     // [H] or null: GRU only, inside the reset
  Panels<T> packed;  // kept from an earlier call, or null
  T* outputs;        // [T, B, P]
  T* h_last;         // [B, P]
  T* c_last;         // [B, H]: LSTM only
  T* gates;          // [T, B, saved*H] or null
  T* cells;          // [T, B, H] or null: LSTM only
};

template <class T>
struct BackwardCall : Call<T> {
  const T* grad_outputs;  // [T, B, P] or null
  const T* grad_h_last;   // [B, P] or null
  const T* grad_c_last;   // [B, H] or null: LSTM only
  const T* grad_cells;    // [T, B, H] or null: LSTM only
  const T* outputs;       // [T, B, P]
  const T* gates;         // [T, B, saved*H]; not Elman
  const T* cells;         // [T, B, H]: LSTM only
  // Results, all of them overwritten; the optional ones may be null.
  T* grad_x;           // the shape of x; optional
  T* grad_h;           // [B, P]
  T* grad_c;           // [B, H]: LSTM only
  T* grad_weight_in;   // [G*H, I]: with weight_in
  T* grad_bias_in;     // [G*H]; optional
  T* grad_weight;      // [G*H, P]
  T* grad_bias;        // [H]; optional, GRU only
  T* grad_peepholes;   // [3, H]: with peepholes
  T* grad_projection;  // [P, H]: with projection
};

template <class T>
struct ScanCall;  // program.h

// The kernels of one instruction set for one number type.
template <class T>
struct Kernels {
  // Numbers in a packed matrix of columns x depth.
  int64_t (*packed_size)(int64_t columns, int64_t depth);

  // `weight` [columns, depth] as panels, this worker's share of them.
  void (*pack)(const T* weight, int64_t columns, int64_t depth, T* panels, const Worker& worker);

  // out[n, j] = bias[j] + x[n, 0]*w[j, 0] + x[n, 1]*w[j, 1] + ...: one chain of fused multiply-adds in that
  // order. This worker's share of the rows, or of the columns where rows are few.
  void (*linear)(const T* x, int64_t rows, int64_t depth, const T* panels, const T* bias, int64_t columns,
                 T* out, const Worker& worker);

  // Bytes of scratch that a team of this size needs, and this worker's part of the work.
  int64_t (*forward_scratch)(const ForwardCall<T>& call, int size);
  void (*forward)(const ForwardCall<T>& call, char* scratch, const Worker& worker);
  int64_t (*backward_scratch)(const BackwardCall<T>& call, int size);
  void (*backward)(const BackwardCall<T>& call, char* scratch, const Worker& worker);
  int64_t (*scan_scratch)(const ScanCall<T>& call, int size);
  void (*scan)(const ScanCall<T>& call, char* scratch, const Worker& worker);

  void (*exp)(const T* x, T* y, int64_t n);
  void (*sigmoid)(const T* x, T* y, int64_t n);
  void (*tanh)(const T* x, T* y, int64_t n);
};

struct KernelTable {
  const char* name;
  Kernels<float> single;
  Kernels<double> twice;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return single;
    } else {
      return twice;
    }
  }
};

namespace portable {
extern const KernelTable table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
#endif

}  // namespace recurra
