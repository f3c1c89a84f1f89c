// A small pool of threads of our own, so that no second OpenMP runtime is needed beside torch's. Knows
// nothing of kernels.
//
// The number of threads belongs to each call. Threads start when first needed, spin a little after work and
// then sleep. A call never waits for a thread that has not begun: the caller does that work itself. Two calls
// at once are safe (the second runs on its own thread alone), and so is fork: the child starts with no
// threads.
#pragma once

#include <cstdint>

namespace recurra {

using Task = void (*)(const void* context, int64_t index);

// Calls task(context, i) once for each i in [0, count), on at most `threads` threads, this one among them.
// Returns when all are done. Tasks must not throw.
void run_tasks(int64_t count, int threads, Task task, const void* context);

template <class Function>
void parallel(int64_t count, int threads, const Function& function) {
  run_tasks(
      count, threads, [](const void* context, int64_t i) { (*static_cast<const Function*>(context))(i); },
      &function);
}

}  // namespace recurra
