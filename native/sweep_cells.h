// The arithmetic of the cells whose units are alone, at one step of one row, a vector of units at a time: one
// struct a cell. Compiled once for each instruction set; knows nothing of time, lengths or resets.
//
// A cell is: `gates` blocks of sums, `leaves` of its state, the first `emits` of which are its output, `own`
// numbers of a unit that stay the same at all steps, and its functions. `prepare` makes the own numbers of a
// unit from its parameters; `finish` turns gradients of them, once all steps are in, into those of the
// parameters.
//
// A linear cell's step is linear in the state, with factors (`terms` of them) that its sums give: the parts
// that `Parts` makes of the sums, of which `terms_of` hands out those that the step needs. `forward` replaces
// the state. `backward` is given the state before the step; `grad` is the gradient of the state after the
// step on entry and of the one before on return, `by` the gradients of the terms. These add up over the steps
// whose sums are the same; `derive` makes of them, once for all, the gradients of the sums. Both add to
// `own_grads` what is the own numbers'.
//
// A recurrent cell's sums are never the same: its `forward` and `backward` go from the sums and back to them.
#pragma once

#include "simd.h"

namespace recurra::RECURRA_ISA {

// Correctly rounded in every instruction set.
#if defined(RECURRA_USE_AVX512)
RECURRA_INLINE FloatVector square_root(FloatVector x) {
  return (FloatVector)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)x);
}
RECURRA_INLINE DoubleVector square_root(DoubleVector x) {
  return (DoubleVector)_mm512_maskz_sqrt_pd((__mmask8)-1, (__m512d)x);
}
#elif defined(RECURRA_USE_AVX2)
RECURRA_INLINE FloatVector square_root(FloatVector x) {
  return (FloatVector)_mm256_sqrt_ps((__m256)x);
}
RECURRA_INLINE DoubleVector square_root(DoubleVector x) {
  return (DoubleVector)_mm256_sqrt_pd((__m256d)x);
}
#else
template <class V>
RECURRA_INLINE V square_root(V x) {
  V result{};
  for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i)
    result[i] = static_cast<Number<V> >(__builtin_sqrt(static_cast<double>(x[i])));
  return result;
}
#endif

// z = sigmoid(s0), S' = (1 - z) S + z s1 (Feng et al. 2024). Terms: z, s1.
template <class T>
struct MinGru {
  static constexpr int gates = 2, leaves = 1, emits = 1, own = 0, terms = 2;
  static constexpr bool recurrent = false;

  struct Parts {
    Vector<T> z, n;
    RECURRA_INLINE Parts(const Vector<T>* s, const Vector<T>*) : z(sigmoid<T>(s[0])), n(s[1]) {}
  };
  static RECURRA_INLINE void terms_of(const Parts& parts, Vector<T>* terms) {
    terms[0] = parts.z, terms[1] = parts.n;
  }

  static RECURRA_INLINE void forward(const Vector<T>* terms, Vector<T>* state, const Vector<T>*) {
    state[0] = fma(terms[0], terms[1] - state[0], state[0]);
  }

  static RECURRA_INLINE void backward(const Vector<T>* terms, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* by, const Vector<T>*, Vector<T>*) {
    const Vector<T> arriving = grad[0];
    by[0] = arriving * (terms[1] - before[0]);
    by[1] = arriving * terms[0];
    grad[0] = arriving - by[1];
  }

  static RECURRA_INLINE void derive(const Parts& parts, const Vector<T>* by, Vector<T>* sums,
                                    const Vector<T>*, Vector<T>*) {
    sums[0] = by[0] * (parts.z * (T(1) - parts.z));
    sums[1] = by[1];
  }
};

// f = sigmoid(s0), i = sigmoid(s1), S' = f/(f+i) S + i/(f+i) s2 (Feng et al. 2024). With a = exp(-s0) and
// b = exp(-s1) the first share is (1 + b) / (2 + a + b); sums below -80 count as -80, so that none overflows.
// Terms: that share, s2.
template <class T>
struct MinLstm {
  static constexpr int gates = 3, leaves = 1, emits = 1, own = 0, terms = 2;
  static constexpr bool recurrent = false;

