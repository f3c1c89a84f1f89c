// Runs a whole call: puts the rows in order, chooses the team and how it shares the work, gives it scratch.
// Knows neither Python nor any instruction set.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "program.h"
#include "sweep.h"

namespace recurra {

template <class T>
void linear(const T* x, int64_t rows, int64_t depth, const T* weight, int64_t columns, const T* bias, T* out,
            int threads);

// The same with a weight that `Kernels<T>::pack` has packed.
template <class T>
void linear_packed(const T* x, int64_t rows, int64_t depth, const T* panels, int64_t columns, const T* bias,
                   T* out, int threads);

// `lengths` has one number in 0..T for each row of the batch, or is null where all rows have T steps.
// `call.order` and `call.by_units` are filled in here.
template <class T>
void forward(ForwardCall<T> call, const int64_t* lengths, int threads);

// Two layers over the same rows, side by side where one of them could not keep all threads busy: the
// directions of a bidirectional layer.
template <class T>
void forward_pair(ForwardCall<T> a, ForwardCall<T> b, const int64_t* lengths, int threads);

template <class T>
void backward(BackwardCall<T> call, const int64_t* lengths, int threads);

// `call.order` is filled in here.
template <class T>
void scan(ScanCall<T> call, const int64_t* lengths, int threads);

template <class T>
void sweep_forward(SweepForwardCall<T> call, const int64_t* lengths, int threads);

template <class T>
void sweep_backward(SweepBackwardCall<T> call, const int64_t* lengths, int threads);

}  // namespace recurra
