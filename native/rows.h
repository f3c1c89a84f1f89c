// The instructions of a program over the rows of a block. Compiled once for each instruction set; every
// number comes out the same bits in all of them, wherever in its row it stands.
#pragma once

#include <cstdint>

#include "program.h"
#include "simd.h"

namespace recurra::RECURRA_ISA {

// Some rows of numbers, `stride` apart (0: one row for all). Width 1 spreads over any width.
template <class T>
struct RowBlock {
  T* base;
  int64_t stride, width;
  RECURRA_INLINE T* row(int64_t i) const { return base + i * stride; }
  RECURRA_INLINE RowBlock from(int64_t i) const { return {row(i), stride, width}; }
};

// Reads a row as vectors, or one number again and again.
template <class T, bool Spread>
struct Reader {
  const T* from;
  Vector<T> value;
  RECURRA_INLINE explicit Reader(const T* row) : from(row), value(broadcast<T>(*row)) {}
  RECURRA_INLINE Vector<T> at(int64_t i, int64_t left) const { return Spread ? value : load(from + i, left); }
};

template <class T, bool A, bool B, bool C, class Function>
RECURRA_INLINE void over_rows(const RowBlock<T>& a, const RowBlock<T>& b, const RowBlock<T>& c,
                              const RowBlock<T>& to, int64_t rows, Function function) {
  int64_t width = to.width;
  const auto dense = [&](const RowBlock<T>& one, bool spread) { return !spread && one.stride == width; };
  // side by side in memory: one long row
  if (to.stride == width && dense(a, A) && dense(b, B) && dense(c, C)) width *= rows, rows = 1;
  for (int64_t r = 0; r < rows; ++r) {
    const Reader<T, A> from_a(a.row(r));
    const Reader<T, B> from_b(b.row(r));
    const Reader<T, C> from_c(c.row(r));
    T* into = to.row(r);
    int64_t i = 0;
    for (; i + Simd<T>::lanes <= width; i += Simd<T>::lanes) {
      constexpr int64_t all = Simd<T>::lanes;
      store(into + i, function(from_a.at(i, all), from_b.at(i, all), from_c.at(i, all)));
    }
    const int64_t left = width - i;
    if (left > 0) store(into + i, function(from_a.at(i, left), from_b.at(i, left), from_c.at(i, left)), left);
  }
}

template <class T, class Function>
void unary(const RowBlock<T>& a, const RowBlock<T>& to, int64_t rows, Function function) {
  const auto first = [&](Vector<T> x, Vector<T>, Vector<T>)
                         __attribute__((always_inline)) { return function(x); };
  if (a.width == to.width) {
    over_rows<T, false, false, false>(a, a, a, to, rows, first);
  } else {
    over_rows<T, true, true, true>(a, a, a, to, rows, first);
  }
}

template <class T, class Function>
void binary(const RowBlock<T>& a, const RowBlock<T>& b, const RowBlock<T>& to, int64_t rows,
            Function function) {
  const auto both = [&](Vector<T> x, Vector<T> y, Vector<T>)
                        __attribute__((always_inline)) { return function(x, y); };
  const bool wide_a = a.width == to.width, wide_b = b.width == to.width;
  if (wide_a && wide_b) {
    over_rows<T, false, false, false>(a, b, a, to, rows, both);
  } else if (wide_a) {
    over_rows<T, false, true, false>(a, b, a, to, rows, both);
  } else if (wide_b) {
    over_rows<T, true, false, false>(a, b, b, to, rows, both);
  } else {
    over_rows<T, true, true, true>(a, b, a, to, rows, both);
  }
}

template <class T>
void choose(const RowBlock<T>& condition, const RowBlock<T>& a, const RowBlock<T>& b, const RowBlock<T>& to,
            int64_t rows) {
  const auto select = [](Vector<T> x, Vector<T> y, Vector<T> z)
                          __attribute__((always_inline)) { return x != Vector<T>{} ? y : z; };
  const bool narrow_a = a.width != to.width, narrow_b = b.width != to.width;
  if (condition.width != to.width) {
    if (narrow_a && narrow_b) return over_rows<T, true, true, true>(condition, a, b, to, rows, select);
    if (narrow_a) return over_rows<T, true, true, false>(condition, a, b, to, rows, select);
    if (narrow_b) return over_rows<T, true, false, true>(condition, a, b, to, rows, select);
    return over_rows<T, true, false, false>(condition, a, b, to, rows, select);
  }
  if (narrow_a && narrow_b) return over_rows<T, false, true, true>(condition, a, b, to, rows, select);
  if (narrow_a) return over_rows<T, false, true, false>(condition, a, b, to, rows, select);
  if (narrow_b) return over_rows<T, false, false, true>(condition, a, b, to, rows, select);
  over_rows<T, false, false, false>(condition, a, b, to, rows, select);
}

// Functions that no vector version is written for: the C library's, number by number.
template <class T, class Function>
void one_by_one(const RowBlock<T>& a, const RowBlock<T>& to, int64_t rows, Function function) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = a.row(r);
    T* into = to.row(r);
    for (int64_t i = 0; i < to.width; ++i) into[i] = function(from[a.width == to.width ? i : 0]);
  }
}