  struct Parts {
    Vector<T> a, b, keep, n, s0, s1;
    RECURRA_INLINE Parts(const Vector<T>* s, const Vector<T>*) : n(s[2]), s0(s[0]), s1(s[1]) {
      const Vector<T> lowest = broadcast<T>(T(-80));
      a = exp<T>(-at_least(lowest, s0));
      b = exp<T>(-at_least(lowest, s1));
      keep = (T(1) + b) / (T(2) + a + b);
    }
  };
  static RECURRA_INLINE void terms_of(const Parts& parts, Vector<T>* terms) {
    terms[0] = parts.keep, terms[1] = parts.n;
  }

  static RECURRA_INLINE void forward(const Vector<T>* terms, Vector<T>* state, const Vector<T>*) {
    state[0] = fma(terms[0], state[0] - terms[1], terms[1]);
  }

  static RECURRA_INLINE void backward(const Vector<T>* terms, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* by, const Vector<T>*, Vector<T>*) {
    const Vector<T> arriving = grad[0];
    by[0] = arriving * (before[0] - terms[1]);
    by[1] = arriving * (T(1) - terms[0]);
    grad[0] = arriving * terms[0];
  }

  static RECURRA_INLINE void derive(const Parts& parts, const Vector<T>* by, Vector<T>* sums,
                                    const Vector<T>*, Vector<T>*) {
    const Vector<T> zero{}, lowest = broadcast<T>(T(-80));
    const Vector<T> ratio = by[0] * (parts.keep * (T(1) - parts.keep));  // by log(f/i)
    sums[0] = parts.s0 > lowest ? ratio * (parts.a / (T(1) + parts.a)) : zero;
    sums[1] = parts.s1 > lowest ? -ratio * (parts.b / (T(1) + parts.b)) : zero;
    sums[2] = by[1];
  }
};

// What the C library gives, number by number: for what is done once a call.
#define RECURRA_LIBRARY(name)                 \
  inline float of_library_##name(float x) {   \
    return __builtin_##name##f(x);            \
  }                                           \
  inline double of_library_##name(double x) { \
    return __builtin_##name(x);               \
  }
RECURRA_LIBRARY(exp)
RECURRA_LIBRARY(log1p)
RECURRA_LIBRARY(sin)
RECURRA_LIBRARY(cos)
#undef RECURRA_LIBRARY

// v = s0, r = sigmoid(s1), i = sigmoid(s2), log a = d r, S' = a S + sqrt(1 - a^2) i v (De et al. 2024, where
// d = -8 softplus(parameter)). What is below the root counts as 1e-12 at least. Terms: a, and what is added.
template <class T>
struct RgLru {
  static constexpr int gates = 3, leaves = 1, emits = 1, own = 1, terms = 2;
  static constexpr bool recurrent = false;
  static constexpr double kPower = 8.0;

  static void prepare(const T* parameter, int64_t, T* d, int64_t) {
    const T x = *parameter, size = x < T(0) ? -x : x;
    *d = T(-kPower) * ((x > T(0) ? x : T(0)) + of_library_log1p(of_library_exp(-size)));
  }
  static void finish(const T* parameter, int64_t, const T*, T* grad, int64_t) {
    const T x = *parameter, e = of_library_exp(x < T(0) ? x : -x);  // sigmoid
    *grad *= T(-kPower) * ((x < T(0) ? e : T(1)) / (T(1) + e));
  }

