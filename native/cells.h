// The arithmetic of each cell at one step of one row, forward and backward, a vector of units at a time: one
// struct a cell. The products with the recurrent weight are done by then; knows nothing of time, lengths or
// resets.
//
// A cell is: `gates` products and blocks of x, `saved` numbers per unit kept for backward, `grads` gradients
// per unit that one step leaves, `early` gates whose values are needed before the other products start,
// whether it has a second state, and its two functions. In all of them j is the first unit, n the number of
// units left from there (a vector's worth or fewer).
#pragma once

#include "kernels.h"
#include "simd.h"

namespace recurra::RECURRA_ISA {

template <class T>
struct ForwardSite {
  int64_t units, padded;
  const T* sums;        // gate g at g * padded: x plus product; x alone for a gate whose product stands apart
  const T* apart;       // that product plus bias, from the first unit of this group on
  const T* state;       // S_{t-1}, padded
  const T* fed;         // S_{t-1} as the products see it: masked where there is a mask
  const T* mask;        // [P] or null
  const T* peepholes;   // [3, H] or null
  T* next;              // S_t, or what the projection reads; padded
  T* next_fed;          // S_t as the next products see it, or null where that is S_t itself
  T* early;             // what the late products of some gates read instead of `fed`, padded
  T* cell;              // the second state, padded; replaced in place
  T* output;            // [H] or null
  T* gates;             // [saved*H] or null
  T* cells;             // [H] or null
  int64_t apart_first;  // the unit that `apart` starts with

  RECURRA_INLINE Vector<T> sum(int gate, int64_t j) const { return load(sums + gate * padded + j); }
  RECURRA_INLINE Vector<T> product_apart(int64_t j) const { return load(apart + (j - apart_first)); }
  RECURRA_INLINE void save(int gate, int64_t j, Vector<T> value, int64_t n) const {
    if (gates) store(gates + gate * units + j, value, n);
  }
  RECURRA_INLINE void finish(int64_t j, Vector<T> value, int64_t n) const {
    store(next + j, value);
    if (next_fed) store(next_fed + j, value * load(mask + j, n));
    if (output) store(output + j, value, n);
  }
};

template <class T>
struct BackwardSite {
  int64_t units;
  const T* grad_output;    // [H] or null
  const T* grad_cell_out;  // [H] or null: the gradient that came in for c_t
  const T* output;         // [H]
  const T* gates;          // [saved*H]
  const T* cells;          // [H]: c_t
  const T* previous;       // [H]: S_{t-1}, zeros after a reset
  const T* previous_cell;  // [H]: c_{t-1}, zeros after a reset
  const T* mask;           // [H] or null
  const T* peepholes;      // [3, H] or null
  T* grads;                // [grads*H]: the gradients of x, then those of products that stand apart
  T* grad_state;           // dL/dS_t on entry; what goes to S_{t-1} beside the products on return. Padded
  T* grad_cell;            // dL/dc_t on entry, dL/dc_{t-1} on return. Padded
  T* grad_early;           // gradient of what `early` gave, padded
  T* fed_sum;              // what is added to before the mask is applied, padded

  RECURRA_INLINE Vector<T> gate(int g, int64_t j, int64_t n) const { return load(gates + g * units + j, n); }
  RECURRA_INLINE Vector<T> arriving(int64_t j, int64_t n) const {
    const Vector<T> through_state = load(grad_state + j);
    return grad_output ? through_state + load(grad_output + j, n) : through_state;
  }
  RECURRA_INLINE void give(int g, int64_t j, Vector<T> value, int64_t n) const {
    store(grads + g * units + j, value, n);
  }
};

template <class T, Activation kind>
struct Elman {
  static constexpr int gates = 1, saved = 1, grads = 1, early = 0;
  static constexpr bool second_state = false;
  static constexpr bool apart(int) { return false; }
  static constexpr bool reads_early(int) { return false; }
  // Where the gradient of a gate's product stands among the gradients.
  static constexpr int product_grad(int gate) { return gate; }