#define RECURRA_LIBRARY(name)                      \
  RECURRA_INLINE float library_##name(float x) {   \
    return __builtin_##name##f(x);                 \
  }                                                \
  RECURRA_INLINE double library_##name(double x) { \
    return __builtin_##name(x);                    \
  }
RECURRA_LIBRARY(expm1)
RECURRA_LIBRARY(log)
RECURRA_LIBRARY(log1p)
RECURRA_LIBRARY(sqrt)
RECURRA_LIBRARY(sin)
RECURRA_LIBRARY(cos)
RECURRA_LIBRARY(erf)
#undef RECURRA_LIBRARY

template <class T>
RECURRA_INLINE Vector<T> root(Vector<T> x) {
  Vector<T> result;
  for (int i = 0; i < Simd<T>::lanes; ++i) result[i] = library_sqrt(x[i]);
  return result;
}

// Sums and maxima over a row, in 16 chains that are joined in one fixed order whatever the vectors' length.
constexpr int kChains = 16;

template <class T, class Join>
RECURRA_INLINE T reduce(const T* from, int64_t width, T start, Join join) {
  constexpr int vectors = kChains / Simd<T>::lanes > 0 ? kChains / Simd<T>::lanes : 1;
  constexpr int64_t chunk = vectors * Simd<T>::lanes;
  T chains[kChains > chunk ? kChains : chunk];
  Vector<T> sums[vectors];
  for (int v = 0; v < vectors; ++v) sums[v] = broadcast<T>(start);
  int64_t i = 0;
  for (; i + chunk <= width; i += chunk)
    for (int v = 0; v < vectors; ++v) sums[v] = join(sums[v], load(from + i + v * Simd<T>::lanes));
  for (int v = 0; v < vectors; ++v) store(chains + v * Simd<T>::lanes, sums[v]);
  for (int64_t j = 0; i < width; ++i, ++j) chains[j] = join(chains[j], from[i]);
  for (int half = kChains / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) chains[j] = join(chains[j], chains[j + half]);
  return chains[0];
}

// The greater one, or NaN where one is NaN.
template <class V>
RECURRA_INLINE V greater(V a, V b) {
  return a > b ? a : b >= a ? b : a + b;
}

template <class T>
void copy(const RowBlock<T>& a, const RowBlock<T>& to, int64_t rows) {
  unary(a, to, rows, [](Vector<T> x) __attribute__((always_inline)) { return x; });
}

