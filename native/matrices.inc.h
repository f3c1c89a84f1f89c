// Fills the table of the mLSTM for one instruction set. Included by matrices_<set>.cpp, each with its own
// compiler flags and its own RECURRA_ISA.
#include "sweep_cells.h"
#include "sweep_matrix.h"

namespace recurra::RECURRA_ISA {

template <class T>
void matrix_forward(const SweepForwardCall<T>& call, char* scratch, const Worker& worker) {
  MatrixForward<T>(call, scratch, worker).run();
}

template <class T>
void matrix_backward(const SweepBackwardCall<T>& call, char* scratch, const Worker& worker) {
  MatrixBackward<T>(call, scratch, worker).run();
}

template <class T>
constexpr SweepKernels<T> matrix_kernels() {
  return {MatrixForward<T>::scratch, matrix_forward<T>, MatrixBackward<T>::scratch, matrix_backward<T>};
}

extern const SweepTable matrices = {matrix_kernels<float>(), matrix_kernels<double>()};

}  // namespace recurra::RECURRA_ISA
