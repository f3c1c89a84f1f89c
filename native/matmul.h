// The product inside the time loop: packed weights, and a block of sums kept in registers. Compiled once for
// each instruction set; knows nothing of cells or time.
//
// Every result is ONE chain of fused multiply-adds over the depth, in ascending order, from the value already
// in the result. It depends neither on the rows beside it nor on where a block or a panel ends: bit for bit
// the same for every batch, chunk and thread count.
#pragma once

#include "simd.h"

namespace recurra::RECURRA_ISA {

constexpr int kPanelVectors = 2;

template <class T>
constexpr int64_t panel_width() {
  return kPanelVectors * Simd<T>::lanes;
}

template <class T>
constexpr int64_t panel_count(int64_t columns) {
  return (columns + panel_width<T>() - 1) / panel_width<T>();
}

// See Kernels<T>::pack. A panel holds `depth` rows of panel_width() columns.
template <class T>
void pack(const T* weight, int64_t columns, int64_t depth, bool transposed, int64_t first, int64_t last,
          T* panels) {
  constexpr int64_t width = panel_width<T>();
  for (int64_t p = first; p < last; ++p) {
    T* panel = panels + p * depth * width;
    const int64_t start = p * width;
    const int64_t here = columns - start < width ? columns - start : width;
    if (here < width) std::memset(panel, 0, static_cast<size_t>(depth * width) * sizeof(T));
    if (transposed) {
      for (int64_t k = 0; k < depth; ++k) {
        std::memcpy(panel + k * width, weight + k * columns + start, static_cast<size_t>(here) * sizeof(T));
      }
    } else {
      // By squares, so that both the lines read and the lines written stay in the first level of cache.
      for (int64_t k0 = 0; k0 < depth; k0 += 16) {
        const int64_t k1 = k0 + 16 < depth ? k0 + 16 : depth;
        for (int64_t j = 0; j < here; ++j) {
          const T* from = weight + (start + j) * depth;
          for (int64_t k = k0; k < k1; ++k) panel[k * width + j] = from[k];
        }
      }
    }
  }
}

// c[R rows, P panels] += a[R rows, depth] * panels. Row strides in numbers.
template <class T, int R, int P>
RECURRA_INLINE void block(const T* a, int64_t a_stride, const T* panels, int64_t depth, T* c,
                          int64_t c_stride) {
  constexpr int columns = P * kPanelVectors, lanes = Simd<T>::lanes;
  constexpr int64_t width = panel_width<T>();
  Vector<T> sums[R][columns];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) sums[r][v] = load(c + r * c_stride + v * lanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector<T> weights[columns];
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) {
      weights[v] =
          load(panels + (v / kPanelVectors) * depth * width + k * width + (v % kPanelVectors) * lanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector<T> value = broadcast<T>(a[r * a_stride + k]);
#pragma GCC unroll 16
      for (int v = 0; v < columns; ++v) sums[r][v] = fma(value, weights[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) store(c + r * c_stride + v * lanes, sums[r][v]);
  }
}

// As many panels at once as give enough independent sums to hide the latency of the multiply-add.
constexpr int panels_at_once(int64_t rows) {
  return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}

template <class T, int R>
void blocks(const T* a, int64_t a_stride, const T* panels, int64_t depth, int64_t count, T* c,
            int64_t c_stride) {
  constexpr int64_t width = panel_width<T>();
  int64_t p = 0;
  if constexpr (R == 1) {
    for (; p + 4 <= count; p += 4)
      block<T, R, 4>(a, a_stride, panels + p * depth * width, depth, c + p * width, c_stride);
  }
  if constexpr (R <= 3) {
    for (; p + 2 <= count; p += 2)
      block<T, R, 2>(a, a_stride, panels + p * depth * width, depth, c + p * width, c_stride);
  }
  for (; p < count; ++p)
    block<T, R, 1>(a, a_stride, panels + p * depth * width, depth, c + p * width, c_stride);
}

// Calls blocks<T, R> for the R known only when running.
template <class T, int R = kBlockRows>
RECURRA_INLINE void blocks_of(int64_t rows, const T* a, int64_t a_stride, const T* panels, int64_t depth,
                              int64_t count, T* c, int64_t c_stride) {
  if (rows == R) {
    blocks<T, R>(a, a_stride, panels, depth, count, c, c_stride);
  } else if constexpr (R > 1) {
    blocks_of<T, R - 1>(rows, a, a_stride, panels, depth, count, c, c_stride);
  }
}

// c[rows, count panels] += a[rows, depth] * panels. A group of panels is used for all rows while it is in
// cache; the rows are cut into blocks of nearly equal size.
template <class T>
void product(int64_t rows, const T* a, int64_t a_stride, const T* panels, int64_t depth, int64_t count, T* c,
             int64_t c_stride) {
  if (rows == 0) return;
  constexpr int64_t width = panel_width<T>();
  const int64_t cuts = (rows + kBlockRows - 1) / kBlockRows;
  const int64_t small = rows / cuts, larger = rows % cuts;
  const int64_t group = panels_at_once(small);
  for (int64_t p = 0; p < count; p += group) {
    const int64_t here = count - p < group ? count - p : group;
    int64_t row = 0;
    for (int64_t i = 0; i < cuts; ++i) {
      const int64_t n = small + (i < larger);
      blocks_of<T>(n, a + row * a_stride, a_stride, panels + p * depth * width, depth, here,
                   c + row * c_stride + p * width, c_stride);
      row += n;
    }
  }
}

// See Kernels<T>::linear. The result of one group of rows and panels is summed in a small tile.
template <class T>
void linear(const T* x, int64_t rows, int64_t depth, const T* panels, const T* bias, int64_t columns,
            T* out) {
  constexpr int64_t width = panel_width<T>(), tile_rows = 4 * kBlockRows, lanes = Simd<T>::lanes;
  const int64_t count = panel_count<T>(columns);
  alignas(64) T tile[tile_rows * width * 4];
  const int64_t group = panels_at_once(rows);
  for (int64_t p = 0; p < count; p += group) {
    const int64_t here = count - p < group ? count - p : group;
    const int64_t stride = here * width;
    for (int64_t row = 0; row < rows; row += tile_rows) {
      const int64_t n = rows - row < tile_rows ? rows - row : tile_rows;
      for (int64_t j = 0; j < stride; j += lanes) {
        const int64_t left = columns - p * width - j;
        const Vector<T> start = bias && left > 0 ? load(bias + p * width + j, left) : Vector<T>{};
        for (int64_t i = 0; i < n; ++i) store(tile + i * stride + j, start);
      }
      product(n, x + row * depth, depth, panels + p * depth * width, depth, here, tile, stride);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < stride; j += lanes) {
          const int64_t left = columns - p * width - j;
          if (left > 0) store(out + (row + i) * columns + p * width + j, load(tile + i * stride + j), left);
        }
      }
    }
  }
}

}  // namespace recurra::RECURRA_ISA
