// What Python sees: the only file that knows it. Every array is checked here, by name, so that no call from
// Python can read or write outside one; arrays are never converted or copied, and the caller gives the
// results' memory.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calls.h"
#include "dispatch.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace recurra {
namespace {

template <class T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
template <class T>
using Maybe = std::optional<Array<T>>;

using Dimension = std::pair<const char*, int64_t>;

std::string text(const std::vector<int64_t>& shape) {
  std::string result = "(";
  for (size_t i = 0; i < shape.size(); ++i) result += (i ? ", " : "") + std::to_string(shape[i]);
  return result + ")";
}

// Raises ValueError for one function's arrays.
class Checker {
 public:
  explicit Checker(const char* function) : function_(function) {}

  [[noreturn]] void fail(const std::string& problem) const {
    throw nb::value_error((std::string(function_) + ": " + problem).c_str());
  }

  template <class T>
  std::vector<int64_t> shape(const char* name, const Array<T>& array, size_t axes) const {
    std::vector<int64_t> result;
    for (size_t i = 0; i < array.ndim(); ++i) result.push_back(static_cast<int64_t>(array.shape(i)));
    if (result.size() != axes) {
      fail(std::string(name) + " has shape " + text(result) + "; expected " + std::to_string(axes) + " axes");
    }
    return result;
  }

  // The numbers of an array, whose shape must be this one.
  template <class T>
  T* data(const char* name, const Array<T>& array, const std::vector<Dimension>& expected) const {
    const std::vector<int64_t> got = shape(name, array, expected.size());
    std::vector<int64_t> wanted;
    std::string names;
    for (const auto& [axis, size] : expected) {
      wanted.push_back(size);
      names += (names.empty() ? "" : ", ") + std::string(axis) + "=" + std::to_string(size);
    }
    if (got != wanted) fail(std::string(name) + " has shape " + text(got) + "; expected (" + names + ")");
    return array.data();
  }

  template <class T>
  T* data(const char* name, const Maybe<T>& array, const std::vector<Dimension>& expected) const {
    return array ? data(name, *array, expected) : nullptr;
  }

  void threads(int count) const {
    if (count < 1) fail("threads is " + std::to_string(count) + "; expected 1 or more");
  }

  // How many steps each row takes part in: all where no lengths are given.
  std::vector<int64_t> lengths(const Maybe<const int64_t>& given, int64_t steps, int64_t batch) const {
    const int64_t* values = data("lengths", given, {{"B", batch}});
    std::vector<int64_t> result(static_cast<size_t>(batch), steps);
    for (int64_t b = 0; values && b < batch; ++b) {
      result[b] = values[b];
      if (result[b] < 0 || result[b] > steps) {
        fail("lengths[" + std::to_string(b) + "] is " + std::to_string(result[b]) +
             "; expected 0 to T=" + std::to_string(steps));
      }
    }
    return result;
  }

 private:
  const char* function_;
};

// The arguments that all recurrent functions share.
template <class T>
struct Common {
  Checker check;
  int64_t steps, batch, units, gates;
  std::vector<int64_t> lengths;

  // Axes T, B and H come from `array`, which holds `blocks` blocks of H.
  template <class U>
  Common(const char* function, Call<T>& call, Cell cell, const char* name, const Array<U>& array,
         int64_t blocks, const Array<const T>& weight, const Maybe<const int64_t>& given_lengths,
         const Maybe<const bool>& resets, const Maybe<const T>& mask, bool reverse, int threads)
      : check(function), gates(gate_count(cell)) {
    const std::vector<int64_t> shape = check.shape(name, array, 3);
    steps = shape[0], batch = shape[1], units = shape[2] / blocks;
    if (shape[2] % blocks != 0) {
      check.fail(std::string(name) + " has shape " + text(shape) + "; expected the last axis to be " +
                 std::to_string(blocks) + " times the units");
    }
    check.threads(threads);
    check.data("weight", weight,
               {{gates == 1   ? "H"
                 : gates == 3 ? "3H"
                              : "4H",
                 gates * units},
                {"H", units}});
    lengths = check.lengths(given_lengths, steps, batch);
    call.cell = cell;
    call.reverse = reverse;
    call.steps = steps, call.batch = batch, call.units = units;
    // As bytes: a bool array may hold other values than 0 and 1.
    call.resets =
        reinterpret_cast<const uint8_t*>(check.data("resets", resets, {{"T", steps}, {"B", batch}}));
    call.mask = state("mask", mask);
  }

