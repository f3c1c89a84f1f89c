// The mLSTM: a sweep whose state is a matrix for each head (Beck et al. 2024). Compiled once for each
// instruction set. Knows nothing of Python.
//
// Per head of W units, from sums q, k, v, o [W each] and two gates s_i and s_f:
//   C' = f C + i k v^T,  n' = f n + i k,  S' = sigmoid(o) * (C'^T q) / max(|n' q|, exp(-m'))
// with k over the root of W, f = sigmoid(s_f), i = exp(s_i), both times exp(-m') as for the sLSTM. Every sum
// runs down a column of C, so that no number depends on the vectors' width; backward, which needs sums along
// its rows too, holds the transposed matrices beside it. No gradient goes through m, which cancels in every
// output.
#pragma once

#include "sweep_backward.h"

namespace recurra::RECURRA_ISA {

// What the generic part of a sweep knows of it: nothing that goes through time.
template <class T>
struct Mlstm {
  static constexpr int gates = 4, leaves = 0, emits = 1, own = 0, terms = 0;
  static constexpr bool recurrent = false;
};

// One step's gates of a head.
template <class T>
struct HeadGates {
  T keep, in, m;
  RECURRA_INLINE HeadGates(T input, T forget, T before) {
    const Vector<T> zero{}, f = broadcast<T>(forget), low = f < zero ? f : zero, m0 = broadcast<T>(before);
    const Vector<T> e = exp<T>(-absolute<T>(f)), squared = e * e, i = broadcast<T>(input);
    const Vector<T> log = e * (T(30) + T(21) * e + squared) / (T(30) + T(36) * e + T(9) * squared);
    const Vector<T> kept = low - log + m0, scale = kept > i ? kept : i;
    m = scale[0];
    in = exp<T>(i - scale)[0];
    keep = (exp<T>(low + m0 - scale) / (T(1) + e))[0];
  }
};

// The sum of q n in one chain, and what the output is divided by.
template <class T>
struct HeadNorm {
  T dot, by;
  bool bounded;  // exp(-m) is the greater one
  RECURRA_INLINE HeadNorm(const T* q, const T* n, int64_t w, T m) {
    Vector<T> sum{};
    for (int64_t a = 0; a < w; ++a) sum = fma(broadcast<T>(q[a]), broadcast<T>(n[a]), sum);
    dot = sum[0];
    const T size = dot < T(0) ? -dot : dot, least = exp<T>(broadcast<T>(-(m < T(80) ? m : T(80))))[0];
    bounded = !(size > least);
    by = bounded ? least : size;
  }
};

template <class T>
RECURRA_INLINE T key_scale(int64_t w) {
  return (broadcast<T>(T(1)) / square_root(broadcast<T>(static_cast<T>(w))))[0];
}

// Where the parts of a row of sums are, for one head.
template <class T>
struct HeadSums {
  const T *q, *k, *v, *o, *i, *f;
  HeadSums(const T* sums, int64_t h, int64_t w, int64_t head)
      : q(sums + head * w), k(q + h), v(k + h), o(v + h), i(sums + 4 * h + head), f(i + h / w) {}
};

template <class T>
class MatrixForward : SweepForward<T, Mlstm> {
  using Base = SweepForward<T, Mlstm>;
  using Base::arena_, Base::call_, Base::part_, Base::space_, Base::time_, Base::worker_;
  static constexpr int64_t kLanes = Simd<T>::lanes;

 public:
  MatrixForward(const SweepForwardCall<T>& call, char* scratch, const Worker& worker)
      : Base(call, scratch, worker), state_(arena_.template take<T>(call.batch * call.marked())) {
    part_ = SweepPart::of<T>(call.units, call.block, worker);
  }

  static int64_t scratch(const SweepForwardCall<T>& call, int size) {
    Arena arena(nullptr);
    SweepForwardSpace<T> space(call, size, 0, arena);
    arena.take<T>(call.batch * call.marked());
    return arena.used();
  }

