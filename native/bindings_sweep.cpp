// Sweeps as Python sees them: every array is checked here, by name, and never converted or copied.
#include <nanobind/stl/vector.h>

#include "calls.h"
#include "checker.h"
#include "sweep.h"
#include "sweep_checker.h"

namespace recurra {
namespace {

using namespace nb::literals;

template <class T>
using Arrays = std::vector<Array<T>>;

// The arguments that forward and backward share, checked and put where the sweeps look for them.
template <class T>
class CommonSweep {
 public:
  CommonSweep(const Checker& check, SweepCall<T>& call, int cell, bool reverse, const Array<const T>& x,
              const Maybe<const int64_t>& tokens, const Arrays<const T>& states,
              const std::vector<Maybe<const T>>& parameters, const Maybe<const bool>& resets, int threads)
      : check_(check), call_(call) {
    check.threads(threads);
    if (states.empty()) check.fail("there is no state");
    const std::vector<int64_t> shape = check.shape("x", x, tokens ? 2 : 3);
    const std::vector<int64_t> state = check.shape("states", states[0], 2);
    call.reverse = reverse;
    call.inputs = shape.back(), call.symbols = tokens ? shape[0] : 0;
    call.batch = state[0], call.units = state[1];
    if (cell == static_cast<int>(SweepCell::kMlstm)) {
      const int64_t heads = states.size() == 3 ? check.shape("states", states[2], 2)[1] : 0;
      if (heads < 1 || call.units % heads) check.fail("the heads do not fit the units");
      call.block = call.units / heads;
    }
    call.steps = tokens ? check.shape("tokens", *tokens, 2)[0] : shape[0];
    const Dimension steps{"T", call.steps}, batch{"B", call.batch}, depth{"I", call.inputs};
    call.tokens = check.data("tokens", tokens, {steps, batch});
    call.x =
        tokens ? check.data("x", x, {{"V", call.symbols}, depth}) : check.data("x", x, {steps, batch, depth});
    for (int64_t i = 0; tokens && i < call.steps * call.batch; ++i)
      if (call.tokens[i] < 0 || call.tokens[i] >= call.symbols)
        check.fail("a token is " + std::to_string(call.tokens[i]) +
                   "; expected 0 to V-1=" + std::to_string(call.symbols - 1));
    check_sweep(check, call, cell, parameters);
    // As bytes: a bool array may hold other values than 0 and 1.
    call.resets = reinterpret_cast<const uint8_t*>(check.data("resets", resets, {steps, batch}));
    states_ = leaves("states", states);
    call.states = states_.data();
  }

  // One array [B, H] for each leaf of the state.
  template <class U>
  std::vector<U*> leaves(const char* name, const Arrays<U>& arrays) const {
    if (arrays.size() != static_cast<size_t>(sweep_counts(call_.cell).leaves))
      check_.fail(std::string(name) + " has another number of leaves");
    std::vector<U*> pointers;
    for (const Array<U>& array : arrays) {
      const int64_t width = call_.leaf(static_cast<int>(pointers.size()));
      pointers.push_back(check_.data(name, array, {{"B", call_.batch}, {"H", width}}));
    }
    return pointers;
  }

  // The states that chunks begin with.
  template <class A>
  auto marks(const A& array) const {
    const int64_t chunks = (call_.steps + kMarkSteps - 1) / kMarkSteps;
    return check_.data("marks", array, {{"chunks", chunks}, {"B", call_.batch}, {"marked", call_.marked()}});
  }

  template <class A>
  auto sequence(const char* name, const A& array, int64_t width) const {
    return check_.data(name, array, {{"T", call_.steps}, {"B", call_.batch}, {"width", width}});
  }

