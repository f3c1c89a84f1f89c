// Programs as Python sees them: a program is checked when it is made, its arrays at every call.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "calls.h"
#include "checker.h"
#include "program.h"

namespace recurra {
namespace {

using namespace nb::literals;

// (operation, [(value or -1, plain number)], width, attribute)
using Line = std::tuple<std::string, std::vector<std::pair<int64_t, double>>, int64_t, int64_t>;
using Widths = std::vector<int64_t>;

template <class T>
using Arrays = std::vector<Array<T>>;

// The memory of a list of arrays, each with the leading axes `leading` and its own width.
template <class T>
std::vector<T*> pointers(const Checker& check, const char* name, const Arrays<T>& arrays,
                         const Widths& widths, const std::vector<int64_t>& leading) {
  if (arrays.size() != widths.size()) {
    check.fail(std::string(name) + " are " + std::to_string(arrays.size()) + "; expected " +
               std::to_string(widths.size()));
  }
  std::vector<T*> found;
  for (size_t i = 0; i < arrays.size(); ++i) {
    std::vector<int64_t> wanted = leading;
    wanted.push_back(widths[i]);
    const std::vector<int64_t> shape = check.shape(name, arrays[i], wanted.size());
    if (shape != wanted)
      check.fail(std::string(name) + "[" + std::to_string(i) + "] has shape " + text(shape) + "; expected " +
                 text(wanted));
    found.push_back(arrays[i].data());
  }
  return found;
}

template <class T>
void run(const Program& program, int64_t steps, int64_t batch, const Arrays<const T>& inputs,
         const Arrays<const T>& fixed, const Arrays<const T>& states, const Arrays<const T>& shared,
         const Arrays<const T>& weights, const Maybe<const int64_t>& lengths, const Maybe<const bool>& resets,
         const Arrays<T>& emitted, const Arrays<T>& after, bool reverse, bool reset_after, int threads) {
  const Checker check("Program.run");
  check.threads(threads);
  if (steps < 0 || batch < 0) check.fail("steps and batch are not below zero");
  const Program::Given& given = program.given();
  Widths emits;
  for (const int64_t value : program.emitted()) emits.push_back(program.width(value));
  const auto x = pointers(check, "inputs", inputs, given.inputs, {steps, batch});
  const auto f = pointers(check, "fixed", fixed, given.fixed, {batch});
  const auto s = pointers(check, "states", states, given.states, {batch});
  const auto p = pointers(check, "shared", shared, given.shared, {});
  const auto e = pointers(check, "emitted", emitted, emits, {steps, batch});
  const auto a = pointers(check, "after", after, given.states, {batch});
  std::vector<const T*> w;
  if (weights.size() != given.weights.size()) check.fail("there is another number of weights");
  for (size_t i = 0; i < weights.size(); ++i)
    w.push_back(check.data("weights", weights[i],
                           {{"rows", given.weights[i].first}, {"columns", given.weights[i].second}}));
  const int64_t* ends = check.lengths(lengths, steps, batch);
  ScanCall<T> call{};
  call.program = program.view();
  call.steps = steps, call.batch = batch;
  call.reverse = reverse, call.reset_after = reset_after;
  call.resets = reinterpret_cast<const uint8_t*>(check.data("resets", resets, {{"T", steps}, {"B", batch}}));
  call.inputs = x.data(), call.fixed = f.data(), call.states = s.data(), call.shared = p.data();
  call.weights = w.data(), call.emitted = e.data(), call.after = a.data();
  const nb::gil_scoped_release released;
  scan(call, ends, threads);
}

}  // namespace

void define_programs(nb::module_& m) {
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  const auto define = [&](auto& of, const char* name, auto function) {
    of.def(name, function, "steps"_a, "batch"_a, "inputs"_a, "fixed"_a, "states"_a, "shared"_a, "weights"_a,
           maybe("lengths"), maybe("resets"), "emitted"_a, "after"_a, "reverse"_a, "reset_after"_a,
           "threads"_a,
           "Runs it over T steps of B rows: emitted[T,B,width] (only steps that a row takes part in are "
           "written) and the states after.");
  };
  nb::class_<Program> program(m, "Program", "One step of a recurrence as instructions over rows.");
  program.def(
      "__init__",
      [](Program* self, const std::vector<Widths>& given,
         const std::vector<std::pair<int64_t, int64_t>>& weights, const std::vector<Line>& instructions,
         const Widths& emitted, const Widths& after, int64_t resettable) {
        const Checker check("Program");
        if (given.size() != 4) check.fail("given are inputs, fixed, states and shared");
        std::vector<Program::Instruction> lines;
        for (const auto& [operation, operands, width, attribute] : instructions)
          lines.push_back({operation, operands, width, attribute});
        new (self)
            Program({given[0], given[1], given[2], given[3], weights}, lines, emitted, after, resettable);
      },
      "given"_a, "weights"_a, "instructions"_a, "emitted"_a, "after"_a, "resettable"_a);
  define(program, "run32", &run<float>);
  define(program, "run64", &run<double>);
}

}  // namespace recurra
