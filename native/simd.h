// One vector type for each instruction set, and exp, sigmoid and tanh written once over it. Compiled once for
// each set, inside `namespace RECURRA_ISA`; knows nothing of cells or time.
//
// Every operation is correctly rounded and written out (the compiler may not fuse), so the results are the
// same bits in every instruction set. Errors over the whole range, float and double, NaN and infinities
// handled: exp < 1.25 ulp, sigmoid < 2.5 ulp, tanh < 3 ulp (tests/test_native.py measures them).
//
// Nothing here may use an inline function of the standard library: the linker would keep one copy for all
// instruction sets, perhaps the one an old processor cannot run.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(RECURRA_USE_AVX2) || defined(RECURRA_USE_AVX512)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define RECURRA_INLINE inline __attribute__((always_inline))

namespace recurra::RECURRA_ISA {

#if defined(RECURRA_USE_AVX512)
constexpr int kVectorBytes = 64;
constexpr int kBlockRows = 12;  // rows of the register block: 12 x 2 sums, of 32 registers
#elif defined(RECURRA_USE_AVX2)
constexpr int kVectorBytes = 32;
constexpr int kBlockRows = 6;  // 6 x 2 sums, of 16 registers
#else
#if !defined(RECURRA_PORTABLE_BYTES)
#define RECURRA_PORTABLE_BYTES 16
#endif
constexpr int kVectorBytes = RECURRA_PORTABLE_BYTES;
constexpr int kBlockRows = kVectorBytes > 16 ? 12 : 6;
#endif

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef int32_t FloatBits __attribute__((vector_size(kVectorBytes)));
typedef int64_t DoubleBits __attribute__((vector_size(kVectorBytes)));

// The vector type of a number type, and the constants of its exponential.
template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Vector = FloatVector;
  using Bits = FloatBits;
  static constexpr int lanes = kVectorBytes / 4;
  static constexpr int mantissa = 23;
  static constexpr float magic = 0x1.8p23f;  // adding it rounds to a whole number, left in the low bits
  static constexpr int bias = 127;
  static constexpr float lowest = -104.0f, highest = 89.0f;  // past these, exp is 0 or infinite
  static constexpr float saturation = 10.0f;                 // past this, tanh is 1
  static constexpr float log2e = 0x1.715476p0f;
  static constexpr float ln2_high = 0x1.63p-1f, ln2_low = -0x1.bd0106p-13f;
  static constexpr int terms = 5;
  // exp(r) = 1 + r + r^2 * (q0 + q1 r + ...), least largest relative error of exp(r) - 1 on |r| <= ln(2)/2.
  static constexpr float q[terms] = {0x1.fffffep-2f, 0x1.5554bp-3f, 0x1.55568p-5f, 0x1.122724p-7f,
                                     0x1.6bde4p-10f};
};

template <>
struct Simd<double> {
  using Vector = DoubleVector;
  using Bits = DoubleBits;
  static constexpr int lanes = kVectorBytes / 8;
  static constexpr int mantissa = 52;
  static constexpr double magic = 0x1.8p52;
  static constexpr int bias = 1023;
  static constexpr double lowest = -746.0, highest = 710.0;
  static constexpr double saturation = 20.0;
  static constexpr double log2e = 0x1.71547652b82fep0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr int terms = 10;
  static constexpr double q[terms] = {0x1.0000000000009p-1,  0x1.5555555555558p-3,  0x1.55555555503e4p-5,
                                      0x1.111111110f805p-7,  0x1.6c16c18601c57p-10, 0x1.a01a01b00b9ffp-13,
                                      0x1.a01993b3d807cp-16, 0x1.71ddf6b5645cfp-19, 0x1.28b41083a9b16p-22,
                                      0x1.af63283e87276p-26};
};

template <class T>
using Vector = typename Simd<T>::Vector;

// The number type of a vector type.
template <class V>
struct NumberOf;
template <>
struct NumberOf<FloatVector> {
  using Type = float;
};
template <>
struct NumberOf<DoubleVector> {
  using Type = double;
};
template <class V>
using Number = typename NumberOf<V>::Type;

template <class T>
RECURRA_INLINE Vector<T> broadcast(T value) {
  return value - Vector<T>{};  // minus zero keeps the sign of a zero
}