  static RECURRA_INLINE void forward(const ForwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> z = s.sum(0, j);
    s.save(0, j, z, n);
    Vector<T> value = z;
    if constexpr (kind == Activation::kTanh) value = tanh<T>(z);
    if constexpr (kind == Activation::kSigmoid) value = sigmoid<T>(z);
    if constexpr (kind == Activation::kRelu) value = z < Vector<T>{} ? Vector<T>{} : z;  // keeps a NaN
    s.finish(j, value, n);
  }

  static RECURRA_INLINE void backward(const BackwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> output = load(s.output + j, n);
    Vector<T> grad = s.arriving(j, n);
    if constexpr (kind == Activation::kTanh) grad = grad * (T(1) - output * output);
    if constexpr (kind == Activation::kSigmoid) grad = grad * (output * (T(1) - output));
    if constexpr (kind == Activation::kRelu) grad = output > Vector<T>{} ? grad : Vector<T>{};
    s.give(0, j, grad, n);
    store(s.grad_state + j, Vector<T>{});
  }
};

// r, z = sigmoid(...), q = W_n S + b_n, n = tanh(x_n + r*q), S' = (1-z)*n + z*S. Saved: r, z, n, q.
template <class T>
struct Gru {
  static constexpr int gates = 3, saved = 4, grads = 4, early = 0;
  static constexpr bool second_state = false;
  static constexpr bool apart(int gate) { return gate == 2; }
  static constexpr bool reads_early(int) { return false; }
  static constexpr int product_grad(int gate) { return gate == 2 ? 3 : gate; }

  static RECURRA_INLINE void forward(const ForwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> r = sigmoid<T>(s.sum(0, j)), z = sigmoid<T>(s.sum(1, j)), q = s.product_apart(j);
    const Vector<T> candidate = tanh<T>(fma(r, q, s.sum(2, j)));
    s.save(0, j, r, n);
    s.save(1, j, z, n);
    s.save(2, j, candidate, n);
    s.save(3, j, q, n);
    s.finish(j, fma(z, load(s.state + j) - candidate, candidate), n);
  }

  static RECURRA_INLINE void backward(const BackwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> r = s.gate(0, j, n), z = s.gate(1, j, n), candidate = s.gate(2, j, n),
                    q = s.gate(3, j, n);
    const Vector<T> grad = s.arriving(j, n);
    const Vector<T> grad_n = grad * (T(1) - z) * (T(1) - candidate * candidate);
    s.give(0, j, grad_n * q * (r * (T(1) - r)), n);
    s.give(1, j, grad * (load(s.previous + j, n) - candidate) * (z * (T(1) - z)), n);
    s.give(2, j, grad_n, n);
    s.give(3, j, grad_n * r, n);
    store(s.grad_state + j, grad * z);
  }
};

// As first published: the reset comes before the product, q = W_n (r*S) + b_n, n = tanh(x_n + q).
template <class T>
struct GruResetBefore {
  static constexpr int gates = 3, saved = 4, grads = 4, early = 1;
  static constexpr bool second_state = false;
  static constexpr bool apart(int gate) { return gate == 2; }
  static constexpr bool reads_early(int gate) { return gate == 2; }
  static constexpr int product_grad(int gate) { return gate == 2 ? 3 : gate; }

  static RECURRA_INLINE void forward_early(const ForwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> r = sigmoid<T>(s.sum(0, j));
    s.save(0, j, r, n);
    store(s.early + j, r * load(s.fed + j));
  }

  static RECURRA_INLINE void forward(const ForwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> z = sigmoid<T>(s.sum(1, j)), q = s.product_apart(j);
    const Vector<T> candidate = tanh<T>(s.sum(2, j) + q);
    s.save(1, j, z, n);
    s.save(2, j, candidate, n);
    s.save(3, j, q, n);
    s.finish(j, fma(z, load(s.state + j) - candidate, candidate), n);
  }

  static RECURRA_INLINE void backward(const BackwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> z = s.gate(1, j, n), candidate = s.gate(2, j, n);
    const Vector<T> grad = s.arriving(j, n);
    const Vector<T> grad_n = grad * (T(1) - z) * (T(1) - candidate * candidate);
    s.give(1, j, grad * (load(s.previous + j, n) - candidate) * (z * (T(1) - z)), n);
    s.give(2, j, grad_n, n);
    s.give(3, j, grad_n, n);
    store(s.grad_state + j, grad * z);
  }

