// See parallel.h.
#include "parallel.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace recurra {
namespace {

constexpr int kMostThreads = 256;
constexpr int kSpins = 2000;  // some tens of microseconds

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Pool {
 public:
  // False where another call holds the pool.
  bool try_run(int64_t count, int threads, Task task, const void* context) {
    const std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner) return false;
    start_workers(threads - 1);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      task_ = task;
      context_ = context;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      places_ = threads - 1;
      generation_.fetch_add(1, std::memory_order_release);
    }
    posted_.notify_all();
    work(task, context, count);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      places_ = 0;  // whoever has not begun stays out
    }
    for (int spin = 0; running_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < kSpins) {
        relax();
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      finished_.wait(lock, [this] { return running_.load(std::memory_order_acquire) == 0; });
    }
    return true;
  }

 private:
  void start_workers(int wanted) {
    if (workers_ >= wanted) return;
    // Signals stay with Python's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; workers_ < wanted; ++workers_) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        break;  // the system gives no more threads: work with those there are
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void work(Task task, const void* context, int64_t count) {
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) task(context, i);
  }

  [[noreturn]] void serve() {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin)
        relax();
      std::unique_lock<std::mutex> lock(mutex_);
      posted_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      if (places_ == 0) continue;
      --places_;
      running_.fetch_add(1, std::memory_order_relaxed);
      const Task task = task_;
      const void* context = context_;
      const int64_t count = count_;
      lock.unlock();
      work(task, context, count);
      lock.lock();
      if (running_.fetch_sub(1, std::memory_order_release) == 1) finished_.notify_one();
    }
  }

  std::mutex owner_;  // held by the call that uses the pool
  int workers_ = 0;   // guarded by owner_

  std::mutex mutex_;  // guards what follows
  std::condition_variable posted_, finished_;
  Task task_ = nullptr;
  const void* context_ = nullptr;
  int64_t count_ = 0;
  int places_ = 0;

  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<int> running_{0};
};

// Never destroyed: its threads sleep in it until the process ends.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    the_pool.store(nullptr);  // the parent's threads are not here, and its locks may be held: begin anew
  });
  (void)registered;
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found) return *found;
  Pool* made = new Pool;
  if (the_pool.compare_exchange_strong(found, made)) return *made;
  delete made;
  return *found;
}

}  // namespace

void run_tasks(int64_t count, int threads, Task task, const void* context) {
  threads = static_cast<int>(std::min<int64_t>({count, threads, kMostThreads}));
  if (threads > 1 && pool().try_run(count, threads, task, context)) return;
  for (int64_t i = 0; i < count; ++i) task(context, i);
}

}  // namespace recurra
