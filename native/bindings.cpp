// What Python sees: the only file that knows it. Every array is checked here, by name, so that no call from
// Python can read or write outside one; arrays are never converted or copied, and the caller gives the
// results' memory.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "calls.h"
#include "checker.h"
#include "dispatch.h"
#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace recurra {
namespace {

// The arguments that forward and backward share, checked and put where the kernels look for them.
template <class T>
class Common {
 public:
  Common(const Checker& check, Call<T>& call, int cell, int activation, bool reverse, const Array<const T>& x,
         const Maybe<const int64_t>& tokens, const Maybe<const T>& weight_in, const Array<const T>& h,
         const Maybe<const T>& c, const Array<const T>& weight, const Maybe<const T>& peepholes,
         const Maybe<const T>& projection, const Maybe<const bool>& resets, const Maybe<const T>& mask,
         const std::vector<int64_t>& outputs, int threads)
      : check_(check), call_(call) {
    check.threads(threads);
    if (cell < 0 || cell > 3)
      check.fail("cell is " + std::to_string(cell) +
                 "; expected 0 (Elman), 1 (GRU), 2 (GRU, reset before) or 3 (LSTM)");
    if (activation < 0 || activation > 3) {
      check.fail("activation is " + std::to_string(activation) +
                 "; expected 0 (tanh), 1 (relu), 2 (sigmoid) or 3 (identity)");
    }
    call.cell = static_cast<Cell>(cell);
    call.activation = static_cast<Activation>(activation);
    call.reverse = reverse;
    call.steps = outputs[0], call.batch = outputs[1];
    const std::vector<int64_t> shape = check.shape("weight", weight, 2);
    call.units = shape[0] / gates(), call.width = shape[1];
    if (shape[0] % gates() != 0 || (!projection && call.units != call.width)) {
      check.fail("weight has shape " + text(shape) + "; expected (" + std::to_string(gates()) +
                 "H, H), or P instead of the last H with a projection");
    }
    if (outputs[2] != call.width)
      check.fail("outputs has shape " + text(outputs) + "; expected (T, B, " + std::to_string(call.width) +
                 ")");
    call.weight = weight.data();
    call.projection = check.data("projection", projection, {{"P", call.width}, {"H", call.units}});
    call.peepholes = check.data("peepholes", peepholes, {{"3", 3}, {"H", call.units}});
    if (call.cell != Cell::kLstm && (call.projection || call.peepholes))
      check.fail("only an LSTM has peepholes and a projection");
    if (call.projection && call.units == 0) check.fail("there are no units for the projection");
    inputs(x, tokens, weight_in);
    call.h = state("h", h, call.width);
    call.c = state("c", c, call.units);
    need(call.cell == Cell::kLstm, call.c, "c");
    // As bytes: a bool array may hold other values than 0 and 1.
    call.resets = reinterpret_cast<const uint8_t*>(
        check.data("resets", resets, {{"T", call.steps}, {"B", call.batch}}));
    call.mask = state("mask", mask, call.width);
  }

  int64_t gates() const { return gate_count(call_.cell); }

  void need(bool needed, bool given, const char* name) const {
    if (needed && !given) check_.fail(std::string(name) + " is missing");
  }

  template <class A>
  auto state(const char* name, const A& array, int64_t width) const {
    return check_.data(name, array, {{"B", call_.batch}, {"width", width}});
  }

  template <class A>
  auto sequence(const char* name, const A& array, int64_t width) const {
    return check_.data(name, array, {{"T", call_.steps}, {"B", call_.batch}, {"width", width}});
  }

  // A vector of some blocks of H.
  template <class A>
  auto vector(const char* name, const A& array, int64_t blocks) const {
    return check_.data(name, array, {{blocks == 1 ? "H" : "GH", blocks * call_.units}});
  }

  // The bias inside the reset, or its gradient.
  template <class A>
  auto inside_reset(const char* name, const A& array) const {
    if (array && call_.cell != Cell::kGru && call_.cell != Cell::kGruResetBefore)
      check_.fail("only a GRU has a " + std::string(name));
    return vector(name, array, 1);
  }

 private:
  void inputs(const Array<const T>& x, const Maybe<const int64_t>& tokens, const Maybe<const T>& weight_in) {
    const Dimension steps{"T", call_.steps}, batch{"B", call_.batch};
    call_.tokens = check_.data("tokens", tokens, {steps, batch});
    const std::vector<int64_t> shape = check_.shape("x", x, tokens ? 2 : 3);
    const int64_t sums = gates() * call_.units;
    call_.inputs = shape.back();
    call_.symbols = tokens ? shape[0] : 0;
    call_.weight_in = check_.data("weight_in", weight_in, {{"GH", sums}, {"I", call_.inputs}});
    const Dimension last = weight_in ? Dimension{"I", call_.inputs} : Dimension{"GH", sums};
    call_.x = tokens ? check_.data("x", x, {{"V", call_.symbols}, last})
                     : check_.data("x", x, {steps, batch, last});
    for (int64_t i = 0; tokens && i < call_.steps * call_.batch; ++i) {
      if (call_.tokens[i] >= 0 && call_.tokens[i] < call_.symbols) continue;
      check_.fail("a token is " + std::to_string(call_.tokens[i]) +
                  "; expected 0 to V-1=" + std::to_string(call_.symbols - 1));
    }
  }

