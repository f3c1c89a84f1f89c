// The arithmetic of the cells whose units are alone, at one step of one row, a vector of units at a time: one
// struct a cell. Compiled once for each instruction set; knows nothing of time, lengths or resets.
//
// A cell is: `gates` blocks of sums, `leaves` of its state, and two functions. forward replaces the state;
// its first leaf is the output. backward is given the state before the step; `grad` is the gradient of the
// state after the step on entry and of the one before on return, `sums` the gradients of the sums.
#pragma once

#include "simd.h"

namespace recurra::RECURRA_ISA {

// z = sigmoid(s0), S' = (1 - z) S + z s1 (Feng et al. 2024).
template <class T>
struct MinGru {
  static constexpr int gates = 2, leaves = 1;

  static RECURRA_INLINE void forward(const Vector<T>* s, Vector<T>* state) {
    state[0] = fma(sigmoid<T>(s[0]), s[1] - state[0], state[0]);
  }

  static RECURRA_INLINE void backward(const Vector<T>* s, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* sums) {
    const Vector<T> z = sigmoid<T>(s[0]), arriving = grad[0];
    sums[0] = arriving * (s[1] - before[0]) * (z * (T(1) - z));
    sums[1] = arriving * z;
    grad[0] = arriving - sums[1];
  }
};

// f = sigmoid(s0), i = sigmoid(s1), S' = f/(f+i) S + i/(f+i) s2 (Feng et al. 2024). With a = exp(-s0) and
// b = exp(-s1) the first share is (1 + b) / (2 + a + b); sums below -80 count as -80, so that none overflows.
template <class T>
struct MinLstm {
  static constexpr int gates = 3, leaves = 1;

  struct Shares {
    Vector<T> a, b, keep;
    RECURRA_INLINE explicit Shares(const Vector<T>* s) {
      const Vector<T> lowest = broadcast<T>(T(-80));
      a = exp<T>(-at_least(lowest, s[0]));
      b = exp<T>(-at_least(lowest, s[1]));
      keep = (T(1) + b) / (T(2) + a + b);
    }
  };

  static RECURRA_INLINE void forward(const Vector<T>* s, Vector<T>* state) {
    state[0] = fma(Shares(s).keep, state[0] - s[2], s[2]);
  }

  static RECURRA_INLINE void backward(const Vector<T>* s, const Vector<T>* before, Vector<T>* grad,
                                      Vector<T>* sums) {
    const Shares shares(s);
    const Vector<T> arriving = grad[0], keep = shares.keep, zero{}, lowest = broadcast<T>(T(-80));
    const Vector<T> ratio = arriving * (before[0] - s[2]) * (keep * (T(1) - keep));  // by log(f/i)
    sums[0] = s[0] > lowest ? ratio * (shares.a / (T(1) + shares.a)) : zero;
    sums[1] = s[1] > lowest ? -ratio * (shares.b / (T(1) + shares.b)) : zero;
    sums[2] = arriving * (T(1) - keep);
    grad[0] = arriving * keep;
  }
};

}  // namespace recurra::RECURRA_ISA
