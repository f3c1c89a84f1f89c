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
#include "dispatch.h"
#include "network.h"

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
  T* data(const char* name, const Array<T>& array, std::initializer_list<Dimension> expected) const {
    bool same = array.ndim() == expected.size();
    for (size_t i = 0; same && i < array.ndim(); ++i)
      same = static_cast<int64_t>(array.shape(i)) == expected.begin()[i].second;
    if (!same) wrong_shape(name, shape(name, array, expected.size()), expected);
    return array.data();
  }

  template <class T>
  T* data(const char* name, const Maybe<T>& array, std::initializer_list<Dimension> expected) const {
    if (!array) return nullptr;
    T* numbers = data(name, *array, expected);
    static std::remove_const_t<T> nothing;  // an array without numbers is there all the same
    return numbers ? numbers : &nothing;
  }

  void threads(int count) const {
    if (count < 1) fail("threads is " + std::to_string(count) + "; expected 1 or more");
  }

  // How many steps each row takes part in, or null.
  const int64_t* lengths(const Maybe<const int64_t>& given, int64_t steps, int64_t batch) const {
    const int64_t* values = data("lengths", given, {{"B", batch}});
    for (int64_t b = 0; values && b < batch; ++b) {
      if (values[b] < 0 || values[b] > steps) {
        fail("lengths[" + std::to_string(b) + "] is " + std::to_string(values[b]) +
             "; expected 0 to T=" + std::to_string(steps));
      }
    }
    return values;
  }

 private:
  [[noreturn]] void wrong_shape(const char* name, const std::vector<int64_t>& got,
                                std::initializer_list<Dimension> expected) const {
    std::string names;
    for (const auto& [axis, size] : expected)
      names += (names.empty() ? "" : ", ") + std::string(axis) + "=" + std::to_string(size);
    fail(std::string(name) + " has shape " + text(got) + "; expected (" + names + ")");
  }

  const char* function_;
};

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

template <class T>
void check_tokens(const Checker& check, const Network<T>& network, const int64_t* tokens, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (tokens[i] >= 0 && tokens[i] < network.symbols()) continue;
    check.fail("a token is " + std::to_string(tokens[i]) +
               "; expected 0 to V-1=" + std::to_string(network.symbols() - 1));
  }
}

// A network, and what it was made from: it must not be used once a weight is another.
template <class T>
struct Kept {
  std::shared_ptr<Network<T>> network = std::make_shared<Network<T>>();

  struct Sample {
    const T* where;
    T value;
  };
  std::vector<Array<const T>> sources;  // keeps their memory alive
  std::vector<Sample> samples;

  // Remembers some numbers of a weight, spread over it.
  void watch(const Array<const T>& array) {
    constexpr int64_t kSamples = 8;
    const int64_t n = static_cast<int64_t>(array.size()), step = std::max<int64_t>(1, n / kSamples);
    sources.push_back(array);
    for (int64_t i = 0; i < n; i += step) samples.push_back({array.data() + i, array.data()[i]});
  }
  bool unchanged() const {
    return std::all_of(samples.begin(), samples.end(), [](const Sample& s) {
      const T now = *s.where;  // compared as bits: a NaN is the same as itself
      return std::memcmp(&now, &s.value, sizeof(T)) == 0;
    });
  }

  const T* weight(const Checker& check, const char* name, const Maybe<const T>& array,
                  std::initializer_list<Dimension> shape) {
    if (array) watch(*array);
    return check.data(name, array, shape);
  }

  void add_layer(int cell, int activation, bool reverse, bool residual, const Array<const T>& weight_in,
                 const Maybe<const T>& bias_in, const Array<const T>& weight_state,
                 const Maybe<const T>& bias, const Maybe<const T>& peepholes,
                 const Maybe<const T>& projection) {
    const Checker check("add_layer");
    if (cell < 0 || cell > 3 || activation < 0 || activation > 3) check.fail("no such cell or activation");
    LayerWeights<T> w{};
    w.cell = static_cast<Cell>(cell), w.activation = static_cast<Activation>(activation);
    w.reverse = reverse, w.residual = residual;
    const int64_t gates = gate_count(w.cell);
    const std::vector<int64_t> shape = check.shape("weight", weight_state, 2);
    w.units = shape[0] / gates, w.width = shape[1];
    w.inputs = check.shape("weight_in", weight_in, 2)[1];
    const Dimension sums{"GH", gates * w.units};
    if (w.units * gates != shape[0] || (!projection && w.units != w.width))
      check.fail("weight has shape " + text(shape));
    if (network->has_layers() && network->width() != w.inputs) check.fail("the layers do not fit");
    if (residual && w.inputs != w.width) check.fail("a residual layer needs one width");
    w.weight_in = check.data("weight_in", weight_in, {sums, {"I", w.inputs}});
    w.weight = weight_state.data();
    w.bias_in = weight(check, "bias_in", bias_in, {sums});
    w.bias = weight(check, "bias", bias, {{"H", w.units}});
    w.peepholes = weight(check, "peepholes", peepholes, {{"3", 3}, {"H", w.units}});
    w.projection = weight(check, "projection", projection, {{"P", w.width}, {"H", w.units}});
    watch(weight_in), watch(weight_state);
    network->add_layer(w);
  }