  const Checker& check_;
  Call<T>& call_;
};

template <class T>
void forward_function(int cell, int activation, bool reverse, const Array<const T>& x,
                      const Maybe<const int64_t>& tokens, const Maybe<const T>& weight_in,
                      const Maybe<const T>& bias_in, const Array<const T>& h, const Maybe<const T>& c,
                      const Array<const T>& weight, const Maybe<const T>& bias,
                      const Maybe<const T>& peepholes, const Maybe<const T>& projection,
                      const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
                      const Maybe<const T>& mask, const Array<T>& outputs, const Array<T>& h_last,
                      const Maybe<T>& c_last, const Maybe<T>& gates, const Maybe<T>& cells, int threads) {
  ForwardCall<T> call{};
  const Checker check("forward");
  const Common<T> common(check, call, cell, activation, reverse, x, tokens, weight_in, h, c, weight,
                         peepholes, projection, resets, mask, check.shape("outputs", outputs, 3), threads);
  call.bias_in = common.vector("bias_in", bias_in, common.gates());
  call.bias = common.inside_reset("bias", bias);
  call.outputs = outputs.data();
  call.h_last = common.state("h_last", h_last, call.width);
  call.c_last = common.state("c_last", c_last, call.units);
  common.need(call.cell == Cell::kLstm, call.c_last, "c_last");
  call.gates = common.sequence("gates", gates, saved_count(call.cell) * call.units);
  call.cells = common.sequence("cells", cells, call.units);
  const int64_t* steps = check.lengths(lengths, call.steps, call.batch);
  const nb::gil_scoped_release released;
  forward(call, steps, threads);
}

template <class T>
void backward_function(const Maybe<const T>& grad_outputs, const Maybe<const T>& grad_h_last,
                       const Maybe<const T>& grad_c_last, const Maybe<const T>& grad_cells, int cell,
                       int activation, bool reverse, const Array<const T>& x,
                       const Maybe<const int64_t>& tokens, const Maybe<const T>& weight_in,
                       const Array<const T>& h, const Maybe<const T>& c, const Array<const T>& weight,
                       const Maybe<const T>& peepholes, const Maybe<const T>& projection,
                       const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
                       const Maybe<const T>& mask, const Array<const T>& outputs, const Maybe<const T>& gates,
                       const Maybe<const T>& cells, const Maybe<T>& grad_x, const Array<T>& grad_h,
                       const Maybe<T>& grad_c, const Maybe<T>& grad_weight_in, const Maybe<T>& grad_bias_in,
                       const Array<T>& grad_weight, const Maybe<T>& grad_bias, const Maybe<T>& grad_peepholes,
                       const Maybe<T>& grad_projection, int threads) {
  BackwardCall<T> call{};
  const Checker check("backward");
  const Common<T> common(check, call, cell, activation, reverse, x, tokens, weight_in, h, c, weight,
                         peepholes, projection, resets, mask, check.shape("outputs", outputs, 3), threads);
  call.grad_outputs = common.sequence("grad_outputs", grad_outputs, call.width);
  call.grad_h_last = common.state("grad_h_last", grad_h_last, call.width);
  call.grad_c_last = common.state("grad_c_last", grad_c_last, call.units);
  call.grad_cells = common.sequence("grad_cells", grad_cells, call.units);
  call.outputs = outputs.data();
  call.gates = common.sequence("gates", gates, saved_count(call.cell) * call.units);
  call.cells = common.sequence("cells", cells, call.units);
  const Dimension last{"I", call.inputs};
  call.grad_x = tokens ? check.data("grad_x", grad_x, {{"V", call.symbols}, last})
                       : check.data("grad_x", grad_x, {{"T", call.steps}, {"B", call.batch}, last});
  call.grad_h = common.state("grad_h", grad_h, call.width);
  call.grad_c = common.state("grad_c", grad_c, call.units);
  const int64_t sums = common.gates() * call.units;
  call.grad_weight_in = check.data("grad_weight_in", grad_weight_in, {{"GH", sums}, {"I", call.inputs}});
  call.grad_bias_in = common.vector("grad_bias_in", grad_bias_in, common.gates());
  call.grad_weight = check.data("grad_weight", grad_weight, {{"GH", sums}, {"P", call.width}});
  call.grad_bias = common.inside_reset("grad_bias", grad_bias);
  call.grad_peepholes = check.data("grad_peepholes", grad_peepholes, {{"3", 3}, {"H", call.units}});
  call.grad_projection =
      check.data("grad_projection", grad_projection, {{"P", call.width}, {"H", call.units}});
  common.need(call.cell == Cell::kLstm, call.cells, "cells");
  common.need(call.cell == Cell::kLstm, call.grad_c, "grad_c");
  common.need(call.cell != Cell::kElman, call.gates, "gates");
  common.need(call.weight_in, call.grad_weight_in, "grad_weight_in");
  common.need(call.peepholes, call.grad_peepholes, "grad_peepholes");
  common.need(call.projection, call.grad_projection, "grad_projection");
  const int64_t* steps = check.lengths(lengths, call.steps, call.batch);
  const nb::gil_scoped_release released;
  backward(call, steps, threads);
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
  m.def("forward", &forward_function<T>, number("cell"), number("activation"), number("reverse"), array("x"),
        maybe("tokens"), maybe("weight_in"), maybe("bias_in"), array("h"), maybe("c"), array("weight"),
        maybe("bias"), maybe("peepholes"), maybe("projection"), maybe("lengths"), maybe("resets"),
        maybe("mask"), array("outputs"), array("h_last"), maybe("c_last"), maybe("gates"), maybe("cells"),
        number("threads"),
        "All steps of a layer. gates[T,B,saved*H]: Elman the sums before f; GRU r, z, n, q; LSTM i, f, g, o "
        "after\n"
        "their functions, with cells[T,B,H].");
  m.def("backward", &backward_function<T>, maybe("grad_outputs"), maybe("grad_h_last"), maybe("grad_c_last"),
        maybe("grad_cells"), number("cell"), number("activation"), number("reverse"), array("x"),
        maybe("tokens"), maybe("weight_in"), array("h"), maybe("c"), array("weight"), maybe("peepholes"),
        maybe("projection"), maybe("lengths"), maybe("resets"), maybe("mask"), array("outputs"),
        maybe("gates"), maybe("cells"), maybe("grad_x"), array("grad_h"), maybe("grad_c"),
        maybe("grad_weight_in"), maybe("grad_bias_in"), array("grad_weight"), maybe("grad_bias"),
        maybe("grad_peepholes"), maybe("grad_projection"), number("threads"),
        "Gradients of forward, all of them at once.");
  m.def(
      "likeliest",
      [](const Array<const T>& logits, int64_t count, const Array<int64_t>& classes,
         const Array<double>& probabilities) {
        const Checker check("likeliest");
        const std::vector<int64_t> shape = check.shape("logits", logits, 2);
        if (count < 0 || count > shape[1]) check.fail("count is " + std::to_string(count));
        int64_t* into = check.data("classes", classes, {{"B", shape[0]}, {"count", count}});
        double* shares = check.data("probabilities", probabilities, {{"B", shape[0]}, {"count", count}});
        for (int64_t b = 0; b < shape[0]; ++b)
          likeliest(logits.data() + b * shape[1], shape[1], count, into + b * count, shares + b * count);
      },
      array("logits"), number("count"), array("classes"), array("probabilities"),
      "The likeliest classes of each row of logits[B,V] and their probabilities, likeliest first.");
  m.def("exp", elementwise<T>("exp", &Kernels<T>::exp), array("x"), array("out"));
  m.def("sigmoid", elementwise<T>("sigmoid", &Kernels<T>::sigmoid), array("x"), array("out"));
  m.def("tanh", elementwise<T>("tanh", &Kernels<T>::tanh), array("x"), array("out"));
}

}  // namespace
}  // namespace recurra