  // After the product with the candidate's weight has given grad_early = dL/d(r*S).
  static RECURRA_INLINE void backward_early(const BackwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> r = s.gate(0, j, n), grad = load(s.grad_early + j);
    Vector<T> fed = load(s.previous + j, n);
    if (s.mask) fed = fed * load(s.mask + j, n);
    s.give(0, j, grad * fed * (r * (T(1) - r)), n);
    store(s.fed_sum + j, fma(grad, r, load(s.fed_sum + j)));
  }
};

// i, f, o = sigmoid(...), g = tanh(...), c' = f*c + i*g, S' = o * tanh(c'). Saved: i, f, g, o. Peepholes add
// c to the sums of i and f, and c' to that of o.
template <class T>
struct Lstm {
  static constexpr int gates = 4, saved = 4, grads = 4, early = 0;
  static constexpr bool second_state = true;
  static constexpr bool apart(int) { return false; }
  static constexpr bool reads_early(int) { return false; }
  static constexpr int product_grad(int gate) { return gate; }

  static RECURRA_INLINE Vector<T> peep(const T* peepholes, int which, int64_t units, int64_t j, int64_t n) {
    return load(peepholes + which * units + j, n);
  }

  static RECURRA_INLINE void forward(const ForwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> before = load(s.cell + j);
    Vector<T> i = s.sum(0, j), f = s.sum(1, j), o = s.sum(3, j);
    if (s.peepholes) {
      i = fma(peep(s.peepholes, 0, s.units, j, n), before, i);
      f = fma(peep(s.peepholes, 1, s.units, j, n), before, f);
    }
    const Vector<T> input = sigmoid<T>(i), forget = sigmoid<T>(f), candidate = tanh<T>(s.sum(2, j));
    const Vector<T> cell = fma(forget, before, input * candidate);
    if (s.peepholes) o = fma(peep(s.peepholes, 2, s.units, j, n), cell, o);
    const Vector<T> output = sigmoid<T>(o);
    s.save(0, j, input, n);
    s.save(1, j, forget, n);
    s.save(2, j, candidate, n);
    s.save(3, j, output, n);
    store(s.cell + j, cell);
    if (s.cells) store(s.cells + j, cell, n);
    s.finish(j, output * tanh<T>(cell), n);
  }

  static RECURRA_INLINE void backward(const BackwardSite<T>& s, int64_t j, int64_t n) {
    const Vector<T> input = s.gate(0, j, n), forget = s.gate(1, j, n), candidate = s.gate(2, j, n);
    const Vector<T> output = s.gate(3, j, n), squashed = tanh<T>(load(s.cells + j, n));
    const Vector<T> grad = s.arriving(j, n);
    const Vector<T> grad_output = grad * squashed * (output * (T(1) - output));
    Vector<T> grad_cell = fma(grad * output, T(1) - squashed * squashed, load(s.grad_cell + j));
    if (s.grad_cell_out) grad_cell = grad_cell + load(s.grad_cell_out + j, n);
    if (s.peepholes) grad_cell = fma(peep(s.peepholes, 2, s.units, j, n), grad_output, grad_cell);
    const Vector<T> grad_input = grad_cell * candidate * (input * (T(1) - input));
    const Vector<T> grad_forget = grad_cell * load(s.previous_cell + j, n) * (forget * (T(1) - forget));
    s.give(0, j, grad_input, n);
    s.give(1, j, grad_forget, n);
    s.give(2, j, grad_cell * input * (T(1) - candidate * candidate), n);
    s.give(3, j, grad_output, n);
    Vector<T> passed = grad_cell * forget;
    if (s.peepholes) {
      passed = fma(peep(s.peepholes, 0, s.units, j, n), grad_input, passed);
      passed = fma(peep(s.peepholes, 1, s.units, j, n), grad_forget, passed);
    }
    store(s.grad_cell + j, passed);
    store(s.grad_state + j, Vector<T>{});
  }
};

}  // namespace recurra::RECURRA_ISA