  void set_symbols(const Array<const T>& table) {
    const Checker check("set_symbols");
    if (!network->has_layers()) check.fail("there is no layer yet");
    const int64_t symbols = check.shape("table", table, 2)[0];
    network->set_symbols(check.data("table", table, {{"V", symbols}, {"I", network->inputs()}}), symbols);
    watch(table);
  }

  void add_head(const Array<const T>& weight, const Maybe<const T>& bias) {
    const Checker check("add_head");
    if (!network->has_layers()) check.fail("there is no layer yet");
    const int64_t columns = check.shape("weight", weight, 2)[0];
    const int64_t depth = network->has_head() ? network->columns() : network->width();
    check.data("weight", weight, {{"V", columns}, {"width", depth}});
    watch(weight);
    network->add_head(weight.data(), this->weight(check, "bias", bias, {{"V", columns}}), columns);
  }

  // One array [B, ...] for each leaf of the state, in order.
  template <class A>
  auto leaves(const Checker& check, const char* name, const std::vector<A>& arrays, int64_t batch) const {
    const std::vector<int64_t>& widths = network->state();
    if (arrays.size() != widths.size()) check.fail(std::string(name) + " has another number of leaves");
    std::vector<decltype(check.data(name, arrays[0], {}))> pointers;
    for (size_t i = 0; i < arrays.size(); ++i)
      pointers.push_back(check.data(name, arrays[i], {{"B", batch}, {"width", widths[i]}}));
    return pointers;
  }

  // The heads after the last of tokens [T, B].
  void run_tokens(const Array<const int64_t>& tokens, const std::vector<Array<const T>>& states,
                  const Array<T>& outputs, const std::vector<Array<T>>& last, int threads) const {
    const Checker check("run_tokens");
    check.threads(threads);
    if (!network->symbols() || !network->has_head()) check.fail("it needs symbols and a head");
    const std::vector<int64_t> shape = check.shape("tokens", tokens, 2);
    const int64_t steps = shape[0], batch = shape[1], width = network->width();
    if (steps == 0 || batch == 0) check.fail("there are no tokens");
    check_tokens(check, *network, tokens.data(), steps * batch);
    T* into = check.data("outputs", outputs, {{"B", batch}, {"V", network->columns()}});
    const auto from = leaves(check, "states", states, batch);
    const auto to = leaves(check, "last", last, batch);
    std::vector<T> hidden(steps * batch * width);
    const nb::gil_scoped_release released;
    network->run(nullptr, tokens.data(), nullptr, nullptr, steps, batch, from.data(), to.data(),
                 hidden.data(), threads);
    network->head(hidden.data() + (steps - 1) * batch * width, batch, into, threads);
  }

  // False, and nothing is done, where a length is out of range.
  bool run(const Array<const T>& x, const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
           const std::vector<Array<const T>>& states, const Array<T>& outputs,
           const std::vector<Array<T>>& last, int threads) const {
    const Checker check("run");
    check.threads(threads);
    if (!network->has_layers()) check.fail("there is no layer");
    if (x.ndim() != 3) check.shape("x", x, 3);
    const int64_t steps = static_cast<int64_t>(x.shape(0)), batch = static_cast<int64_t>(x.shape(1));
    check.data("x", x, {{"T", steps}, {"B", batch}, {"I", network->inputs()}});
    const int64_t* ends = check.data("lengths", lengths, {{"B", batch}});
    for (int64_t b = 0; ends && b < batch; ++b)
      if (ends[b] < 0 || ends[b] > steps) return false;
    const auto* anew =
        reinterpret_cast<const uint8_t*>(check.data("resets", resets, {{"T", steps}, {"B", batch}}));
    T* into = check.data("outputs", outputs, {{"T", steps}, {"B", batch}, {"width", network->width()}});
    const auto from = leaves(check, "states", states, batch);
    const auto to = leaves(check, "last", last, batch);
    const nb::gil_scoped_release released;
    if (batch > 0)
      network->run(x.data(), nullptr, ends, anew, steps, batch, from.data(), to.data(), into, threads);
    return true;
  }
};

template <class T>
nb::list pairs_of(const T* logits, int64_t n, int64_t count) {
  count = std::min(count, n);
  std::vector<int64_t> classes(count);
  std::vector<double> probabilities(count);
  likeliest(logits, n, count, classes.data(), probabilities.data());
  nb::list result;
  for (int64_t i = 0; i < count; ++i) result.append(nb::make_tuple(classes[i], probabilities[i]));
  return result;
}

