// Fills the table of sweeps for one instruction set. Included by sweeps_<set>.cpp, each with its own compiler
// flags and its own RECURRA_ISA.
#include "sweep_backward.h"
#include "sweep_cells.h"
#include "sweep_forward.h"

namespace recurra::RECURRA_ISA {

// Calls `use.template run<CellOf>()` for the cell named in a call: the one place that lists the cells.
template <class Use>
void with_sweep(SweepCell cell, const Use& use) {
  switch (cell) {
    case SweepCell::kMinGru:
      return use.template run<MinGru>();
    case SweepCell::kMinLstm:
      return use.template run<MinLstm>();
    case SweepCell::kRgLru:
      return use.template run<RgLru>();
    case SweepCell::kLru:
      return use.template run<Lru>();
    case SweepCell::kSlstm:
      return use.template run<Slstm>();
    case SweepCell::kMlstm:
      return;  // matrices.inc.h
  }
}

template <class T>
struct RunSweepForward {
  const SweepForwardCall<T>& call;
  char* scratch;
  const Worker& worker;
  template <template <class> class CellOf>
  void run() const {
    SweepForward<T, CellOf>(call, scratch, worker).run();
  }
};

template <class T>
struct RunSweepBackward {
  const SweepBackwardCall<T>& call;
  char* scratch;
  const Worker& worker;
  template <template <class> class CellOf>
  void run() const {
    SweepBackward<T, CellOf>(call, scratch, worker).run();
  }
};

template <class T>
void sweep_forward(const SweepForwardCall<T>& call, char* scratch, const Worker& worker) {
  with_sweep(call.cell, RunSweepForward<T>{call, scratch, worker});
}

template <class T>
void sweep_backward(const SweepBackwardCall<T>& call, char* scratch, const Worker& worker) {
  with_sweep(call.cell, RunSweepBackward<T>{call, scratch, worker});
}

template <class T>
constexpr SweepKernels<T> sweep_kernels() {
  return {sweep_forward_scratch<T>, sweep_forward<T>, sweep_backward_scratch<T>, sweep_backward<T>};
}

extern const SweepTable sweeps = {sweep_kernels<float>(), sweep_kernels<double>()};

}  // namespace recurra::RECURRA_ISA