  struct Parts {
    Vector<T> v, r, i, a, below, root;
    RECURRA_INLINE Parts(const Vector<T>* s, const Vector<T>* own)
        : v(s[0]), r(sigmoid<T>(s[1])), i(sigmoid<T>(s[2])) {
      const SplitExp<T> e = split_exp<T>(at_least(broadcast<T>(Simd<T>::lowest), own[0] * r));
      const Vector<T> one = broadcast<T>(T(1)), scaled = scale(one, e.n), part = scaled * e.p;
      a = scaled + part;
      below = ((one - scaled) - part) * (one + a);  // 1 - a^2, its first factor exact near zero too
      root = square_root(at_least(broadcast<T>(T(1e-12)), below));
    }
  };
  static RECURRA_INLINE void terms_of(const Parts& parts, Vector<T>* terms) {
    terms[0] = parts.a, terms[1] = parts.root * (parts.i * parts.v);
  }

  static RECURRA_INLINE void forward(const Vector<T>* terms, Vector<T>* state, const Vector<T>*) {
    state[0] = fma(terms[0], state[0], terms[1]);
  }

  static RECURRA_INLINE void backward(const Vector<T>* terms, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* by, const Vector<T>*, Vector<T>*) {
    by[0] = grad[0] * before[0];
    by[1] = grad[0];
    grad[0] = grad[0] * terms[0];
  }

  static RECURRA_INLINE void derive(const Parts& parts, const Vector<T>* by, Vector<T>* sums,
                                    const Vector<T>* own, Vector<T>* own_grads) {
    const Vector<T> r = parts.r, i = parts.i;
    const Vector<T> by_root = by[1] * (i * parts.v) * (parts.a * parts.a) / parts.root;
    Vector<T> by_log = by[0] * parts.a;
    by_log = parts.below > broadcast<T>(T(1e-12)) ? by_log - by_root : by_log;
    own_grads[0] = fma(by_log, r, own_grads[0]);
    const Vector<T> through = by[1] * parts.root;
    sums[0] = through * i;
    sums[1] = by_log * own[0] * (r * (T(1) - r));
    sums[2] = through * parts.v * (i * (T(1) - i));
  }
};

// A complex state, S' = l S + g (s0 + i s1), l = exp(-exp(nu) + i exp(theta)), g = exp(gamma) (Orvieto et al.
// 2023). Parameters: nu, theta, gamma. Own numbers: the two parts of l, and g. Terms: g s0, g s1.
template <class T>
struct Lru {
  static constexpr int gates = 2, leaves = 2, emits = 2, own = 3, terms = 2;
  static constexpr bool recurrent = false;

  // (parameters, and gradients of them, are `units` apart; numbers, and gradients of them, `stride`)
  static void prepare(const T* parameters, int64_t units, T* numbers, int64_t stride) {
    const T size = of_library_exp(-of_library_exp(parameters[0]));
    const T angle = of_library_exp(parameters[units]);
    numbers[0] = size * of_library_cos(angle);
    numbers[stride] = size * of_library_sin(angle);
    numbers[2 * stride] = of_library_exp(parameters[2 * units]);
  }
  static void finish(const T* parameters, int64_t units, const T* numbers, T* grads, int64_t stride) {
    const T re = numbers[0], im = numbers[stride], by_re = grads[0], by_im = grads[stride];
    grads[0] = -of_library_exp(parameters[0]) * (by_re * re + by_im * im);
    grads[stride] = of_library_exp(parameters[units]) * (by_im * re - by_re * im);
    grads[2 * stride] *= numbers[2 * stride];
  }

  struct Parts {
    Vector<T> s0, s1, g;
    RECURRA_INLINE Parts(const Vector<T>* s, const Vector<T>* own) : s0(s[0]), s1(s[1]), g(own[2]) {}
  };
  static RECURRA_INLINE void terms_of(const Parts& parts, Vector<T>* terms) {
    terms[0] = parts.g * parts.s0, terms[1] = parts.g * parts.s1;
  }

  static RECURRA_INLINE void forward(const Vector<T>* terms, Vector<T>* state, const Vector<T>* own) {
    const Vector<T> re = state[0], im = state[1];
    state[0] = fma(own[0], re, fma(-own[1], im, terms[0]));
    state[1] = fma(own[0], im, fma(own[1], re, terms[1]));
  }