NB_MODULE(_native, m) {
  m.doc() =
      "Recurrent kernels for the CPU: pure functions over whole sequences. Use recurra.kernels instead.";
  recurra::watch_forks();
  recurra::chosen_kernels();  // a wrong RECURRA_SIMD stops the import, not the first call
  recurra::define<float>(m);
  recurra::define<double>(m);
  recurra::define_networks(m);
  recurra::define_programs(m);
  recurra::define_sweeps(m);
  recurra::define_smoothing(m);
  m.def("simd", [] { return std::string(recurra::chosen_kernels().name); }, "The instruction set in use.");
  m.def("be_patient", &recurra::be_patient,
        "For tests: use threads even where other programs are in the way.");
  m.def(
      "thread_source", [] { return std::string(recurra::thread_source()); },
      "Who gives the threads: 'openmp' (the runtime that torch has loaded) or 'own'.");
  m.def("available_simd", &recurra::available_simd, "The instruction sets this processor runs, best first.");
  m.attr("__version__") = RECURRA_VERSION;
  m.attr("abi") = 2;  // raised when a function's arguments change; ABI in kernels/native.py says the same
  m.attr("compiler") = RECURRA_COMPILER;
  m.attr("sanitized") = static_cast<bool>(RECURRA_SANITIZED);
}
