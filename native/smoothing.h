// Exponential smoothing of series: a level, and any number of seasons of different lengths (Holt and Winters;
// several seasons: Taylor 2003). One step of a row, with the season s_k that position t of ring k holds:
//
//   e = y - l - s_1 - ... - s_K      l' = l + a e      r = e - a e      position t + m_k of ring k: s_k + g_k
//   r
//
// It is ten operations a number, so one thread does it all, in plain loops over rows that lie side by side.
// Knows numbers and nothing of models.
#pragma once

#include <cstdint>

namespace recurra {

// What forward and backward share. Arrays of steps are [T, B]; `seasons` of ring k is [m_k + T, B]: the
// positions of the ring before the first step, and one that each step adds. Null lengths: every row has all
// steps.
template <class T>
struct SmoothingCall {
  int64_t steps, batch;
  int rings;
  const int64_t* sizes;  // [K], m_k >= 1
  const int64_t* lengths;
  const T *y, *level, *share;  // y and share (a) [T, B], level [B]
  const T* const* ring;        // [K] of [B, m_k]: the positions before the first step
  const T* const* turns;       // [K] of [T, B]: g_k
};

// levels[T, B] and seasons are written everywhere; after the end of a row with zeros.
template <class T>
struct SmoothingForward : SmoothingCall<T> {
  T* levels;
  T* const* seasons;
};

// The gradients of all that is given, by those of the results (null: zero).
template <class T>
struct SmoothingBackward : SmoothingCall<T> {
  const T* levels;
  const T* const* seasons;
  const T* grad_levels;
  const T* const* grad_seasons;  // [K], each perhaps null
  T *grad_y, *grad_level, *grad_share;
  T* const* grad_ring;
  T* const* grad_turns;
};

template <class T>
void smooth(const SmoothingForward<T>& call);
template <class T>
void smooth_backward(const SmoothingBackward<T>& call);

}  // namespace recurra
