// Fills the table of kernels for one instruction set. Included by kernels_<set>.cpp, each with its own
// compiler flags and its own RECURRA_ISA.
#include "backward.h"
#include "forward.h"
#include "kernels.h"
#include "matmul.h"
#include "scan.h"
#include "simd.h"

namespace recurra::RECURRA_ISA {

template <class T>
using ElmanTanh = Elman<T, Activation::kTanh>;
template <class T>
using ElmanRelu = Elman<T, Activation::kRelu>;
template <class T>
using ElmanSigmoid = Elman<T, Activation::kSigmoid>;
template <class T>
using ElmanIdentity = Elman<T, Activation::kIdentity>;

// Calls `use.template run<CellOf>()` for the cell named in a call: the one place that lists the cells.
template <class T, class Use>
void with_cell(const Call<T>& call, const Use& use) {
  switch (call.cell) {
    case Cell::kGru:
      return use.template run<Gru>();
    case Cell::kGruResetBefore:
      return use.template run<GruResetBefore>();
    case Cell::kLstm:
      return use.template run<Lstm>();
    case Cell::kElman:
      switch (call.activation) {
        case Activation::kTanh:
          return use.template run<ElmanTanh>();
        case Activation::kRelu:
          return use.template run<ElmanRelu>();
        case Activation::kSigmoid:
          return use.template run<ElmanSigmoid>();
        case Activation::kIdentity:
          return use.template run<ElmanIdentity>();
      }
  }
}

template <class T>
struct RunForward {
  const ForwardCall<T>& call;
  char* scratch;
  const Worker& worker;
  template <template <class> class CellOf>
  void run() const {
    Forward<T, CellOf>(call, scratch, worker).run();
  }
};

template <class T>
struct RunBackward {
  const BackwardCall<T>& call;
  char* scratch;
  const Worker& worker;
  template <template <class> class CellOf>
  void run() const {
    Backward<T, CellOf>(call, scratch, worker).run();
  }
};

template <class T>
struct CountBackward {
  const BackwardCall<T>& call;
  int size;
  int64_t& bytes;
  template <template <class> class CellOf>
  void run() const {
    bytes = Backward<T, CellOf>::scratch(call, size);
  }
};

template <class T>
void forward(const ForwardCall<T>& call, char* scratch, const Worker& worker) {
  with_cell<T>(call, RunForward<T>{call, scratch, worker});
}

template <class T>
void backward(const BackwardCall<T>& call, char* scratch, const Worker& worker) {
  with_cell<T>(call, RunBackward<T>{call, scratch, worker});
}

template <class T>
int64_t backward_scratch(const BackwardCall<T>& call, int size) {
  int64_t bytes = 0;
  with_cell<T>(call, CountBackward<T>{call, size, bytes});
  return bytes;
}

template <class T>
int64_t scan_scratch(const ScanCall<T>& call, int size) {
  return Scan<T>::scratch(call, size);
}

template <class T>
void scan(const ScanCall<T>& call, char* scratch, const Worker& worker) {
  Scan<T>(call, scratch, worker).run();
}

template <class T, class Function>
void apply(const T* x, T* y, int64_t n, Function function) {
  for (int64_t i = 0; i < n; i += Simd<T>::lanes) store(y + i, function(load(x + i, n - i)), n - i);
}

template <class T>
void apply_exp(const T* x, T* y, int64_t n) {
  apply(x, y, n, [](Vector<T> v) __attribute__((always_inline)) { return exp<T>(v); });
}

template <class T>
void apply_sigmoid(const T* x, T* y, int64_t n) {
  apply(x, y, n, [](Vector<T> v) __attribute__((always_inline)) { return sigmoid<T>(v); });
}

template <class T>
void apply_tanh(const T* x, T* y, int64_t n) {
  apply(x, y, n, [](Vector<T> v) __attribute__((always_inline)) { return tanh<T>(v); });
}

template <class T>
constexpr Kernels<T> kernels() {
  return {
      packed_size<T>, pack<T>,         linear<T>, forward_scratch<T>, forward<T>,       backward_scratch<T>,
      backward<T>,    scan_scratch<T>, scan<T>,   apply_exp<T>,       apply_sigmoid<T>, apply_tanh<T>};
}

#define RECURRA_TEXT_(name) #name
#define RECURRA_TEXT(name) RECURRA_TEXT_(name)
extern const KernelTable table = {RECURRA_TEXT(RECURRA_ISA), kernels<float>(), kernels<double>()};

}  // namespace recurra::RECURRA_ISA
