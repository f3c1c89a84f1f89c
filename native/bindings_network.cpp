// What Python sees of network.h. Beside bindings.cpp the only file that knows Python.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "checker.h"
#include "network.h"
#include "sweep_checker.h"

namespace recurra {

using namespace nb::literals;

namespace {

using Any = nb::ndarray<nb::ro>;

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
                 const Maybe<const T>& projection, const Maybe<const T>& bias_state) {
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
    if (network->has_layers() && network->inputs_of_next() != w.inputs) check.fail("the layers do not fit");
    if (residual && w.inputs != w.width) check.fail("a residual layer needs one width");
    w.weight_in = check.data("weight_in", weight_in, {sums, {"I", w.inputs}});
    w.weight = weight_state.data();
    w.bias_in = weight(check, "bias_in", bias_in, {sums});
    w.bias = weight(check, "bias", bias, {{"H", w.units}});
    w.peepholes = weight(check, "peepholes", peepholes, {{"3", 3}, {"H", w.units}});
    w.projection = weight(check, "projection", projection, {{"P", w.width}, {"H", w.units}});
    // torch has a second bias; it is added to the first, but where a GRU's candidate keeps it apart
    std::vector<T> folded;
    if (const T* second = weight(check, "bias_state", bias_state, {sums})) {
      if (bias) check.fail("bias and bias_state exclude each other");
      folded.assign(second, second + sums.second);
      for (int64_t i = 0; w.bias_in && i < sums.second; ++i) folded[i] += w.bias_in[i];
      if (gates == 3) {
        w.bias = second + 2 * w.units;
        for (int64_t i = 2 * w.units; i < sums.second; ++i) folded[i] = w.bias_in ? w.bias_in[i] : T(0);
      }
      w.bias_in = folded.data();
    }
    watch(weight_in), watch(weight_state);
    network->add_layer(w);
  }

  void add_sweep(int cell, int activation, bool reverse, bool residual, int64_t inputs, int64_t units,
                 int64_t block, const std::vector<Maybe<const T>>& parameters, const Maybe<const T>& readout,
                 const Maybe<const T>& skip) {
    const Checker check("add_sweep");
    if (activation != static_cast<int>(Activation::kIdentity) &&
        activation != static_cast<int>(Activation::kRelu))
      check.fail("the activation is neither identity nor relu");
    SweepCall<T> call{};
    call.inputs = inputs, call.units = units, call.block = block;
    if (block < 0 || (block && units % block)) check.fail("the heads do not fit the units");
    if ((block > 0) != (cell == static_cast<int>(SweepCell::kMlstm))) check.fail("only an mLSTM has heads");
    check_sweep(check, call, cell, parameters);
    SweepWeights<T> w{};
    w.cell = call.cell, w.reverse = reverse, w.residual = residual;
    w.inputs = inputs, w.units = units, w.block = call.block;
    w.width = readout ? check.shape("readout", *readout, 2)[0] : call.width();
    w.parameters = call.parameters, w.activation = static_cast<Activation>(activation);
    w.readout = weight(check, "readout", readout, {{"width", w.width}, {"depth", call.width()}});
    w.skip = weight(check, "skip", skip, {{"width", w.width}});
    if (w.skip && (!w.readout || inputs != w.width)) check.fail("skip needs a readout as wide as the inputs");
    if (network->has_layers() && network->inputs_of_next() != inputs) check.fail("the layers do not fit");
    if (residual && inputs != w.width) check.fail("a residual layer needs one width");
    for (const Maybe<const T>& array : parameters)
      if (array) watch(*array);
    network->add_sweep(w);
  }

