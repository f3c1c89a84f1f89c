// See smoothing.h.
#include "smoothing.h"

#include <algorithm>
#include <vector>

namespace recurra {
namespace {

constexpr int64_t kRows = 16;  // rows that go through all steps together: what they carry stays in cache

// Which rows of a block, from row `first` on, are still there at a step.
struct Ends {
  int64_t ends[kRows];

  Ends(const int64_t* lengths, int64_t first, int64_t rows, int64_t steps) {
    for (int64_t b = 0; b < rows; ++b) ends[b] = lengths ? lengths[first + b] : steps;
  }
  bool live(int64_t b, int64_t step) const { return step < ends[b]; }
};

// apart = y - level - all seasons, of some rows at one step: in this order, forward and backward.
template <class T>
void innovations(const SmoothingCall<T>& call, const T* const* seasons, const T* level, int64_t at,
                 int64_t rows, T* apart) {
  for (int64_t b = 0; b < rows; ++b) apart[b] = call.y[at + b] - level[b];
  for (int k = 0; k < call.rings; ++k)
    for (int64_t b = 0; b < rows; ++b) apart[b] -= seasons[k][at + b];
}

template <class T>
void forward_rows(const SmoothingForward<T>& call, int64_t first, int64_t rows) {
  const int64_t batch = call.batch;
  const Ends ends(call.lengths, first, rows, call.steps);
  T level[kRows], apart[kRows];
  std::copy_n(call.level + first, rows, level);
  for (int k = 0; k < call.rings; ++k)
    for (int64_t j = 0; j < call.sizes[k]; ++j)
      for (int64_t b = 0; b < rows; ++b)
        call.seasons[k][j * batch + first + b] = call.ring[k][(first + b) * call.sizes[k] + j];
  for (int64_t t = 0; t < call.steps; ++t) {
    const int64_t at = t * batch + first;
    innovations<T>(call, call.seasons, level, at, rows, apart);
    for (int64_t b = 0; b < rows; ++b) {
      const T step = call.share[at + b] * apart[b], now = level[b] + step;
      apart[b] -= step;
      level[b] = ends.live(b, t) ? now : level[b];
      call.levels[at + b] = ends.live(b, t) ? now : T(0);
    }
    for (int k = 0; k < call.rings; ++k) {
      const T *season = call.seasons[k] + at, *turn = call.turns[k] + at;
      T* after = call.seasons[k] + call.sizes[k] * batch + at;
      for (int64_t b = 0; b < rows; ++b) after[b] = ends.live(b, t) ? season[b] + turn[b] * apart[b] : T(0);
    }
  }
}

template <class T>
void backward_rows(const SmoothingBackward<T>& call, int64_t first, int64_t rows, T* owed) {
  const int64_t batch = call.batch;
  const Ends ends(call.lengths, first, rows, call.steps);
  T carried[kRows] = {}, apart[kRows], through[kRows], before[kRows];
  // owed[k][t mod m_k]: what step t + m_k owed to the position that it read
  std::vector<T*> rings;
  for (int k = 0; k < call.rings; ++k) {
    rings.push_back(owed);
    owed = std::fill_n(owed, call.sizes[k] * kRows, T(0));
  }
  for (int64_t t = call.steps - 1; t >= 0; --t) {
    const int64_t at = t * batch + first;
    const T* level = t > 0 ? call.levels + at - batch : call.level + first;
    innovations<T>(call, call.seasons, level, at, rows, apart);
    std::fill_n(through, rows, T(0));  // to what is left of the innovation
    for (int k = 0; k < call.rings; ++k) {
      T *ring = rings[k] + t % call.sizes[k] * kRows, *grad_turn = call.grad_turns[k] + at;
      const T *grad = call.grad_seasons[k], *turn = call.turns[k] + at, *share = call.share + at;
      const int64_t after = call.sizes[k] * batch + at;
      for (int64_t b = 0; b < rows; ++b) {
        ring[b] = ends.live(b, t) ? ring[b] + (grad ? grad[after + b] : T(0)) : T(0);
        grad_turn[b] = ends.live(b, t) ? ring[b] * (apart[b] - share[b] * apart[b]) : T(0);
        through[b] += ends.live(b, t) ? ring[b] * turn[b] : T(0);
      }
    }
    for (int64_t b = 0; b < rows; ++b) {
      const T came = carried[b] + (call.grad_levels ? call.grad_levels[at + b] : T(0));
      const T share = call.share[at + b], by_apart = through[b] + share * (came - through[b]);
      before[b] = ends.live(b, t) ? by_apart : T(0);
      call.grad_share[at + b] = ends.live(b, t) ? apart[b] * (came - through[b]) : T(0);
      call.grad_y[at + b] = before[b];
      carried[b] = ends.live(b, t) ? came - by_apart : T(0);
    }
    for (int k = 0; k < call.rings; ++k) {
      T* ring = rings[k] + t % call.sizes[k] * kRows;
      for (int64_t b = 0; b < rows; ++b) ring[b] -= before[b];
    }
  }
  std::copy_n(carried, rows, call.grad_level + first);
  for (int k = 0; k < call.rings; ++k)
    for (int64_t j = 0; j < call.sizes[k]; ++j)
      for (int64_t b = 0; b < rows; ++b) {
        const T* grad = call.grad_seasons[k];
        call.grad_ring[k][(first + b) * call.sizes[k] + j] =
            rings[k][j * kRows + b] + (grad ? grad[j * batch + first + b] : T(0));
      }
}

}  // namespace

template <class T>
void smooth(const SmoothingForward<T>& call) {
  for (int64_t first = 0; first < call.batch; first += kRows)
    forward_rows(call, first, std::min(kRows, call.batch - first));
}

template <class T>
void smooth_backward(const SmoothingBackward<T>& call) {
  int64_t places = 0;
  for (int k = 0; k < call.rings; ++k) places += call.sizes[k];
  std::vector<T> owed(static_cast<size_t>(places * kRows));
  for (int64_t first = 0; first < call.batch; first += kRows)
    backward_rows(call, first, std::min(kRows, call.batch - first), owed.data());
}

template void smooth(const SmoothingForward<float>&);
template void smooth(const SmoothingForward<double>&);
template void smooth_backward(const SmoothingBackward<float>&);
template void smooth_backward(const SmoothingBackward<double>&);

}  // namespace recurra
