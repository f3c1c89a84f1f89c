// Runs a whole call: packs the weights, deals the rows of the batch to threads, gives each its scratch. Knows
// neither Python nor any instruction set.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace recurra {

template <class T>
void linear(const T* x, int64_t rows, int64_t depth, const T* weight, int64_t columns, const T* bias, T* out,
            int threads);

// `weight` is [G*H, H]; `lengths` has one number in 0..T for each row of the batch. `call.panels` is filled
// in here.
template <class T>
void forward(ForwardCall<T> call, const T* weight, const std::vector<int64_t>& lengths, int threads);

template <class T>
void backward(BackwardCall<T> call, const T* weight, const std::vector<int64_t>& lengths, int threads);

}  // namespace recurra