  void run() {
    this->prepare();
    begin();
    worker_.meet();
    if (space_.symbols) {
      space_.sums.make(call_.symbols, Lines<T>{call_.x, call_.inputs}, space_.symbols, worker_);
      worker_.meet();
    }
    for (int64_t slot = 0; slot < call_.batch; slot += space_.plan.slots) {
      const int64_t left = call_.batch - slot, slots = left < space_.plan.slots ? left : space_.plan.slots;
      for (int64_t s = 0; s < time_.length(slot); s += space_.plan.steps) {
        const SweepChunk chunk{slot, slots, s, space_.plan.steps};
        this->make_sums(this->lay_out(chunk));
        through(chunk);
        if (space_.chunk) worker_.meet();
      }
    }
  }

 private:
  // A tensor of a row's state; `from` is where that row begins.
  T* leaf(int i, T* row) const { return row + (i > 0 ? call_.leaf(0) : 0) + (i > 1 ? call_.leaf(1) : 0); }
  T* row_of(int64_t slot) const { return state_ + slot * call_.marked(); }

  void begin() {
    const Share share(call_.batch, worker_.index, worker_.size);
    if (call_.marks) {
      const int64_t all = (call_.steps + kMarkSteps - 1) / kMarkSteps * call_.batch * call_.marked();
      const Share marks(all, worker_.index, worker_.size);
      clear(call_.marks + marks.first, marks.last - marks.first);
    }
    for (int64_t slot = share.first; slot < share.last; ++slot) {
      const int64_t row = call_.order.row[slot];
      for (int i = 0; i < 3; ++i) {
        copy(leaf(i, row_of(slot)), call_.states[i] + row * call_.leaf(i), call_.leaf(i));
        if (time_.length(slot) == 0)
          copy(call_.last[i] + row * call_.leaf(i), call_.states[i] + row * call_.leaf(i), call_.leaf(i));
      }
    }
  }

  // The part of a tensor that belongs to one head.
  Share of_head(int i, int64_t head) const {
    const int64_t w = call_.block, each = i == 0 ? w : i == 1 ? w * w : 1;
    Share share(0, 0, 1);
    share.first = head * each, share.last = share.first + each;
    return share;
  }

  void through(const SweepChunk& chunk) {
    const Share rows = part_.rows(chunk.slots);
    const int64_t w = call_.block;
    int64_t n = 0;
    for (int64_t i = 0; i < chunk.slots; ++i) {
      const int64_t slot = chunk.slot + i, count = time_.count(chunk, slot);
      if (i >= rows.first && i < rows.last && count > 0)
        for (int64_t head = part_.units.first / w; head < part_.units.last / w; ++head)
          head_through(chunk, slot, head, n, count);
      n += count;
    }
  }

  void head_through(const SweepChunk& chunk, int64_t slot, int64_t head, int64_t n, int64_t count) {
    const int64_t w = call_.block, h = call_.units, row = call_.order.row[slot];
    T* state = row_of(slot);
    T *norm = leaf(0, state) + head * w, *matrix = leaf(1, state) + head * w * w, *m = leaf(2, state) + head;
    if (call_.marks) {
      T* mark = call_.marks + (chunk.first / kMarkSteps * call_.batch + row) * call_.marked();
      for (int i = 0; i < 3; ++i) {
        const Share share = of_head(i, head);
        copy(leaf(i, mark) + share.first, leaf(i, state) + share.first, share.last - share.first);
      }
    }
    const T scale = key_scale<T>(w);
    for (int64_t s = 0; s < count; ++s) {
      const int64_t at = time_.at(slot, chunk.first + s);
      if (time_.reset(at)) clear(norm, w), clear(matrix, w * w), *m = T(0);
      const T* sums = space_.read[n + s];
      const HeadSums<T> x(sums, h, w, head);
      const HeadGates<T> gates(*x.i, *x.f, *m);
      *m = gates.m;
      for (int64_t a = 0; a < w; a += kLanes)
        store(norm + a,
              fma(broadcast<T>(gates.keep), load(norm + a, w - a),
                  broadcast<T>(gates.in) * (load(x.k + a, w - a) * scale)),
              w - a);
      const HeadNorm<T> by(x.q, norm, w, gates.m);
      T* output = call_.outputs + at * h + head * w;
      for (int64_t b = 0; b < w; b += kLanes) {
        const Vector<T> v = load(x.v + b, w - b), keep = broadcast<T>(gates.keep);
        Vector<T> sum{};
        for (int64_t a = 0; a < w; ++a) {
          T* line = matrix + a * w + b;
          const Vector<T> now = fma(keep, load(line, w - b), broadcast<T>(gates.in * (x.k[a] * scale)) * v);
          store(line, now, w - b);
          sum = fma(broadcast<T>(x.q[a]), now, sum);
        }
        store(output + b, sigmoid<T>(load(x.o + b, w - b)) * (sum / broadcast<T>(by.by)), w - b);
      }
      if (call_.kept) {
        T* kept = call_.kept + at * space_.sums.sums;
        for (int g = 0; g < 4; ++g) copy(kept + g * h + head * w, sums + g * h + head * w, w);
        kept[4 * h + head] = *x.i, kept[4 * h + h / w + head] = *x.f;
      }
    }
    if (chunk.first + count < time_.length(slot)) return;
    for (int i = 0; i < 3; ++i) {
      const Share share = of_head(i, head);
      copy(call_.last[i] + row * call_.leaf(i) + share.first, leaf(i, state) + share.first,
           share.last - share.first);
    }
  }

