// Matrix products: packed panels, and a block of sums kept in registers. Compiled once for each instruction
// set; knows nothing of cells or time.
//
// Every sum is ONE chain of fused multiply-adds over the depth, in ascending order, from the value it starts
// with. It depends neither on the rows beside it nor on where a block or a panel ends: bit for bit the same
// for every batch, chunk and thread count.
//
// A panel is a few columns of the second factor, one row of it after another, so that a product reads it from
// front to back.
#pragma once

#include "parallel.h"
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

// Whole panels, so that vectors need no end cases.
template <class T>
constexpr int64_t padded(int64_t columns) {
  return panel_count<T>(columns) * panel_width<T>();
}

// Part `index` of `size` nearly equal parts of 0..n, whose borders are multiples of `unit`.
struct Share {
  int64_t first, last;
  Share(int64_t n, int index, int size, int64_t unit = 1) {
    const int64_t units = (n + unit - 1) / unit;
    first = units * index / size * unit;
    last = units * (index + 1) / size * unit;
    if (first > n) first = n;
    if (last > n) last = n;
  }
};

// ---- packing

template <class T>
int64_t packed_size(int64_t columns, int64_t depth) {
  return padded<T>(columns) * depth;
}

// Panels [first, last) of weight [columns, depth]: panel column j is row j of the weight. Columns past the
// end are zero.
template <class T>
void pack_rows(const T* weight, int64_t columns, int64_t depth, Share share, T* panels) {
  constexpr int64_t width = panel_width<T>();
  for (int64_t p = share.first; p < share.last; ++p) {
    T* panel = panels + p * depth * width;
    const int64_t start = p * width;
    const int64_t here = columns - start < width ? columns - start : width;
    if (here < width) std::memset(panel, 0, static_cast<size_t>(depth * width) * sizeof(T));
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

// Panels [first, last) of weight [depth, columns]: panel column j is column j of the weight.
template <class T>
void pack_columns(const T* weight, int64_t columns, int64_t depth, Share share, T* panels) {
  constexpr int64_t width = panel_width<T>(), lanes = Simd<T>::lanes;
  for (int64_t p = share.first; p < share.last; ++p) {
    T* panel = panels + p * depth * width;
    const int64_t left = columns - p * width;
    for (int64_t k = 0; k < depth; ++k) {
      for (int v = 0; v < kPanelVectors; ++v) {
        store(panel + k * width + v * lanes,
              load(weight + k * columns + p * width + v * lanes, left - v * lanes));
      }
    }
  }
}

template <class T>
void pack(const T* weight, int64_t columns, int64_t depth, T* panels, const Worker& worker) {
  pack_rows(weight, columns, depth, Share(panel_count<T>(columns), worker.index, worker.size), panels);
}

// ---- the first factor: where the number of row r at depth k is

template <class T>
struct Strided {
  const T* base;
  int64_t stride;
  Strided from(int64_t row, int64_t k) const { return {base + row * stride + k, stride}; }

  template <int R>
  struct Rows {
    const T* base;
    int64_t stride;
    RECURRA_INLINE T at(int r, int64_t k) const { return base[r * stride + k]; }
  };
  template <int R>
  RECURRA_INLINE Rows<R> rows() const {
    return {base, stride};
  }
};

// Rows anywhere in memory.
template <class T>
struct Gathered {
  const T* const* row;
  int64_t first;
  Gathered from(int64_t n, int64_t k) const { return {row + n, first + k}; }

  template <int R>
  struct Rows {
    const T* row[R];
    RECURRA_INLINE T at(int r, int64_t k) const { return row[r][k]; }
  };
  template <int R>
  RECURRA_INLINE Rows<R> rows() const {
    Rows<R> result;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) result.row[r] = row[r] + first;
    return result;
  }
};

// R numbers of one depth side by side.
template <class T>
struct Interleaved {
  const T* base;
  template <int R>
  struct Rows {
    const T* base;
    RECURRA_INLINE T at(int r, int64_t k) const { return base[k * R + r]; }
  };
  template <int R>
  RECURRA_INLINE Rows<R> rows() const {
    return {base};
  }
};

// The numbers of one depth side by side, and those of the next one `stride` on: columns of plain rows.
template <class T>
struct Transposed {
  const T* base;
  int64_t stride;
  template <int R>
  struct Rows {
    const T* base;
    int64_t stride;
    RECURRA_INLINE T at(int r, int64_t k) const { return base[k * stride + r]; }
  };
  template <int R>
  RECURRA_INLINE Rows<R> rows() const {
    return {base, stride};
  }
};

// ---- the product

// Where results go and what they start with: row strides in numbers, `columns` left from here.
template <class T>
struct Target {
  T* c;
  int64_t c_stride;
  const T* start;  // c itself to add to it, or one row with stride 0; null starts with zeros
  int64_t start_stride;
  int64_t columns;

  Target at(int64_t row, int64_t column) const {
    return {c + row * c_stride + column, c_stride, start ? start + row * start_stride + column : nullptr,
            start_stride, columns - column};
  }
};

template <class T>
Target<T> add_to(T* c, int64_t stride, int64_t columns) {
  return {c, stride, c, stride, columns};
}

// The second factor: panels `stride` numbers apart. While one part of them is read, the one `ahead` numbers
// on is fetched into the second level of cache.
template <class T>
struct Second {
  const T* panels;
  int64_t stride, ahead;
  Second at(int64_t panel) const { return {panels + panel * stride, stride, ahead}; }
};

// c[R rows, P panels] = start + a[R rows, depth] * panels.
template <class T, int R, int P, bool Whole, class A>
RECURRA_INLINE void block(const A& a, const Second<T>& second, int64_t depth, const Target<T>& target) {
  constexpr int columns = P * kPanelVectors, lanes = Simd<T>::lanes;
  constexpr int64_t width = panel_width<T>();
  const auto rows = a.template rows<R>();
  Vector<T> sums[R][columns];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) {
      const T* from = target.start + r * target.start_stride + v * lanes;
      sums[r][v] = !target.start ? Vector<T>{} : Whole ? load(from) : load(from, target.columns - v * lanes);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector<T> weights[columns];
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) {
      const T* from =
          second.panels + (v / kPanelVectors) * second.stride + k * width + (v % kPanelVectors) * lanes;
      weights[v] = load(from);
      if (R > 3 && second.ahead) __builtin_prefetch(from + second.ahead, 0, 2);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector<T> value = broadcast<T>(rows.at(r, k));
#pragma GCC unroll 16
      for (int v = 0; v < columns; ++v) sums[r][v] = fma(value, weights[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) {
      T* to = target.c + r * target.c_stride + v * lanes;
      if constexpr (Whole) {
        store(to, sums[r][v]);
      } else {
        store(to, sums[r][v], target.columns - v * lanes);
      }
    }
  }
}

// As many panels at once as give enough independent sums to hide the latency of the multiply-add.
constexpr int panels_at_once(int64_t rows) {
  return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}

template <class T, int R, class A>
void blocks(const A& a, const Second<T>& second, int64_t depth, int64_t count, const Target<T>& target) {
  constexpr int64_t width = panel_width<T>();
  int64_t p = 0;
  const auto run = [&](auto at_once) __attribute__((always_inline)) {
    constexpr int P = decltype(at_once)::value;
    for (; p + P <= count && (p + P) * width <= target.columns; p += P)
      block<T, R, P, true>(a, second.at(p), depth, target.at(0, p * width));
  };
  if constexpr (R == 1) run(Constant<4>{});
  if constexpr (R <= 3) run(Constant<2>{});
  run(Constant<1>{});
  for (; p < count; ++p) block<T, R, 1, false>(a, second.at(p), depth, target.at(0, p * width));
}

// Calls blocks<T, R> for the R known only when running.
template <class T, int R = kBlockRows, class A>
RECURRA_INLINE void blocks_of(int64_t rows, const A& a, const Second<T>& second, int64_t depth, int64_t count,
                              const Target<T>& target) {
  if (rows == R) {
    blocks<T, R>(a, second, depth, count, target);
  } else if constexpr (R > 1) {
    blocks_of<T, R - 1>(rows, a, second, depth, count, target);
  }
}

// target[rows, count panels] = start + a[rows, depth] * panels. A group of panels is used for all rows while
// it is in cache, and a deep product goes through a part of the depth at a time for the same reason; the rows
// are cut into blocks of nearly equal size.
template <class T, class A>
void product(int64_t rows, const A& a, const T* panels, int64_t panel_stride, int64_t depth, int64_t count,
             const Target<T>& target) {
  if (rows == 0) return;
  constexpr int64_t width = panel_width<T>(), deep = 768;
  const int64_t cuts = (rows + kBlockRows - 1) / kBlockRows;
  const int64_t small = rows / cuts, larger = rows % cuts;
  const int64_t group = panels_at_once(small);
  const int64_t parts = depth > deep && cuts > 1 ? (depth + deep - 1) / deep : 1;
  for (int64_t p = 0; p < count; p += group) {
    const int64_t here = count - p < group ? count - p : group;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t k = depth * part / parts, end = depth * (part + 1) / parts;
      const Target<T> sums = part == 0 ? target : add_to(target.c, target.c_stride, target.columns);
      int64_t row = 0;
      for (int64_t i = 0; i < cuts; ++i) {
        const int64_t n = small + (i < larger);
        // the last rows find their part in cache, so memory is free to bring the next one
        const int64_t ahead = cuts > 1 && i == cuts - 1 ? (end - k) * width : 0;
        blocks_of<T>(n, a.from(row, k), Second<T>{panels + p * panel_stride + k * width, panel_stride, ahead},
                     end - k, here, sums.at(row, p * width));
        row += n;
      }
    }
  }
}

// ---- whole products

// See Kernels<T>::linear.
template <class T>
void linear(const T* x, int64_t rows, int64_t depth, const T* panels, const T* bias, int64_t columns, T* out,
            const Worker& worker) {
  constexpr int64_t width = panel_width<T>();
  const int64_t count = panel_count<T>(columns), stride = depth * width;
  const bool by_rows = rows >= 4 * kBlockRows * worker.size;
  const Share row = by_rows ? Share(rows, worker.index, worker.size, kBlockRows) : Share(rows, 0, 1);
  const Share panel = by_rows ? Share(count, 0, 1) : Share(count, worker.index, worker.size);
  const Target<T> target{out, columns, bias, 0, columns};
  // some rows at a time, so that they stay in cache while all panels go over them
  constexpr int64_t tile = 8 * kBlockRows;
  for (int64_t n = row.first; n < row.last; n += tile) {
    const int64_t here = row.last - n < tile ? row.last - n : tile;
    product(here, Strided<T>{x + n * depth, depth}, panels + panel.first * stride, stride, depth,
            panel.last - panel.first, target.at(n, panel.first * width));
  }
}

}  // namespace recurra::RECURRA_ISA