  void set_symbols(const Array<const T>& table) {
    const Checker check("set_symbols");
    if (!network->has_layers()) check.fail("there is no layer yet");
    if (network->paired()) check.fail("layers in pairs take no tokens");
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

  // What `run` and `run_beside` are given, checked: false where a length is out of range.
  struct Given {
    int64_t steps, batch;
    const int64_t* lengths;
    const uint8_t* resets;
    bool in_range = true;
  };
  Given given(const Checker& check, const Array<const T>& x, const Maybe<const int64_t>& lengths,
              const Maybe<const bool>& resets, int threads) const {
    check.threads(threads);
    if (!network->has_layers()) check.fail("there is no layer");
    if (x.ndim() != 3) check.shape("x", x, 3);
    Given g{static_cast<int64_t>(x.shape(0)), static_cast<int64_t>(x.shape(1)), nullptr, nullptr};
    check.data("x", x, {{"T", g.steps}, {"B", g.batch}, {"I", network->inputs()}});
    g.lengths = check.data("lengths", lengths, {{"B", g.batch}});
    for (int64_t b = 0; g.lengths && b < g.batch; ++b)
      if (g.lengths[b] < 0 || g.lengths[b] > g.steps) g.in_range = false;
    g.resets =
        reinterpret_cast<const uint8_t*>(check.data("resets", resets, {{"T", g.steps}, {"B", g.batch}}));
    return g;
  }
  T* into(const Checker& check, const Array<T>& outputs, const Given& g) const {
    return check.data("outputs", outputs, {{"T", g.steps}, {"B", g.batch}, {"width", network->width()}});
  }

  // False, and nothing is done, where a length is out of range.
  bool run(const Array<const T>& x, const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
           const std::vector<Array<const T>>& states, const Array<T>& outputs,
           const std::vector<Array<T>>& last, int threads) const {
    const Checker check("run");
    const Given g = given(check, x, lengths, resets, threads);
    if (!g.in_range) return false;
    T* to = into(check, outputs, g);
    const auto before = leaves(check, "states", states, g.batch);
    const auto after = leaves(check, "last", last, g.batch);
    const nb::gil_scoped_release released;
    if (g.batch > 0)
      network->run(x.data(), nullptr, g.lengths, g.resets, g.steps, g.batch, before.data(), after.data(), to,
                   threads);
    return true;
  }

  // Whether an array is of this type and size, side by side in the processor's memory.
  static bool fits(const Any& array, int64_t size) {
    if (array.dtype() != nb::dtype<T>() || array.device_type() != nb::device::cpu::value) return false;
    int64_t step = 1;
    for (size_t axis = array.ndim(); axis-- > 0; step *= static_cast<int64_t>(array.shape(axis)))
      if (array.shape(axis) != 1 && array.stride(axis) != step) return false;
    return step == size;
  }
  // Whether it is a state [layers, batch, width] that goes with x, either without the axes that x lacks.
  static bool fits_state(const std::optional<Any>& state, const Any& x, int64_t batch, int64_t size,
                         int64_t width) {
    if (!state) return true;
    const size_t axes = state->ndim();
    return axes == x.ndim() && fits(*state, size) && static_cast<int64_t>(state->shape(axes - 1)) == width &&
           (axes < 3 || static_cast<int64_t>(state->shape(1)) == batch);
  }

  // As `run`, with the states of all layers one after another in one array each, h and for an LSTM c; null
  // states are zeros. The results are the caller's own and only their sizes are checked. False, and nothing
  // is done, where x or a state are not as they should be, or a length is out of range.
  bool run_stacked(int64_t steps, int64_t batch, const Any& x, const std::optional<Any>& h,
                   const std::optional<Any>& c, const Maybe<T>& outputs, const Array<T>& h_last,
                   const Maybe<T>& c_last, const Maybe<const int64_t>& lengths,
                   const Maybe<const bool>& resets, int threads) const {
    const Checker check("run_stacked");
    check.threads(threads);
    if (!network->has_layers()) check.fail("there is no layer");
    const bool lstm = network->has_cells();
    const std::vector<int64_t>& widths = network->state();
    const auto is_cell = [&](size_t i) { return lstm && i % 2; };
    int64_t size[2] = {0, 0};
    for (size_t i = 0; i < widths.size(); ++i) size[is_cell(i)] += batch * widths[i];
    if (lstm != c_last.has_value() || c.has_value() != (lstm && h)) check.fail("c is for an LSTM, with h");
    if (steps < 1 || batch < 1 || !fits(x, steps * batch * network->inputs())) return false;
    if (!fits_state(h, x, batch, size[0], widths.front())) return false;
    if (!fits_state(c, x, batch, size[1], widths.back())) return false;
    const auto sized = [&](const char* name, const auto& array, int64_t expected) {
      if (static_cast<int64_t>(array.size()) != expected)
        check.fail(std::string(name) + " has " + std::to_string(array.size()) + " numbers; expected " +
                   std::to_string(expected));
    };
    sized("h_last", h_last, size[0]);
    if (c_last) sized("c_last", *c_last, size[1]);
    if (outputs) sized("outputs", *outputs, steps * batch * network->width());
    const int64_t* ends = check.data("lengths", lengths, {{"B", batch}});
    for (int64_t b = 0; ends && b < batch; ++b)
      if (ends[b] < 0 || ends[b] > steps) return false;
    if (resets) sized("resets", *resets, steps * batch);
    std::vector<const T*> before;
    std::vector<T*> after;
    std::vector<T> zeros(h ? 0 : *std::max_element(widths.begin(), widths.end()) * batch);
    std::vector<T> unwanted(outputs ? 0 : steps * batch * network->width());
    const T* from[2] = {h ? static_cast<const T*>(h->data()) : nullptr,
                        c ? static_cast<const T*>(c->data()) : nullptr};
    T* to[2] = {h_last.data(), c_last ? c_last->data() : nullptr};
    for (size_t i = 0; i < widths.size(); ++i) {
      const bool cell = is_cell(i);
      before.push_back(from[cell] ? from[cell] : zeros.data());  // never written
      after.push_back(to[cell]);
      if (from[cell]) from[cell] += batch * widths[i];
      to[cell] += batch * widths[i];
    }
    const uint8_t* starts = resets ? reinterpret_cast<const uint8_t*>(resets->data()) : nullptr;
    const nb::gil_scoped_release released;
    network->run(static_cast<const T*>(x.data()), nullptr, ends, starts, steps, batch, before.data(),
                 after.data(), outputs ? outputs->data() : unwanted.data(), threads);
    return true;
  }

  bool run_beside(const Kept& other, const Array<const T>& x, const Maybe<const int64_t>& lengths,
                  const Maybe<const bool>& resets, const std::vector<Array<const T>>& states,
                  const Array<T>& outputs, const std::vector<Array<T>>& last,
                  const std::vector<Array<const T>>& other_states, const Array<T>& other_outputs,
                  const std::vector<Array<T>>& other_last, int threads) const {
    const Checker check("run_beside");
    const Given g = given(check, x, lengths, resets, threads);
    other.given(check, x, lengths, resets, threads);
    if (!g.in_range) return false;
    T *to = into(check, outputs, g), *other_to = other.into(check, other_outputs, g);
    const auto before = leaves(check, "states", states, g.batch);
    const auto after = leaves(check, "last", last, g.batch);
    const auto other_before = other.leaves(check, "states", other_states, g.batch);
    const auto other_after = other.leaves(check, "last", other_last, g.batch);
    const nb::gil_scoped_release released;
    if (g.batch > 0) {
      network->run_beside(*other.network, x.data(), g.lengths, g.resets, g.steps, g.batch, before.data(),
                          after.data(), to, other_before.data(), other_after.data(), other_to, threads);
    }
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

// Whether a model still holds what it held: (dictionary, name) pairs of `edges` their `ends`, the same
// objects; each of `insides` as many entries as `sizes` says; and each parameter the version and the address
// that it had. In Python this took longer than the step that it guards.
bool unmoved(const nb::list& edges, const nb::list& ends, const nb::list& insides, const nb::list& sizes,
             const nb::list& parameters, const nb::list& versions, const nb::list& pointers) {
  const size_t count = nb::len(edges), dictionaries = nb::len(insides), tensors = nb::len(parameters);
  if (nb::len(ends) != count || nb::len(sizes) != dictionaries) return false;
  if (nb::len(versions) != tensors || nb::len(pointers) != tensors) return false;
  for (size_t i = 0; i < count; ++i) {
    const nb::handle edge = edges[i];
    PyObject* inside = PyTuple_GetItem(edge.ptr(), 0);
    PyObject* name = PyTuple_GetItem(edge.ptr(), 1);
    if (!inside || !name) throw nb::python_error();
    PyObject* now = PyDict_GetItemWithError(inside, name);  // borrowed
    if (!now && PyErr_Occurred()) throw nb::python_error();
    if (now != nb::handle(ends[i]).ptr()) return false;
  }
  for (size_t i = 0; i < dictionaries; ++i) {
    const Py_ssize_t size = PyDict_Size(nb::handle(insides[i]).ptr());
    if (size < 0) throw nb::python_error();
    if (size != nb::cast<Py_ssize_t>(sizes[i])) return false;
  }
  const nb::str version("_version"), pointer("data_ptr");
  for (size_t i = 0; i < tensors; ++i) {
    const nb::object parameter = parameters[i];
    if (nb::cast<int64_t>(parameter.attr(version)) != nb::cast<int64_t>(versions[i])) return false;
    if (nb::cast<uint64_t>(parameter.attr(pointer)()) != nb::cast<uint64_t>(pointers[i])) return false;
  }
  return true;
}

template <class T>
void define_network(nb::module_& m, const std::string& suffix) {
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  nb::class_<Kept<T>>(m, ("Network" + suffix).c_str(), "Layers whose weights are kept packed; for inference.")
      .def(nb::init<>())
      .def("add_layer", &Kept<T>::add_layer, nb::arg("cell"), nb::arg("activation"), nb::arg("reverse"),
           nb::arg("residual"), array("weight_in"), maybe("bias_in"), array("weight"), maybe("bias"),
           maybe("peepholes"), maybe("projection"), maybe("bias_state") = nb::none())
      .def("add_sweep", &Kept<T>::add_sweep, nb::arg("cell"), nb::arg("activation"), nb::arg("reverse"),
           nb::arg("residual"), nb::arg("inputs"), nb::arg("units"), nb::arg("block"), nb::arg("parameters"),
           maybe("readout"), maybe("skip"), "A layer that is a sweep, and what reads it.")
      .def("set_symbols", &Kept<T>::set_symbols, array("table"),
           "From here on tokens may choose lines of the table.")
      .def("add_head", &Kept<T>::add_head, array("weight"), maybe("bias"),
           "A product more after the last layer.")
      .def("unchanged", &Kept<T>::unchanged, "Whether some numbers of each weight are still what they were.")
      .def("run", &Kept<T>::run, array("x"), maybe("lengths"), maybe("resets"), nb::arg("states"),
           array("outputs"), nb::arg("last"), nb::arg("threads"),
           "outputs[T,B,width] and the last states from x[T,B,I]; one array for each leaf of the state.")
      .def(
          "pair_layers",
          [](Kept<T>& kept) {
            if (kept.network->has_layers()) Checker("pair_layers").fail("there are layers already");
            kept.network->pair_layers();
          },
          "From here on layers come in pairs over the same inputs, their outputs side by side.")
      .def("run_stacked", &Kept<T>::run_stacked, nb::arg("steps"), nb::arg("batch"), array("x"), maybe("h"),
           maybe("c"), maybe("outputs"), array("h_last"), maybe("c_last"), maybe("lengths"), maybe("resets"),
           nb::arg("threads"), "As run, with the states of all layers one after another in one array each.")
      .def("run_beside", &Kept<T>::run_beside, nb::arg("other"), array("x"), maybe("lengths"),
           maybe("resets"), nb::arg("states"), array("outputs"), nb::arg("last"), nb::arg("other_states"),
           array("other_outputs"), nb::arg("other_last"), nb::arg("threads"),
           "The first layers of two networks over the same x, side by side.")
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
          "answer_one",
          [](S& self, int64_t token, int64_t count, int threads) {
            check_tokens(Checker("answer_one"), self.network(), &token, 1);
            self.push(&token, 1, threads);
            return pairs_of(self.outputs().data(), static_cast<int64_t>(self.outputs().size()), count);
          },
          "push_one and likeliest in one.")
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

}  // namespace

void define_networks(nb::module_& m) {
  m.def("unmoved", &unmoved, "edges"_a, "ends"_a, "insides"_a, "sizes"_a, "parameters"_a, "versions"_a,
        "pointers"_a,
        "Whether dictionaries hold the same objects, no more and no fewer, and parameters are where and what "
        "they were.");
  define_network<float>(m, "32");
  define_network<double>(m, "64");
}

}  // namespace recurra
