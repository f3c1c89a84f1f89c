// See parallel.h.
#include "parallel.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#if defined(__linux__)
#include <link.h>

#include <cstring>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace recurra {

using Clock = std::chrono::steady_clock;

int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

// Members come, the last one opens the door for all. Spins, because the way between two meetings is short;
// where the machine has fewer free cores than the team has members, it gives its core away.
class Barrier {
 public:
  void wait(const Worker& worker) {
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == worker.size - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    const auto closed = [&] { return round_.load(std::memory_order_acquire) == round; };
    for (int spin = 0; spin < kSpins && closed(); ++spin) relax();
    if (!closed()) return;
    const int64_t from = nanoseconds();
    while (closed()) sched_yield();
    if (worker.index == 0) waited_ += nanoseconds() - from;
  }

  // Nanoseconds that the caller lost in long waits.
  int64_t waited() const { return waited_; }

  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  static constexpr int kSpins = 4000;  // some tens of microseconds

 private:
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> round_{0};
  int64_t waited_ = 0;  // the caller's
};

void Worker::wait() const {
  barrier->wait(*this);
}

namespace {

// ---- whether the cores are free

constexpr int64_t kCrowdedFor = 50'000'000;  // nanoseconds
std::atomic<int64_t> crowded_until{0};
std::atomic<bool> patient{false};

// A call that spent much of its time waiting has met other programs on its cores.
class Watch {
 public:
  explicit Watch(const Barrier& barrier) : barrier_(barrier), from_(nanoseconds()) {}
  ~Watch() {
    const int64_t now = nanoseconds();
    if (barrier_.waited() > (now - from_) / 4 && barrier_.waited() > 200'000)
      crowded_until.store(now + kCrowdedFor, std::memory_order_relaxed);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  const Barrier& barrier_;
  const int64_t from_;
};

// ---- the OpenMP runtime that the process already has

struct OpenMP {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*index)() = nullptr;
  int (*size)() = nullptr;

  bool found() const { return parallel && index && size; }
};

template <class Function>
void look_up(void* library, const char* name, Function& into) {
  into = reinterpret_cast<Function>(dlsym(library, name));
}

OpenMP in_library(void* library) {
  OpenMP found;
  look_up(library, "GOMP_parallel", found.parallel);  // LLVM's and Intel's runtimes have it too
  look_up(library, "omp_get_thread_num", found.index);
  look_up(library, "omp_get_num_threads", found.size);
  return found;
}

OpenMP find_openmp() {
  OpenMP found = in_library(RTLD_DEFAULT);
#if defined(__linux__)
  if (!found.found()) {  // loaded, but not for everyone to see
    const auto visit = [](dl_phdr_info* info, size_t, void* result) {
      const char* name = info->dlpi_name;
      if (!std::strstr(name, "gomp") && !std::strstr(name, "libomp") && !std::strstr(name, "libiomp"))
        return 0;
      void* library = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
      if (!library) return 0;
      *static_cast<OpenMP*>(result) = in_library(library);
      return static_cast<OpenMP*>(result)->found() ? 1 : 0;
    };
    dl_iterate_phdr(visit, &found);
  }
#endif
  return found;
}

const OpenMP& openmp() {
  static const OpenMP found = find_openmp();
  return found;
}

struct Assignment {
  Job job;
  const void* context;
  Barrier barrier;
  int size = 0;
};

void run_with_openmp(int threads, Job job, const void* context) {
  Assignment assignment{job, context, {}, threads};
  const Watch watch(assignment.barrier);
  openmp().parallel(
      [](void* given) {
        Assignment& assignment = *static_cast<Assignment*>(given);
        const int index = openmp().index();
        if (openmp().size() == assignment.size) {
          assignment.job(assignment.context, {index, assignment.size, &assignment.barrier});
        } else if (index == 0) {  // the runtime gave fewer threads than asked for
          assignment.job(assignment.context, {0, 1, nullptr});
        }
      },
      &assignment, static_cast<unsigned>(threads), 0);
}

// ---- a pool of our own

class Pool {
 public:
  // False where another call holds the pool, or the system does not give all the threads.
  bool try_run(int threads, Job job, const void* context) {
    const std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner) return false;
    if (start_workers(threads - 1) < threads - 1) return false;
    Assignment assignment{job, context, {}, threads};
    const Watch watch(assignment.barrier);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      assignment_ = &assignment;
      running_.store(threads - 1, std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    posted_.notify_all();
    job(context, {0, threads, &assignment.barrier});
    for (int spin = 0; running_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < Barrier::kSpins) {
        Barrier::relax();
      } else {
        sched_yield();
      }
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    assignment_ = nullptr;
    return true;
  }

 private:
  int start_workers(int wanted) {
    if (workers_ >= wanted) return workers_;
    // Signals stay with Python's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; workers_ < wanted; ++workers_) {
      try {
        std::thread([this, index = workers_ + 1, seen = generation_.load()] { serve(index, seen); }).detach();
      } catch (const std::system_error&) {
        break;  // work with those there are
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return workers_;
  }

  [[noreturn]] void serve(int index, unsigned seen) {
    for (;;) {
      for (int spin = 0; spin < Barrier::kSpins && generation_.load(std::memory_order_acquire) == seen;
           ++spin)
        Barrier::relax();
      std::unique_lock<std::mutex> lock(mutex_);
      posted_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      Assignment* assignment = assignment_;
      if (!assignment || index >= assignment->size) continue;
      lock.unlock();
      assignment->job(assignment->context, {index, assignment->size, &assignment->barrier});
      running_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex owner_;  // held by the call that uses the pool
  int workers_ = 0;   // guarded by owner_

  std::mutex mutex_;  // guards what follows
  std::condition_variable posted_;
  Assignment* assignment_ = nullptr;

  std::atomic<unsigned> generation_{0};
  std::atomic<int> running_{0};
};

// Never destroyed: its threads sleep in it until the process ends.
std::atomic<Pool*> the_pool{nullptr};
std::atomic<bool> forked{false};

Pool& pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found) return *found;
  Pool* made = new Pool;
  if (the_pool.compare_exchange_strong(found, made)) return *made;
  delete made;
  return *found;
}

bool uses_openmp() {
  return !forked.load(std::memory_order_relaxed) && openmp().found();
}

}  // namespace

void run_team(int threads, Job job, const void* context) {
  threads = std::min(threads, kMostThreads);
  if (threads > 1) {
    if (uses_openmp()) return run_with_openmp(threads, job, context);
    if (pool().try_run(threads, job, context)) return;
  }
  job(context, {0, 1, nullptr});
}

void run_two_teams(int threads, int first, Job a, const void* context_a, Job b, const void* context_b) {
  Barrier barrier_a, barrier_b;
  team(threads, [&](const Worker& worker) {
    if (worker.size == 1) {
      a(context_a, worker);
      b(context_b, worker);
    } else if (worker.index < first) {
      a(context_a, {worker.index, first, &barrier_a});
    } else {
      b(context_b, {worker.index - first, worker.size - first, &barrier_b});
    }
  });
}

void watch_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    crowded_until.store(0);
    forked.store(true);       // no OpenMP runtime works in a child whose parent has used it
    the_pool.store(nullptr);  // the parent's threads are not here, and its locks may be held: begin anew
  });
  (void)registered;
}

void be_patient() {
  patient.store(true);
}

bool crowded() {
  return !patient.load(std::memory_order_relaxed) &&
         nanoseconds() < crowded_until.load(std::memory_order_relaxed);
}

const char* thread_source() {
  return uses_openmp() ? "openmp" : "own";
}

}  // namespace recurra