  static RECURRA_INLINE void backward(const Vector<T>*, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* by, const Vector<T>* own, Vector<T>* own_grads) {
    const Vector<T> re = grad[0], im = grad[1];
    own_grads[0] = fma(re, before[0], fma(im, before[1], own_grads[0]));
    own_grads[1] = fma(im, before[0], fma(-re, before[1], own_grads[1]));
    by[0] = re, by[1] = im;
    grad[0] = fma(own[0], re, own[1] * im);
    grad[1] = fma(own[0], im, -own[1] * re);
  }

  static RECURRA_INLINE void derive(const Parts& parts, const Vector<T>* by, Vector<T>* sums,
                                    const Vector<T>*, Vector<T>* own_grads) {
    own_grads[2] = fma(by[0], parts.s0, fma(by[1], parts.s1, own_grads[2]));
    sums[0] = by[0] * parts.g;
    sums[1] = by[1] * parts.g;
  }
};

// z = tanh(s0), gates exp(s1) and sigmoid(s2) that share one scale exp(m), o = sigmoid(s3) (Beck et al.
// 2024). State: S, c, n, m; S' = o c'/n'. The scale is log sigmoid(s2) + m, within 2e-4, or s1 where that is
// greater; it cancels in every output, so no gradient goes through it. Where n is zero nothing was seen yet.
template <class T>
struct Slstm {
  static constexpr int gates = 4, leaves = 4, emits = 1, own = 0, terms = 0;
  static constexpr bool recurrent = true;

  struct Gates {
    Vector<T> m, in, keep;
    RECURRA_INLINE Gates(const Vector<T>* s, const Vector<T>* state) {
      const Vector<T> zero{}, forget = s[2], low = forget < zero ? forget : zero;
      const Vector<T> e = exp<T>(-absolute<T>(forget)), squared = e * e;
      // log(1 + e) as a fraction of polynomials
      const Vector<T> log = e * (T(30) + T(21) * e + squared) / (T(30) + T(36) * e + T(9) * squared);
      const Vector<T> kept = low - log + state[3];
      const Vector<T> fresh = s[1];
      m = state[2] == zero ? fresh : kept > fresh ? kept : fresh;
      in = exp<T>(fresh - m);
      const Vector<T> share = exp<T>(low + state[3] - m) / (T(1) + e);  // sigmoid(|s2|) = 1 / (1 + e)
      keep = state[2] == zero ? zero : share;
    }
  };

  static RECURRA_INLINE void forward(const Vector<T>* s, Vector<T>* state, const Vector<T>*) {
    const Gates gates(s, state);
    state[1] = fma(gates.keep, state[1], gates.in * tanh<T>(s[0]));
    state[2] = fma(gates.keep, state[2], gates.in);
    state[3] = gates.m;
    state[0] = sigmoid<T>(s[3]) * (state[1] / state[2]);
  }

  static RECURRA_INLINE void backward(const Vector<T>* s, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* sums) {
    const Gates gates(s, before);
    const Vector<T> z = tanh<T>(s[0]), o = sigmoid<T>(s[3]);
    const Vector<T> c = fma(gates.keep, before[1], gates.in * z), n = fma(gates.keep, before[2], gates.in);
    const Vector<T> ratio = c / n, by_ratio = grad[0] * o / n;
    const Vector<T> by_c = grad[1] + by_ratio, by_n = grad[2] - by_ratio * ratio;
    sums[0] = by_c * gates.in * (T(1) - z * z);
    sums[1] = fma(by_c, z, by_n) * gates.in;
    sums[2] = fma(by_c, before[1], by_n * before[2]) * gates.keep * sigmoid<T>(-s[2]);
    sums[3] = grad[0] * ratio * (o * (T(1) - o));
    grad[0] = grad[3] = Vector<T>{};
    grad[1] = by_c * gates.keep;
    grad[2] = by_n * gates.keep;
  }
};

}  // namespace recurra::RECURRA_ISA
