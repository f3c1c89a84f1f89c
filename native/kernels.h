// What a kernel is given and what it is asked: plain structures, and one table of functions for each
// instruction set. Knows neither Python nor threads nor any instruction set; every other file includes this
// one.
//
// Axes: T steps, B batch, H units, G gates. All arrays are contiguous and row-major.
#pragma once

#include <cstdint>

namespace recurra {

enum class Cell : int { kElman, kGru, kGruResetBefore, kLstm };
enum class Activation : int { kTanh, kRelu, kSigmoid, kIdentity };

// The rows of the batch that one thread runs: `row[i]` is a place in the batch and `length[i]` its number of
// steps. Longest first, so that the rows still running at any step are the first ones, whatever the order of
// the batch.
struct Rows {
  const int64_t* row;
  const int64_t* length;
  int64_t count;
};

// What forward and backward share.
template <class T>
struct Call {
  Cell cell;
  Activation activation;  // Elman only
  bool reverse;           // steps run from T-1 down to 0
  int64_t steps, batch, units;
  const uint8_t* resets;  // [T, B], not zero where the state becomes zero before the step, or null
  const T* mask;          // [B, H] or null: multiplies the state inside the recurrent product
  const T* h;             // [B, H]: the given state
  const T* c;             // [B, H]: LSTM only
  const T* panels;        // the recurrent weight as `pack` left it
};

template <class T>
struct ForwardCall : Call<T> {
  const T* x;     // [T, B, G*H]
  const T* bias;  // [H] or null: GRU only, inside the reset
  T* outputs;     // [T, B, H]
  T* h_last;      // [B, H]
  T* c_last;      // [B, H]: LSTM only
  T* gates;       // [T, B, saved*H] or null
  T* cells;       // [T, B, H] or null: LSTM only
};

template <class T>
struct BackwardCall : Call<T> {
  const T* grad_outputs;  // [T, B, H] or null
  const T* grad_h_last;   // [B, H] or null
  const T* grad_c_last;   // [B, H] or null: LSTM only
  const T* grad_cells;    // [T, B, H] or null: LSTM only
  const T* outputs;       // [T, B, H]
  const T* gates;         // [T, B, saved*H]
  const T* cells;         // [T, B, H]: LSTM only
  T* grad_x;              // [T, B, G*H]
  T* grad_q;              // [T, B, H]: GRU only
  T* grad_h;              // [B, H]
  T* grad_c;              // [B, H]: LSTM only
};

// The kernels of one instruction set for one number type.
template <class T>
struct Kernels {
  // Columns in a panel of packed weights; `depth` rows of that many numbers make one panel.
  int64_t panel_width;

  // Writes panels [first, last) of one block. `transposed` false: panel column j is row j of weight [columns,
  // depth]; true: panel column j is column j of weight [depth, columns]. Columns past the end are zero.
  void (*pack)(const T* weight, int64_t columns, int64_t depth, bool transposed, int64_t first, int64_t last,
               T* panels);

  // out[n, j] = bias[j] + x[n, 0]*w[j, 0] + x[n, 1]*w[j, 1] + ...: one chain of fused multiply-adds in that
  // order.
  void (*linear)(const T* x, int64_t rows, int64_t depth, const T* panels, const T* bias, int64_t columns,
                 T* out);

  // Numbers of scratch that `forward` or `backward` needs for this many rows.
  int64_t (*scratch)(int64_t rows, int64_t units);
  void (*forward)(const ForwardCall<T>& call, const Rows& rows, T* scratch);
  void (*backward)(const BackwardCall<T>& call, const Rows& rows, T* scratch);

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

// Gates in the weight, and numbers per unit in the saved `gates`.
constexpr int gate_count(Cell cell) {
  return cell == Cell::kElman ? 1 : cell == Cell::kLstm ? 4 : 3;
}
constexpr int saved_count(Cell cell) {
  return cell == Cell::kElman ? 1 : 4;
}

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
