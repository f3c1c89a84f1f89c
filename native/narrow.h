// The product over many rows, c += a^T b, where a has few columns: what turns the gradients of sums into
// those of a weight that few inputs meet. Compiled once for each instruction set; knows nothing of cells or
// time.
#pragma once

#include "matmul.h"

namespace recurra::RECURRA_ISA {

// R rows of `total` += (R numbers of each x)^T b, and one more row += the sum of b's rows, over n rows of b:
// V vectors of them at a time.
template <class T, int R, int V, class X>
RECURRA_INLINE void narrow_block(const T* b, int64_t stride, int64_t n, int64_t left, const X& x, int64_t at,
                                 T* total, T* sum, int64_t total_stride) {
  constexpr int64_t lanes = Simd<T>::lanes;
  Vector<T> rows[R][V], sums[V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    sums[v] = sum ? load(sum + v * lanes, left - v * lanes) : Vector<T>{};
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) rows[r][v] = load(total + r * total_stride + v * lanes, left - v * lanes);
  }
  for (int64_t k = 0; k < n; ++k) {
    const T* numbers = x(k) + at;
    Vector<T> come[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      come[v] = load(b + k * stride + v * lanes, left - v * lanes);
      sums[v] = sums[v] + come[v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector<T> value = broadcast<T>(numbers[r]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) rows[r][v] = fma(value, come[v], rows[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    if (sum) store(sum + v * lanes, sums[v], left - v * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) store(total + r * total_stride + v * lanes, rows[r][v], left - v * lanes);
  }
}

// total[columns + 1, ...] += [x, 1]^T b for rows x(k) of few numbers, some columns of b: transposed gradients
// of a weight, which would fill a small part of a panel, and those of its biases behind them.
template <class T, class X>
void add_narrow(const T* b, int64_t stride, int64_t n, Share share, const X& x, int64_t columns, T* total,
                int64_t total_stride) {
  constexpr int V = kBlockRows > 6 ? 4 : 2;  // as many as there are registers for
  constexpr int64_t step = V * Simd<T>::lanes;
  for (int64_t j = share.first; j < share.last; j += step) {
    T* sum = total + columns * total_stride + j;
    int64_t i = 0;
    const auto run = [&](auto rows) __attribute__((always_inline)) {
      constexpr int R = decltype(rows)::value;
      for (; i + R <= columns; i += R)
        narrow_block<T, R, V>(b + j, stride, n, share.last - j, x, i, total + i * total_stride + j,
                              i == 0 ? sum : nullptr, total_stride);
    };
    run(Constant<4>{});
    run(Constant<2>{});
    run(Constant<1>{});
  }
}

}  // namespace recurra::RECURRA_ISA
