// See dispatch.h.
#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>

namespace recurra {
namespace {

std::vector<const KernelTable*> runnable_tables() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if defined(RECURRA_AVX512)
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) tables.push_back(&avx512::table);
#endif
  if (avx2) tables.push_back(&avx2::table);
#endif
  tables.push_back(&portable::table);
  return tables;
}

const KernelTable& choose() {
  const std::vector<const KernelTable*> tables = runnable_tables();
  const char* wanted = std::getenv("RECURRA_SIMD");
  if (!wanted || !*wanted) return *tables.front();
  std::string names;
  for (const KernelTable* table : tables) {
    if (wanted == std::string(table->name)) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  throw std::runtime_error(
      "RECURRA_SIMD names an instruction set that cannot run here. Got: " + std::string(wanted) +
      ". This processor runs: " + names + ". Unset RECURRA_SIMD to use the best one.");
}

}  // namespace

std::vector<std::string> available_simd() {
  std::vector<std::string> names;
  for (const KernelTable* table : runnable_tables()) names.emplace_back(table->name);
  return names;
}

const KernelTable& chosen_kernels() {
  static const KernelTable& table = choose();
  return table;
}

const SweepTable& chosen_sweeps() {
  static const KernelTable* chosen = &chosen_kernels();
#if defined(RECURRA_AVX512)
  if (chosen == &avx512::table) return avx512::sweeps;
#endif
#if defined(__x86_64__)
  if (chosen == &avx2::table) return avx2::sweeps;
#endif
  return portable::sweeps;
}

const SweepTable& chosen_matrices() {
  static const KernelTable* chosen = &chosen_kernels();
#if defined(RECURRA_AVX512)
  if (chosen == &avx512::table) return avx512::matrices;
#endif
#if defined(__x86_64__)
  if (chosen == &avx2::table) return avx2::matrices;
#endif
  return portable::matrices;
}

}  // namespace recurra
