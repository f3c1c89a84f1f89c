// Teams of threads. Knows nothing of kernels.
//
// A team is the caller and some threads that run one function side by side and can wait for one another.
// Where an OpenMP runtime is loaded (torch brings one), the team is taken from it: its threads are the ones
// that torch's own operations have just used, so two pools never fight over the cores, and no second runtime
// is loaded. Elsewhere, and in a process that was forked (no OpenMP runtime survives that), a small pool of
// our own serves.
//
// The number of threads belongs to each call. Two calls at once are safe.
#pragma once

namespace recurra {

class Barrier;

// One member of a team: `index` of `size`.
struct Worker {
  int index, size;
  Barrier* barrier;

  // Returns when every member has come here. What they wrote before is then seen by all.
  // (Always inlined: the linker must not keep one copy of it for all instruction sets.)
  __attribute__((always_inline)) void meet() const {
    if (size > 1) wait();
  }

 private:
  void wait() const;
};

using Job = void (*)(const void* context, const Worker& worker);

constexpr int kMostThreads = 256;  // of a team

// Runs job(context, worker) on `threads` threads (at most kMostThreads), the caller among them, or on the
// caller alone; never on a number between, for which nobody has made room. Jobs must not throw.
void run_team(int threads, Job job, const void* context);

// Two jobs side by side, each on its part of `threads` threads: `first` of them for a, the others for b. One
// after the other on the caller where no team is to be had.
void run_two_teams(int threads, int first, Job a, const void* context_a, Job b, const void* context_b);

template <class Function>
void team(int threads, const Function& function) {
  run_team(
      threads,
      [](const void* context, const Worker& worker) { (*static_cast<const Function*>(context))(worker); },
      &function);
}

// Whether other programs were in the way a moment ago: waiting for a thread that has no core costs more than
// it gives.
bool crowded();

// From here on never mind: `crowded` is always false. For tests, which must run what they are about.
void be_patient();

// To be called when the module is loaded: notices from then on when the process is forked.
void watch_forks();

// "openmp" or "own": who gives the threads.
const char* thread_source();

}  // namespace recurra