 private:
  const Checker& check_;
  SweepCall<T>& call_;
  std::vector<const T*> states_;
};

template <class T>
void forward_function(int cell, bool reverse, const Array<const T>& x, const Maybe<const int64_t>& tokens,
                      const Arrays<const T>& states, const std::vector<Maybe<const T>>& parameters,
                      const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
                      const Array<T>& outputs, const Arrays<T>& last, const Maybe<T>& kept,
                      const Maybe<T>& marks, int threads) {
  SweepForwardCall<T> call{};
  const Checker check("sweep");
  const CommonSweep<T> common(check, call, cell, reverse, x, tokens, states, parameters, resets, threads);
  const auto into = common.leaves("last", last);
  call.outputs = common.sequence("outputs", outputs, call.width()), call.last = into.data();
  call.kept = common.sequence("kept", kept, call.sums());
  call.marks = common.marks(marks);
  const int64_t* ends = check.lengths(lengths, call.steps, call.batch);
  const nb::gil_scoped_release released;
  sweep_forward(call, ends, threads);
}

template <class T>
void backward_function(const Maybe<const T>& grad_outputs, const std::vector<Maybe<const T>>& grad_last,
                       int cell, bool reverse, const Array<const T>& x, const Maybe<const int64_t>& tokens,
                       const Arrays<const T>& states, const std::vector<Maybe<const T>>& parameters,
                       const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
                       const Array<const T>& outputs, const Maybe<const T>& kept, const Maybe<const T>& marks,
                       const Maybe<T>& grad_x, const Arrays<T>& grad_states,
                       const std::vector<Maybe<T>>& grad_parameters, int threads) {
  SweepBackwardCall<T> call{};
  const Checker check("sweep_backward");
  const CommonSweep<T> common(check, call, cell, reverse, x, tokens, states, parameters, resets, threads);
  call.grad_outputs = common.sequence("grad_outputs", grad_outputs, call.width());
  if (grad_last.size() != states.size()) check.fail("grad_last has another number of leaves");
  std::vector<const T*> came;
  for (const Maybe<const T>& grad : grad_last)
    came.push_back(
        check.data("grad_last", grad, {{"B", call.batch}, {"H", call.leaf(static_cast<int>(came.size()))}}));
  call.grad_last = came.data();
  call.outputs = common.sequence("outputs", outputs, call.width());
  call.kept = common.sequence("kept", kept, call.sums());
  call.marks = common.marks(marks);
  const bool recurrent = sweep_counts(call.cell).recurrent;
  if (recurrent && !(call.kept && call.marks)) check.fail("kept or marks are missing");
  if (!recurrent && tokens && call.kept) check.fail("sums of tokens are made again and not kept");
  const Dimension depth{"I", call.inputs};
  call.grad_x = tokens ? check.data("grad_x", grad_x, {{"V", call.symbols}, depth})
                       : check.data("grad_x", grad_x, {{"T", call.steps}, {"B", call.batch}, depth});
  const auto into = common.leaves("grad_states", grad_states);
  call.grad_states = into.data();
  SweepCall<T> results{};
  results.units = call.units, results.inputs = call.inputs, results.block = call.block;
  check_sweep(check, results, cell, grad_parameters);
  const SweepParameters<T>&p = call.parameters, &g = results.parameters;
  if (!p.weight_in != !g.weight_in || results.block != call.block) check.fail("grad_parameters do not fit");
  const auto writable = [](const T* array) { return const_cast<T*>(array); };  // they came as such
  call.grad_weight_in = writable(g.weight_in), call.grad_bias_in = writable(g.bias_in);
  call.grad_weight_gates = writable(g.weight_gates), call.grad_bias_gates = writable(g.bias_gates);
  call.grad_own = writable(g.own);
  const int64_t* ends = check.lengths(lengths, call.steps, call.batch);
  const nb::gil_scoped_release released;
  sweep_backward(call, ends, threads);
}

template <class T>
void define(nb::module_& m) {
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("sweep", &forward_function<T>, "cell"_a, "reverse"_a, array("x"), maybe("tokens"), "states"_a,
        "parameters"_a, maybe("lengths"), maybe("resets"), array("outputs"), "last"_a, maybe("kept"),
        maybe("marks"), "threads"_a,
        "All steps of a sweep: outputs[T,B,width], the last states, and by choice the sums kept[T,B,S]. "
        "Parameters: weight_in, bias_in, weight_gates, bias_gates and own, or None.");
  m.def("sweep_backward", &backward_function<T>, maybe("grad_outputs"), "grad_last"_a, "cell"_a, "reverse"_a,
        array("x"), maybe("tokens"), "states"_a, "parameters"_a, maybe("lengths"), maybe("resets"),
        array("outputs"), maybe("kept"), maybe("marks"), maybe("grad_x"), "grad_states"_a,
        "grad_parameters"_a, "threads"_a, "Gradients of sweep, all of them at once.");
}

}  // namespace

void define_sweeps(nb::module_& m) {
  define<float>(m);
  define<double>(m);
}

}  // namespace recurra