  T* state_;  // [B, marked]
};

template <class T>
class MatrixBackward : SweepBackward<T, Mlstm> {
  using Base = SweepBackward<T, Mlstm>;
  using Base::arena_, Base::call_, Base::part_, Base::space_, Base::time_, Base::worker_;
  static constexpr int64_t kLanes = Simd<T>::lanes;

  // What one worker needs for the steps of a chunk of one head.
  struct Own {
    T *matrices, *norms, *scales;  // [steps + 1, W, W] transposed, [steps + 1, W], [steps + 1]
    T* across;                     // [W, W]: the transposed gradient
    T *by_key, *by_value, *rows;   // [W] each
    static Own of(int64_t w, Arena& arena) {
      Own own;
      own.matrices = arena.take<T>((kMarkSteps + 1) * w * w);
      own.norms = arena.take<T>((kMarkSteps + 1) * w);
      own.scales = arena.take<T>(kMarkSteps + 1);
      own.across = arena.take<T>(w * w);
      own.by_key = arena.take<T>(w), own.by_value = arena.take<T>(w), own.rows = arena.take<T>(w);
      return own;
    }
  };

 public:
  MatrixBackward(const SweepBackwardCall<T>& call, char* scratch, const Worker& worker)
      : Base(call, scratch, worker), grads_(arena_.template take<T>(call.batch * call.marked())) {
    part_ = SweepPart::of<T>(call.units, call.block, worker);
    for (int i = 0; i < worker.size; ++i) {
      const Own mine = Own::of(call.block, arena_);
      if (i == worker.index) own_ = mine;
    }
  }

  static int64_t scratch(const SweepBackwardCall<T>& call, int size) {
    Arena arena(nullptr);
    SweepBackwardSpace<T> space(call, size, 0, arena);
    arena.take<T>(call.batch * call.marked());
    for (int i = 0; i < size; ++i) Own::of(call.block, arena);
    return arena.used();
  }

  void run() {
    this->prepare();
    begin();
    worker_.meet();
    for (int64_t slot = 0; slot < call_.batch; slot += space_.plan.slots) {
      const int64_t left = call_.batch - slot, slots = left < space_.plan.slots ? left : space_.plan.slots;
      const int64_t steps = space_.plan.steps, chunks = (time_.length(slot) + steps - 1) / steps;
      for (int64_t c = chunks - 1; c >= 0; --c) {
        const SweepChunk chunk{slot, slots, c * steps, steps};
        const int64_t rows = this->lay_out(chunk);
        through(chunk);
        this->spread_chunk(rows);
      }
    }
    worker_.meet();
    if (call_.tokens) this->spread_symbols();
    finish();
  }

 private:
  T* leaf(int i, T* row) const { return row + (i > 0 ? call_.leaf(0) : 0) + (i > 1 ? call_.leaf(1) : 0); }
  T* row_of(int64_t slot) const { return grads_ + slot * call_.marked(); }