template <class T>
void define_network(nb::module_& m, const std::string& suffix) {
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  nb::class_<Kept<T>>(m, ("Network" + suffix).c_str(), "Layers whose weights are kept packed; for inference.")
      .def(nb::init<>())
      .def("add_layer", &Kept<T>::add_layer, nb::arg("cell"), nb::arg("activation"), nb::arg("reverse"),
           nb::arg("residual"), array("weight_in"), maybe("bias_in"), array("weight"), maybe("bias"),
           maybe("peepholes"), maybe("projection"))
      .def("set_symbols", &Kept<T>::set_symbols, array("table"),
           "From here on tokens may choose lines of the table.")
      .def("add_head", &Kept<T>::add_head, array("weight"), maybe("bias"),
           "A product more after the last layer.")
      .def("unchanged", &Kept<T>::unchanged, "Whether some numbers of each weight are still what they were.")
      .def("run", &Kept<T>::run, array("x"), maybe("lengths"), maybe("resets"), nb::arg("states"),
           array("outputs"), nb::arg("last"), nb::arg("threads"),
           "outputs[T,B,width] and the last states from x[T,B,I]; one array for each leaf of the state.")
      .def("run_tokens", &Kept<T>::run_tokens, array("tokens"), nb::arg("states"), array("outputs"),
           nb::arg("last"), nb::arg("threads"),
           "The heads' outputs[B,V] after the last of tokens[T,B], and the last states.");

  using S = Stepper<T>;
  nb::class_<S>(m, ("Stepper" + suffix).c_str(), "One sequence read token by token; it holds its state.")
      .def("__init__",
           [](S* self, const Kept<T>& kept) {
             const Checker check("Stepper");
             if (!kept.network->symbols() || !kept.network->has_head())
               check.fail("it needs symbols and a head");
             if (kept.network->state().size() > 64) check.fail("too many layers");
             new (self) S(kept.network);
           })
      .def("push_one",
           [](S& self, int64_t token, int threads) {
             check_tokens(Checker("push_one"), self.network(), &token, 1);
             self.push(&token, 1, threads);
           })
      .def("push",
           [](S& self, const std::vector<int64_t>& tokens, int threads) {
             check_tokens(Checker("push"), self.network(), tokens.data(),
                          static_cast<int64_t>(tokens.size()));
             self.push(tokens.data(), static_cast<int64_t>(tokens.size()), threads);
           })
      .def(
          "likeliest",
          [](const S& self, int64_t count) {
            return pairs_of(self.outputs().data(), static_cast<int64_t>(self.outputs().size()), count);
          },
          "The likeliest (class, probability) after the last token.")
      .def("read_outputs",
           [](const S& self, const Array<T>& out) {
             const int64_t n = static_cast<int64_t>(self.outputs().size());
             std::copy_n(self.outputs().data(), n, Checker("read_outputs").data("out", out, {{"V", n}}));
           })
      .def("read_state",
           [](S& self, const std::vector<Array<T>>& into) {
             const auto& widths = self.network().state();
             if (into.size() != widths.size()) Checker("read_state").fail("another number of leaves");
             for (size_t i = 0; i < into.size(); ++i)
               std::copy_n(self.leaf(i), widths[i],
                           Checker("read_state").data("into", into[i], {{"B", 1}, {"width", widths[i]}}));
           })
      .def("write_state", [](S& self, const std::vector<Array<const T>>& from) {
        const auto& widths = self.network().state();
        if (from.size() != widths.size()) Checker("write_state").fail("another number of leaves");
        for (size_t i = 0; i < from.size(); ++i)
          std::copy_n(Checker("write_state").data("from", from[i], {{"B", 1}, {"width", widths[i]}}),
                      widths[i], self.leaf(i));
      });
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
  recurra::chosen_kernels();  // a wrong RECURRA_SIMD stops the import, not the first call
  recurra::define<float>(m);
  recurra::define<double>(m);
  recurra::define_network<float>(m, "32");
  recurra::define_network<double>(m, "64");
  m.def("simd", [] { return std::string(recurra::chosen_kernels().name); }, "The instruction set in use.");
  m.def("be_patient", &recurra::be_patient,
        "For tests: use threads even where other programs are in the way.");
  m.def(
      "thread_source", [] { return std::string(recurra::thread_source()); },
      "Who gives the threads: 'openmp' (the runtime that torch has loaded) or 'own'.");
  m.def("available_simd", &recurra::available_simd, "The instruction sets this processor runs, best first.");
  m.attr("__version__") = RECURRA_VERSION;
  m.attr("abi") = 2;  // raised when a function's arguments change
  m.attr("compiler") = RECURRA_COMPILER;
  m.attr("sanitized") = static_cast<bool>(RECURRA_SANITIZED);
}