// One instruction that is no product.
template <class T>
void pointwise(Operation operation, const RowBlock<T>& a, const RowBlock<T>& b, const RowBlock<T>& c,
               const RowBlock<T>& to, int64_t rows) {
  using V = Vector<T>;
  const V one = broadcast<T>(T(1)), zero{};
#define RECURRA_UNARY(expression)                                                     \
  unary(a, to, rows, [=](V x) __attribute__((always_inline)) { return expression; }); \
  break
#define RECURRA_BINARY(expression)                                                             \
  binary(a, b, to, rows, [=](V x, V y) __attribute__((always_inline)) { return expression; }); \
  break
#define RECURRA_ONE_BY_ONE(name)                                  \
  one_by_one(a, to, rows, [](T x) { return library_##name(x); }); \
  break
  switch (operation) {
    case Operation::kNeg:
      RECURRA_UNARY(-x);
    case Operation::kAbs:
      RECURRA_UNARY(absolute<T>(x));
    case Operation::kSign:
      RECURRA_UNARY(x > zero ? one : x < zero ? -one : zero);
    case Operation::kExp:
      RECURRA_UNARY(exp<T>(x));
    case Operation::kSqrt:
      RECURRA_UNARY(root<T>(x));
    case Operation::kRsqrt:
      RECURRA_UNARY(one / root<T>(x));
    case Operation::kReciprocal:
      RECURRA_UNARY(one / x);
    case Operation::kSigmoid:
      RECURRA_UNARY(sigmoid<T>(x));
    case Operation::kTanh:
      RECURRA_UNARY(tanh<T>(x));
    case Operation::kCopy:
      copy(a, to, rows);
      break;
    case Operation::kExpm1:
      RECURRA_ONE_BY_ONE(expm1);
    case Operation::kLog:
      RECURRA_ONE_BY_ONE(log);
    case Operation::kLog1p:
      RECURRA_ONE_BY_ONE(log1p);
    case Operation::kSin:
      RECURRA_ONE_BY_ONE(sin);
    case Operation::kCos:
      RECURRA_ONE_BY_ONE(cos);
    case Operation::kErf:
      RECURRA_ONE_BY_ONE(erf);
    case Operation::kAdd:
      RECURRA_BINARY(x + y);
    case Operation::kSub:
      RECURRA_BINARY(x - y);
    case Operation::kMul:
      RECURRA_BINARY(x * y);
    case Operation::kDiv:
      RECURRA_BINARY(x / y);
    case Operation::kMaximum:
      RECURRA_BINARY(greater(x, y));
    case Operation::kMinimum:
      RECURRA_BINARY(-greater(-x, -y));
    case Operation::kGt:
      RECURRA_BINARY(x > y ? one : zero);
    case Operation::kGe:
      RECURRA_BINARY(x >= y ? one : zero);
    case Operation::kLt:
      RECURRA_BINARY(x < y ? one : zero);
    case Operation::kLe:
      RECURRA_BINARY(x <= y ? one : zero);
    case Operation::kEq:
      RECURRA_BINARY(x == y ? one : zero);
    case Operation::kNe:
      RECURRA_BINARY(x != y ? one : zero);
    case Operation::kWhere:
      choose(a, b, c, to, rows);
      break;
    case Operation::kRowSum:
      for (int64_t r = 0; r < rows; ++r)
        *to.row(r) = reduce(a.row(r), a.width, T(0),
                            [](auto x, auto y) __attribute__((always_inline)) { return x + y; });
      break;
    case Operation::kRowMax:
      for (int64_t r = 0; r < rows; ++r)
        *to.row(r) = reduce(a.row(r), a.width, -T(__builtin_inf()),
                            [](auto x, auto y) __attribute__((always_inline)) { return greater(x, y); });
      break;
    case Operation::kProduct:
      break;  // Scan::multiply
  }
#undef RECURRA_UNARY
#undef RECURRA_BINARY
#undef RECURRA_ONE_BY_ONE
}

}  // namespace recurra::RECURRA_ISA