  void begin() {
    const Share share(call_.batch, worker_.index, worker_.size);
    for (int64_t slot = share.first; slot < share.last; ++slot) {
      clear(row_of(slot), call_.marked());
      // (m takes a gradient only where it is handed on as it came)
      for (int i = 0; i < (time_.length(slot) ? 2 : 3); ++i)
        if (call_.grad_last[i])
          copy(leaf(i, row_of(slot)), call_.grad_last[i] + call_.order.row[slot] * call_.leaf(i),
               call_.leaf(i));
    }
  }

  void finish() {
    this->weights_of_few();
    const Share share(call_.batch, worker_.index, worker_.size);
    for (int64_t slot = share.first; slot < share.last; ++slot)
      for (int i = 0; i < 3; ++i)
        copy(call_.grad_states[i] + call_.order.row[slot] * call_.leaf(i), leaf(i, row_of(slot)),
             call_.leaf(i));
  }

  void through(const SweepChunk& chunk) {
    const Share rows = part_.rows(chunk.slots);
    const int64_t w = call_.block;
    int64_t n = 0;
    for (int64_t i = 0; i < chunk.slots; ++i) {
      const int64_t slot = chunk.slot + i, count = time_.count(chunk, slot);
      if (i >= rows.first && i < rows.last && count > 0)
        for (int64_t head = part_.units.first / w; head < part_.units.last / w; ++head)
          head_through(chunk, slot, head, n, count);
      n += count;
    }
  }

  // The states before and after each step, the matrices transposed: line b is what they write to value b.
  void replay(const SweepChunk& chunk, int64_t slot, int64_t head, int64_t n, int64_t count) {
    const int64_t w = call_.block;
    const T* mark =
        call_.marks + (chunk.first / kMarkSteps * call_.batch + call_.order.row[slot]) * call_.marked();
    const T* matrix = mark + call_.leaf(0) + head * w * w;
    for (int64_t a = 0; a < w; ++a)
      for (int64_t b = 0; b < w; ++b) own_.matrices[b * w + a] = matrix[a * w + b];
    copy(own_.norms, mark + head * w, w);
    own_.scales[0] = mark[call_.leaf(0) + call_.leaf(1) + head];
    const T scale = key_scale<T>(w);
    for (int64_t s = 0; s < count; ++s) {
      T *before = own_.matrices + s * w * w, *after = before + w * w, *norm = own_.norms + s * w;
      // (what a reset forgets stays: it is what the step before left)
      const bool fresh = time_.reset(space_.places[n + s]);
      const HeadSums<T> x(space_.read[n + s], call_.units, w, head);
      const HeadGates<T> gates(*x.i, *x.f, fresh ? T(0) : own_.scales[s]);
      own_.scales[s + 1] = gates.m;
      const Vector<T> keep = broadcast<T>(fresh ? T(0) : gates.keep), in = broadcast<T>(gates.in);
      for (int64_t a = 0; a < w; a += kLanes) {
        const Vector<T> key = in * (load(x.k + a, w - a) * scale);
        store(norm + w + a, fma(keep, load(norm + a, w - a), key), w - a);
        for (int64_t b = 0; b < w; ++b)
          store(after + b * w + a, fma(keep, load(before + b * w + a, w - a), key * broadcast<T>(x.v[b])),
                w - a);
      }
    }
  }