  template <class A>
  auto state(const char* name, const A& array) const {
    return check.data(name, array, {{"B", batch}, {"H", units}});
  }

  template <class A>
  auto sequence(const char* name, const A& array, int64_t blocks = 1) const {
    static const char* const names[] = {"", "H", "2H", "3H", "4H"};
    return check.data(name, array, {{"T", steps}, {"B", batch}, {names[blocks], blocks * units}});
  }
};

Activation activation_of(const Checker& check, int activation) {
  if (activation < 0 || activation > 3) {
    check.fail("activation is " + std::to_string(activation) +
               "; expected 0 (tanh), 1 (relu), 2 (sigmoid) or 3 (identity)");
  }
  return static_cast<Activation>(activation);
}

template <class T>
void linear_function(const Array<const T>& x, const Array<const T>& weight, const Maybe<const T>& bias,
                     const Array<T>& out, int threads) {
  const Checker check("linear");
  check.threads(threads);
  const std::vector<int64_t> shape = check.shape("x", x, 2), weights = check.shape("weight", weight, 2);
  const int64_t rows = shape[0], depth = shape[1], columns = weights[0];
  check.data("weight", weight, {{"M", columns}, {"K", depth}});
  const T* bias_data = check.data("bias", bias, {{"M", columns}});
  T* out_data = check.data("out", out, {{"N", rows}, {"M", columns}});
  const nb::gil_scoped_release released;
  linear<T>(x.data(), rows, depth, weight.data(), columns, bias_data, out_data, threads);
}

template <class T>
void elman_forward(const Array<const T>& x, const Array<const T>& h, const Array<const T>& weight,
                   const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
                   const Maybe<const T>& mask, int activation, bool reverse, const Array<T>& outputs,
                   const Array<T>& h_last, const Maybe<T>& gates, int threads) {
  ForwardCall<T> call{};
  const Common<T> common("elman_forward", call, Cell::kElman, "x", x, 1, weight, lengths, resets, mask,
                         reverse, threads);
  call.activation = activation_of(common.check, activation);
  call.x = x.data();
  call.h = common.state("h", h);
  call.outputs = common.sequence("outputs", outputs);
  call.h_last = common.state("h_last", h_last);
  call.gates = common.sequence("gates", gates);
  const nb::gil_scoped_release released;
  forward(call, weight.data(), common.lengths, threads);
}

template <class T>
void elman_backward(const Maybe<const T>& grad_outputs, const Maybe<const T>& grad_h_last,
                    const Array<const T>& weight, const Maybe<const int64_t>& lengths,
                    const Maybe<const bool>& resets, const Maybe<const T>& mask, int activation, bool reverse,
                    const Array<const T>& outputs, const Maybe<const T>& gates, const Array<T>& grad_x,
                    const Array<T>& grad_h, int threads) {
  BackwardCall<T> call{};
  const Common<T> common("elman_backward", call, Cell::kElman, "outputs", outputs, 1, weight, lengths, resets,
                         mask, reverse, threads);
  call.activation = activation_of(common.check, activation);
  call.grad_outputs = common.sequence("grad_outputs", grad_outputs);
  call.grad_h_last = common.state("grad_h_last", grad_h_last);
  call.outputs = outputs.data();
  call.gates = common.sequence("gates", gates);
  call.grad_x = common.sequence("grad_x", grad_x);
  call.grad_h = common.state("grad_h", grad_h);
  const nb::gil_scoped_release released;
  backward(call, weight.data(), common.lengths, threads);
}

template <class T>
void gru_forward(const Array<const T>& x, const Array<const T>& h, const Array<const T>& weight,
                 const Maybe<const T>& bias, const Maybe<const int64_t>& lengths,
                 const Maybe<const bool>& resets, const Maybe<const T>& mask, bool reset_after, bool reverse,
                 const Array<T>& outputs, const Array<T>& h_last, const Maybe<T>& gates, int threads) {
  ForwardCall<T> call{};
  const Common<T> common("gru_forward", call, reset_after ? Cell::kGru : Cell::kGruResetBefore, "x", x, 3,
                         weight, lengths, resets, mask, reverse, threads);
  call.x = x.data();
  call.h = common.state("h", h);
  call.bias = common.check.data("bias", bias, {{"H", common.units}});
  call.outputs = common.sequence("outputs", outputs);
  call.h_last = common.state("h_last", h_last);
  call.gates = common.sequence("gates", gates, 4);
  const nb::gil_scoped_release released;
  forward(call, weight.data(), common.lengths, threads);
}

template <class T>
void gru_backward(const Maybe<const T>& grad_outputs, const Maybe<const T>& grad_h_last,
                  const Array<const T>& weight, const Array<const T>& h, const Maybe<const int64_t>& lengths,
                  const Maybe<const bool>& resets, const Maybe<const T>& mask, bool reset_after, bool reverse,
                  const Array<const T>& outputs, const Array<const T>& gates, const Array<T>& grad_x,
                  const Array<T>& grad_q, const Array<T>& grad_h, int threads) {
  BackwardCall<T> call{};
  const Common<T> common("gru_backward", call, reset_after ? Cell::kGru : Cell::kGruResetBefore, "outputs",
                         outputs, 1, weight, lengths, resets, mask, reverse, threads);
  call.grad_outputs = common.sequence("grad_outputs", grad_outputs);
  call.grad_h_last = common.state("grad_h_last", grad_h_last);
  call.h = common.state("h", h);
  call.outputs = outputs.data();
  call.gates = common.sequence("gates", gates, 4);
  call.grad_x = common.sequence("grad_x", grad_x, 3);
  call.grad_q = common.sequence("grad_q", grad_q);
  call.grad_h = common.state("grad_h", grad_h);
  const nb::gil_scoped_release released;
  backward(call, weight.data(), common.lengths, threads);
}

template <class T>
void lstm_forward(const Array<const T>& x, const Array<const T>& h, const Array<const T>& c,
                  const Array<const T>& weight, const Maybe<const int64_t>& lengths,
                  const Maybe<const bool>& resets, const Maybe<const T>& mask, bool reverse,
                  const Array<T>& outputs, const Array<T>& h_last, const Array<T>& c_last,
                  const Maybe<T>& gates, const Maybe<T>& cells, int threads) {
  ForwardCall<T> call{};
  const Common<T> common("lstm_forward", call, Cell::kLstm, "x", x, 4, weight, lengths, resets, mask, reverse,
                         threads);
  call.x = x.data();
  call.h = common.state("h", h);
  call.c = common.state("c", c);
  call.outputs = common.sequence("outputs", outputs);
  call.h_last = common.state("h_last", h_last);
  call.c_last = common.state("c_last", c_last);
  call.gates = common.sequence("gates", gates, 4);
  call.cells = common.sequence("cells", cells);
  const nb::gil_scoped_release released;
  forward(call, weight.data(), common.lengths, threads);
}

template <class T>
void lstm_backward(const Maybe<const T>& grad_outputs, const Maybe<const T>& grad_h_last,
                   const Maybe<const T>& grad_c_last, const Maybe<const T>& grad_cells,
                   const Array<const T>& weight, const Array<const T>& c, const Maybe<const int64_t>& lengths,
                   const Maybe<const bool>& resets, const Maybe<const T>& mask, bool reverse,
                   const Array<const T>& gates, const Array<const T>& cells, const Array<T>& grad_x,
                   const Array<T>& grad_h, const Array<T>& grad_c, int threads) {
  BackwardCall<T> call{};
  const Common<T> common("lstm_backward", call, Cell::kLstm, "cells", cells, 1, weight, lengths, resets, mask,
                         reverse, threads);
  call.grad_outputs = common.sequence("grad_outputs", grad_outputs);
  call.grad_h_last = common.state("grad_h_last", grad_h_last);
  call.grad_c_last = common.state("grad_c_last", grad_c_last);
  call.grad_cells = common.sequence("grad_cells", grad_cells);
  call.c = common.state("c", c);
  call.gates = common.sequence("gates", gates, 4);
  call.cells = cells.data();
  call.grad_x = common.sequence("grad_x", grad_x, 4);
  call.grad_h = common.state("grad_h", grad_h);
  call.grad_c = common.state("grad_c", grad_c);
  const nb::gil_scoped_release released;
  backward(call, weight.data(), common.lengths, threads);
}

template <class T>
auto elementwise(const char* name, void (*Kernels<T>::*function)(const T*, T*, int64_t)) {
  return [name, function](const Array<const T>& x, const Array<T>& out) {
    const Checker check(name);
    const int64_t n = check.shape("x", x, 1)[0];
    (chosen_kernels().of<T>().*function)(x.data(), check.data("out", out, {{"N", n}}), n);
  };
}

// One overload of every function for one number type.
template <class T>
void define(nb::module_& m) {
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  const auto number = [](const char* name) { return nb::arg(name); };

  m.def("linear", &linear_function<T>, array("x"), array("weight"), maybe("bias"), array("out"),
        number("threads"), "out[N,M] = x[N,K] weight[M,K]^T + bias[M], each sum in one fixed order.");
  m.def("elman_forward", &elman_forward<T>, array("x"), array("h"), array("weight"), maybe("lengths"),
        maybe("resets"), maybe("mask"), number("activation"), number("reverse"), array("outputs"),
        array("h_last"), maybe("gates"), number("threads"),
        "All steps of an Elman cell; gates[T,B,H] are the sums before f.");
  m.def("elman_backward", &elman_backward<T>, maybe("grad_outputs"), maybe("grad_h_last"), array("weight"),
        maybe("lengths"), maybe("resets"), maybe("mask"), number("activation"), number("reverse"),
        array("outputs"), maybe("gates"), array("grad_x"), array("grad_h"), number("threads"),
        "Gradients of elman_forward: grad_x[T,B,H] for the sums, grad_h[B,H] for the given state.");
  m.def("gru_forward", &gru_forward<T>, array("x"), array("h"), array("weight"), maybe("bias"),
        maybe("lengths"), maybe("resets"), maybe("mask"), number("reset_after"), number("reverse"),
        array("outputs"), array("h_last"), maybe("gates"), number("threads"),
        "All steps of a GRU; gates[T,B,4H] are r, z, n, q.");
  m.def("gru_backward", &gru_backward<T>, maybe("grad_outputs"), maybe("grad_h_last"), array("weight"),
        array("h"), maybe("lengths"), maybe("resets"), maybe("mask"), number("reset_after"),
        number("reverse"), array("outputs"), array("gates"), array("grad_x"), array("grad_q"),
        array("grad_h"), number("threads"),
        "Gradients of gru_forward: grad_x[T,B,3H], grad_q[T,B,H] for the candidate's product, grad_h[B,H].");
  m.def("lstm_forward", &lstm_forward<T>, array("x"), array("h"), array("c"), array("weight"),
        maybe("lengths"), maybe("resets"), maybe("mask"), number("reverse"), array("outputs"),
        array("h_last"), array("c_last"), maybe("gates"), maybe("cells"), number("threads"),
        "All steps of an LSTM; gates[T,B,4H] are i, f, g, o after their functions, cells[T,B,H] are c.");
  m.def("lstm_backward", &lstm_backward<T>, maybe("grad_outputs"), maybe("grad_h_last"), maybe("grad_c_last"),
        maybe("grad_cells"), array("weight"), array("c"), maybe("lengths"), maybe("resets"), maybe("mask"),
        number("reverse"), array("gates"), array("cells"), array("grad_x"), array("grad_h"), array("grad_c"),
        number("threads"), "Gradients of lstm_forward: grad_x[T,B,4H], grad_h[B,H], grad_c[B,H].");
  m.def("exp", elementwise<T>("exp", &Kernels<T>::exp), array("x"), array("out"));
  m.def("sigmoid", elementwise<T>("sigmoid", &Kernels<T>::sigmoid), array("x"), array("out"));
  m.def("tanh", elementwise<T>("tanh", &Kernels<T>::tanh), array("x"), array("out"));
}

}  // namespace
}  // namespace recurra

NB_MODULE(_native, m) {
  m.doc() =
      "Recurrent kernels for the CPU: pure functions over whole sequences. Use recurra.kernels instead.";
  recurra::chosen_kernels();  // a wrong RECURRA_SIMD stops the import, not the first call
  recurra::define<float>(m);
  recurra::define<double>(m);
  m.def("simd", [] { return std::string(recurra::chosen_kernels().name); }, "The instruction set in use.");
  m.def("available_simd", &recurra::available_simd, "The instruction sets this processor runs, best first.");
  m.attr("__version__") = RECURRA_VERSION;
  m.attr("abi") = 1;  // raised when a function's arguments change
  m.attr("compiler") = RECURRA_COMPILER;
  m.attr("sanitized") = static_cast<bool>(RECURRA_SANITIZED);
}
