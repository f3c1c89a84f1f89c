// Which instruction set this process runs: the best the processor has, or the one RECURRA_SIMD names.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"
#include "sweep.h"

namespace recurra {

// The names of the sets this processor can run, best first. "portable" is always the last.
std::vector<std::string> available_simd();

// Chosen at the first call. Throws std::runtime_error where RECURRA_SIMD names a set that is unknown, or that
// this processor cannot run.
const KernelTable& chosen_kernels();

// The sweeps of the same set.
const SweepTable& chosen_sweeps();
const SweepTable& chosen_matrices();

}  // namespace recurra