  void head_through(const SweepChunk& chunk, int64_t slot, int64_t head, int64_t n, int64_t count) {
    replay(chunk, slot, head, n, count);
    const int64_t w = call_.block, h = call_.units;
    T* state = row_of(slot);
    T *grad_norm = leaf(0, state) + head * w, *grad = leaf(1, state) + head * w * w;
    for (int64_t a = 0; a < w; ++a)
      for (int64_t b = 0; b < w; ++b) own_.across[b * w + a] = grad[a * w + b];
    const T scale = key_scale<T>(w);
    for (int64_t s = count - 1; s >= 0; --s) {
      const int64_t at = space_.places[n + s];
      const T* sums = space_.read[n + s];
      const HeadSums<T> x(sums, h, w, head);
      const bool fresh = time_.reset(at);
      const HeadGates<T> gates(*x.i, *x.f, fresh ? T(0) : own_.scales[s]);
      const T *before = own_.matrices + s * w * w, *after = before + w * w;
      const T *norm = own_.norms + s * w, *next = norm + w;
      const HeadNorm<T> by(x.q, next, w, gates.m);
      const T *output = call_.outputs + at * h + head * w,
              *came = call_.grad_outputs ? call_.grad_outputs + at * h + head * w : nullptr;
      T* into = space_.grads + (n + s) * space_.row + head * w;
      // the output gate, and what arrives at C^T q (by_value, until dv takes its place) and at the divisor
      T through_divisor = T(0);
      for (int64_t b = 0; b < w; b += kLanes) {
        const Vector<T> arriving = came ? load(came + b, w - b) : Vector<T>{}, out = load(output + b, w - b);
        const Vector<T> o = sigmoid<T>(load(x.o + b, w - b)), product = arriving * out;
        store(into + 3 * h + b, product * (T(1) - o), w - b);
        store(own_.by_value + b, arriving * o / broadcast<T>(by.by), w - b);
        store(own_.rows + b, product, w - b);
      }
      for (int64_t b = 0; b < w; ++b) through_divisor += own_.rows[b];
      through_divisor = -through_divisor / by.by;
      const T by_dot = by.bounded ? T(0) : by.dot < T(0) ? -through_divisor : through_divisor;
      const Vector<T> keep = broadcast<T>(gates.keep), in = broadcast<T>(gates.in);
      // along the lines of the transposed matrices: dq, dk, and the forget gate's part
      for (int64_t a = 0; a < w; a += kLanes) {
        const int64_t left = w - a;
        const Vector<T> q = load(x.q + a, left), dot = broadcast<T>(by_dot);
        const Vector<T> at_norm = fma(dot, q, load(grad_norm + a, left));
        Vector<T> query = dot * load(next + a, left), key = at_norm, forget = at_norm * load(norm + a, left);
        for (int64_t b = 0; b < w; ++b) {
          const Vector<T> arriving = broadcast<T>(own_.by_value[b]);
          T* line = own_.across + b * w + a;
          const Vector<T> now = fma(arriving, q, load(line, left));
          query = fma(arriving, load(after + b * w + a, left), query);
          key = fma(now, broadcast<T>(x.v[b]), key);
          forget = fma(now, load(before + b * w + a, left), forget);
          store(line, keep * now, left);
        }
        store(into + a, query, left);
        store(own_.by_key + a, key * scale, left);
        store(into + h + a, in * (key * scale), left);
        store(own_.rows + a, forget, left);
        store(grad_norm + a, keep * at_norm, left);
      }
      // down the columns of the others: dv
      for (int64_t b = 0; b < w; b += kLanes) {
        const int64_t left = w - b;
        const Vector<T> arriving = load(own_.by_value + b, left);
        Vector<T> value{};
        for (int64_t a = 0; a < w; ++a) {
          T* line = grad + a * w + b;
          const Vector<T> now = fma(broadcast<T>(x.q[a]), arriving, load(line, left));
          value = fma(now, broadcast<T>(gates.in * (x.k[a] * scale)), value);
          store(line, keep * now, left);
        }
        store(into + 2 * h + b, value, left);
      }
      T by_forget = T(0), by_input = T(0);
      for (int64_t a = 0; a < w; ++a) by_forget += own_.rows[a], by_input += own_.by_key[a] * x.k[a];
      T* gate = space_.grads + (n + s) * space_.row + 4 * h + head;
      gate[0] = by_input * gates.in;
      gate[h / w] = fresh ? T(0) : by_forget * gates.keep * sigmoid<T>(broadcast<T>(-*x.f))[0];
      if (fresh) clear(grad, w * w), clear(grad_norm, w), clear(own_.across, w * w);
    }
  }

  T* grads_;  // [B, marked]: n, C, m, of which the last stays zero
  Own own_{};
};

}  // namespace recurra::RECURRA_ISA