template <class T>
RECURRA_INLINE Vector<T> load(const T* from) {
  Vector<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
RECURRA_INLINE void store(T* to, Vector<T> value) {
  std::memcpy(to, &value, sizeof value);
}

// a * b + c, rounded once; and the first n < lanes numbers of a vector, the rest zero.
#if defined(RECURRA_USE_AVX512)
RECURRA_INLINE FloatVector fma(FloatVector a, FloatVector b, FloatVector c) {
  return (FloatVector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
RECURRA_INLINE DoubleVector fma(DoubleVector a, DoubleVector b, DoubleVector c) {
  return (DoubleVector)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
RECURRA_INLINE FloatVector load_some(const float* from, int64_t n) {
  return (FloatVector)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
}
RECURRA_INLINE DoubleVector load_some(const double* from, int64_t n) {
  return (DoubleVector)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), from);
}
RECURRA_INLINE void store_some(float* to, FloatVector value, int64_t n) {
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), (__m512)value);
}
RECURRA_INLINE void store_some(double* to, DoubleVector value, int64_t n) {
  _mm512_mask_storeu_pd(to, (__mmask8)((1u << n) - 1), (__m512d)value);
}
#elif defined(RECURRA_USE_AVX2)
RECURRA_INLINE FloatVector fma(FloatVector a, FloatVector b, FloatVector c) {
  return (FloatVector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
RECURRA_INLINE DoubleVector fma(DoubleVector a, DoubleVector b, DoubleVector c) {
  return (DoubleVector)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
RECURRA_INLINE __m256i first_floats(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
RECURRA_INLINE __m256i first_doubles(int64_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
RECURRA_INLINE FloatVector load_some(const float* from, int64_t n) {
  return (FloatVector)_mm256_maskload_ps(from, first_floats(n));
}
RECURRA_INLINE DoubleVector load_some(const double* from, int64_t n) {
  return (DoubleVector)_mm256_maskload_pd(from, first_doubles(n));
}
RECURRA_INLINE void store_some(float* to, FloatVector value, int64_t n) {
  _mm256_maskstore_ps(to, first_floats(n), (__m256)value);
}
RECURRA_INLINE void store_some(double* to, DoubleVector value, int64_t n) {
  _mm256_maskstore_pd(to, first_doubles(n), (__m256d)value);
}
#else
RECURRA_INLINE float fma_one(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
RECURRA_INLINE double fma_one(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}

template <class V>
RECURRA_INLINE V fma_lanes(V a, V b, V c) {
  V result{};
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) result[i] = fma_one(a[i], b[i], c[i]);
  return result;
}
#if defined(__aarch64__) && RECURRA_PORTABLE_BYTES == 16
RECURRA_INLINE FloatVector fma(FloatVector a, FloatVector b, FloatVector c) {
  return (FloatVector)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
RECURRA_INLINE DoubleVector fma(DoubleVector a, DoubleVector b, DoubleVector c) {
  return (DoubleVector)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
RECURRA_INLINE FloatVector fma(FloatVector a, FloatVector b, FloatVector c) {
  return fma_lanes(a, b, c);
}
RECURRA_INLINE DoubleVector fma(DoubleVector a, DoubleVector b, DoubleVector c) {
  return fma_lanes(a, b, c);
}
#endif
template <class T>
RECURRA_INLINE Vector<T> load_some(const T* from, int64_t n) {
  Vector<T> value{};
  std::memcpy(&value, from, static_cast<size_t>(n) * sizeof(T));
  return value;
}
template <class T>
RECURRA_INLINE void store_some(T* to, Vector<T> value, int64_t n) {
  std::memcpy(to, &value, static_cast<size_t>(n) * sizeof(T));
}
#endif

// A vector, or its first n numbers where fewer are left (none where n is not above zero).
template <class T>
RECURRA_INLINE Vector<T> load(const T* from, int64_t n) {
  if (__builtin_expect(n >= Simd<T>::lanes, 1)) return load(from);
  return n > 0 ? load_some(from, n) : Vector<T>{};
}

template <class T>
RECURRA_INLINE void store(T* to, Vector<T> value, int64_t n) {
  if (__builtin_expect(n >= Simd<T>::lanes, 1)) {
    store(to, value);
  } else if (n > 0) {
    store_some(to, value, n);
  }
}

// A number known when compiling, as a value. (Nothing of the standard library may be used here.)
template <int N>
struct Constant {
  static constexpr int value = N;
};

template <class T>
RECURRA_INLINE Vector<T> absolute(Vector<T> x) {
  using Bits = typename Simd<T>::Bits;
  return (Vector<T>)((Bits)x & ~(Bits)broadcast<T>(T(-0.0)));
}

// `magnitude` (not negative) with the sign of x.
template <class T>
RECURRA_INLINE Vector<T> with_sign(Vector<T> magnitude, Vector<T> x) {
  using Bits = typename Simd<T>::Bits;
  return (Vector<T>)((Bits)magnitude | ((Bits)x & (Bits)broadcast<T>(T(-0.0))));
}

// 2^n for a whole n within the normal exponents.
template <class T>
RECURRA_INLINE Vector<T> power_of_two(Vector<T> n) {
  using S = Simd<T>;
  return (Vector<T>)((typename S::Bits)(n + broadcast<T>(S::magic + S::bias)) << S::mantissa);
}

// The greater and the lesser of a bound and x; a NaN in x stays.
#if defined(RECURRA_USE_AVX512)
RECURRA_INLINE FloatVector at_least(FloatVector bound, FloatVector x) {
  return (FloatVector)_mm512_max_ps((__m512)bound, (__m512)x);
}
RECURRA_INLINE DoubleVector at_least(DoubleVector bound, DoubleVector x) {
  return (DoubleVector)_mm512_max_pd((__m512d)bound, (__m512d)x);
}
RECURRA_INLINE FloatVector at_most(FloatVector bound, FloatVector x) {
  return (FloatVector)_mm512_min_ps((__m512)bound, (__m512)x);
}
RECURRA_INLINE DoubleVector at_most(DoubleVector bound, DoubleVector x) {
  return (DoubleVector)_mm512_min_pd((__m512d)bound, (__m512d)x);
}
#elif defined(RECURRA_USE_AVX2)
RECURRA_INLINE FloatVector at_least(FloatVector bound, FloatVector x) {
  return (FloatVector)_mm256_max_ps((__m256)bound, (__m256)x);
}
RECURRA_INLINE DoubleVector at_least(DoubleVector bound, DoubleVector x) {
  return (DoubleVector)_mm256_max_pd((__m256d)bound, (__m256d)x);
}
RECURRA_INLINE FloatVector at_most(FloatVector bound, FloatVector x) {
  return (FloatVector)_mm256_min_ps((__m256)bound, (__m256)x);
}
RECURRA_INLINE DoubleVector at_most(DoubleVector bound, DoubleVector x) {
  return (DoubleVector)_mm256_min_pd((__m256d)bound, (__m256d)x);
}
#else
template <class V>
RECURRA_INLINE V at_least(V bound, V x) {
  return bound > x ? bound : x;
}
template <class V>
RECURRA_INLINE V at_most(V bound, V x) {
  return bound < x ? bound : x;
}
#endif

// exp(x) = 2^n * (1 + p), with p accurate near 0.
template <class T>
struct SplitExp {
  Vector<T> n, p;
};

template <class T>
RECURRA_INLINE SplitExp<T> split_exp(Vector<T> x) {
  using S = Simd<T>;
  const Vector<T> magic = broadcast<T>(S::magic);
  const Vector<T> n = fma(x, broadcast<T>(S::log2e), magic) - magic;
  const Vector<T> r = fma(n, broadcast<T>(-S::ln2_low), fma(n, broadcast<T>(-S::ln2_high), x));
  Vector<T> q = broadcast<T>(S::q[S::terms - 1]);
#pragma GCC unroll 16
  for (int i = S::terms - 2; i >= 0; --i) q = fma(q, r, broadcast<T>(S::q[i]));
  return {n, fma(r * r, q, r)};
}

// value * 2^n, where n may reach past the normal exponents at both ends: rounded once.
#if defined(RECURRA_USE_AVX512)
RECURRA_INLINE FloatVector scale(FloatVector value, FloatVector n) {
  return (FloatVector)_mm512_maskz_scalef_ps((__mmask16)-1, (__m512)value, (__m512)n);
}
RECURRA_INLINE DoubleVector scale(DoubleVector value, DoubleVector n) {
  return (DoubleVector)_mm512_maskz_scalef_pd((__mmask8)-1, (__m512d)value, (__m512d)n);
}
#else
template <class V>
RECURRA_INLINE V scale(V value, V n) {
  using T = Number<V>;
  const V magic = broadcast<T>(Simd<T>::magic);
  const V half = fma(n, broadcast<T>(T(0.5)), magic) - magic;  // in two factors
  return value * power_of_two<T>(half) * power_of_two<T>(n - half);
}
#endif

template <class T>
RECURRA_INLINE Vector<T> exp(Vector<T> x) {
  using S = Simd<T>;
  x = at_most(broadcast<T>(S::highest), at_least(broadcast<T>(S::lowest), x));
  const SplitExp<T> e = split_exp<T>(x);
  return scale(T(1) + e.p, e.n);
}

template <class T>
RECURRA_INLINE Vector<T> sigmoid(Vector<T> x) {
  using S = Simd<T>;
  const Vector<T> one = broadcast<T>(T(1));
  const SplitExp<T> split = split_exp<T>(at_least(broadcast<T>(S::lowest), -absolute<T>(x)));
  const Vector<T> e = scale(T(1) + split.p, split.n);  // exp(-|x|)
  return (x >= Vector<T>{} ? one : e) / (one + e);
}

template <class T>
RECURRA_INLINE Vector<T> tanh(Vector<T> x) {
  using S = Simd<T>;
  const Vector<T> one = broadcast<T>(T(1));
  const Vector<T> size = at_most(broadcast<T>(S::saturation), absolute<T>(x));
  const SplitExp<T> e = split_exp<T>(size + size);
  const Vector<T> scale = power_of_two<T>(e.n);
  const Vector<T> m = fma(scale, e.p, scale - one);  // exp(2|x|) - 1
  return with_sign<T>(m / (m + T(2)), x);
}

}  // namespace recurra::RECURRA_ISA
