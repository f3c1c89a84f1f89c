// The parameters of a sweep, checked. For the bindings only.
#pragma once

#include <nanobind/stl/vector.h>

#include "checker.h"
#include "sweep.h"

namespace recurra {

// Checks weight_in, bias_in, weight_gates, bias_gates and own, and puts them where a call looks for them. The
// call's units and inputs are there already, and the block of an mLSTM.
template <class T, class U>
void check_sweep(const Checker& check, SweepCall<T>& call, int cell,
                 const std::vector<Maybe<U>>& parameters) {
  if (cell < 0 || cell >= kSweepCells) check.fail("there is no cell " + std::to_string(cell));
  if (parameters.size() != 5) check.fail("parameters are five, or None");
  call.cell = static_cast<SweepCell>(cell);
  const SweepCounts counts = sweep_counts(call.cell);
  const Dimension read{"read", call.read()}, units{"H", call.units};
  SweepParameters<T>& p = call.parameters;
  p.weight_in = check.data("weight_in", parameters[0], {read, {"I", call.inputs}});
  p.bias_in = check.data("bias_in", parameters[1], {read});
  if (!p.weight_in != !p.bias_in) check.fail("weight_in and bias_in come together");
  const int64_t gates = counts.gates - counts.read;
  if (!p.weight_in && (gates == 0 || call.inputs != call.units)) check.fail("weight_in is missing");
  if (counts.blocks > 0) {
    if (!parameters[2] || (gates > 0 && !parameters[3])) check.fail("weight_gates or bias_gates are missing");
    call.block = check.shape("weight_gates", *parameters[2], 3)[2];
    if (call.block < 1 || call.units % call.block) check.fail("the blocks do not fit the units");
    p.weight_gates =
        check.data("weight_gates", parameters[2], {{"gates", counts.blocks}, units, {"W", call.block}});
    p.bias_gates = check.data("bias_gates", parameters[3], {{"gates*H", gates * call.units}});
  }
  p.own = check.data("own", parameters[4], {{"own", counts.own}, units});
  if (!p.own && counts.own > 0) check.fail("own is missing");
}

}  // namespace recurra
