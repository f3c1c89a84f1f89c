// Runs every cell forward and backward on numbers that any machine makes alike,
// and prints a hash of all result bytes: the same on every processor and in
// every instruction set (tests/processors.sh). Knows neither Python nor threads
// of others.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "calls.h"
#include "dispatch.h"

namespace {

using namespace recurra;

// Whole numbers from one seed, so that no library's distribution has a say.
class Random {
 public:
  uint64_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return state_ >> 33;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }

  // Between -1 and 1, in steps that float holds exactly.
  template <class T>
  std::vector<T> numbers(int64_t n, double scale = 1) {
    std::vector<T> values(static_cast<size_t>(n));
    for (T& value : values) value = static_cast<T>((static_cast<double>(below(2048)) / 1024 - 1) * scale);
    return values;
  }

 private:
  uint64_t state_ = 20240229;
};

uint64_t hash = 14695981039346656037u;  // FNV-1a

template <class T>
void add(const std::vector<T>& values) {
  std::vector<unsigned char> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211u;
}

struct Parts {
  bool reverse, weight_in, tokens, mask, peepholes, projection;
};

template <class T>
void check(Random& random, Cell cell, Activation activation, int64_t units, int64_t batch, int threads,
           Parts parts) {
  const int64_t steps = 12, gates = gate_count(cell), sums = gates * units, symbols = 5;
  const bool lstm = cell == Cell::kLstm, gru = cell == Cell::kGru || cell == Cell::kGruResetBefore;
  const int64_t width = parts.projection ? units / 2 + 1 : units, inputs = parts.weight_in ? 7 : sums;
  const std::vector<T> x = random.numbers<T>((parts.tokens ? symbols : steps * batch) * inputs);
  const std::vector<T> h = random.numbers<T>(batch * width), c = random.numbers<T>(batch * units);
  const std::vector<T> weight_in = random.numbers<T>(sums * inputs, 0.5), bias_in = random.numbers<T>(sums);
  const std::vector<T> weight = random.numbers<T>(sums * width, 0.25), bias = random.numbers<T>(units);
  const std::vector<T> peepholes = random.numbers<T>(3 * units),
                       projection = random.numbers<T>(width * units, 0.25);
  const std::vector<T> mask = random.numbers<T>(batch * width);
  std::vector<int64_t> tokens, lengths;
  std::vector<uint8_t> resets;
  for (int64_t i = 0; i < steps * batch; ++i) {
    tokens.push_back(random.below(symbols));
    resets.push_back(random.below(5) == 0);
  }
  for (int64_t b = 0; b < batch; ++b) lengths.push_back(steps - random.below(4));

  const auto fill = [&](Call<T>& call) {
    call.cell = cell, call.activation = activation, call.reverse = parts.reverse;
    call.steps = steps, call.batch = batch, call.inputs = inputs, call.units = units, call.width = width;
    call.symbols = parts.tokens ? symbols : 0;
    call.x = x.data(), call.tokens = parts.tokens ? tokens.data() : nullptr;
    call.resets = resets.data(), call.mask = parts.mask ? mask.data() : nullptr;
    call.h = h.data(), call.c = lstm ? c.data() : nullptr;
    call.weight_in = parts.weight_in ? weight_in.data() : nullptr, call.weight = weight.data();
    call.peepholes = parts.peepholes ? peepholes.data() : nullptr;
    call.projection = parts.projection ? projection.data() : nullptr;
  };
  const int64_t all = steps * batch, saved = saved_count(cell);
  std::vector<T> outputs(all * width), h_last(batch * width), c_last(batch * units),
      kept(all * saved * units);
  std::vector<T> cells(all * units);
  ForwardCall<T> first{};
  fill(first);
  first.bias_in = bias_in.data(), first.bias = gru ? bias.data() : nullptr;
  first.outputs = outputs.data(), first.h_last = h_last.data(), first.gates = kept.data();
  if (lstm) first.c_last = c_last.data(), first.cells = cells.data();
  forward(first, lengths.data(), threads);

  const std::vector<T> grad_outputs = random.numbers<T>(all * width),
                       grad_h_last = random.numbers<T>(batch * width);
  const std::vector<T> grad_c_last = random.numbers<T>(batch * units),
                       grad_cells = random.numbers<T>(all * units);
  std::vector<T> grad_x(x.size()), grad_h(h.size()), grad_c(c.size()), grad_weight_in(weight_in.size());
  std::vector<T> grad_bias_in(sums), grad_weight(weight.size()), grad_bias(units), grad_peepholes(3 * units);
  std::vector<T> grad_projection(projection.size());
  BackwardCall<T> second{};
  fill(second);
  second.grad_outputs = grad_outputs.data(), second.grad_h_last = grad_h_last.data();
  if (lstm)
    second.grad_c_last = grad_c_last.data(), second.grad_cells = grad_cells.data(),
    second.cells = cells.data();
  second.outputs = outputs.data(), second.gates = kept.data();
  second.grad_x = grad_x.data(), second.grad_h = grad_h.data(),
  second.grad_c = lstm ? grad_c.data() : nullptr;
  second.grad_weight_in = parts.weight_in ? grad_weight_in.data() : nullptr;
  second.grad_bias_in = grad_bias_in.data(), second.grad_weight = grad_weight.data();
  second.grad_bias = gru ? grad_bias.data() : nullptr;
  second.grad_peepholes = parts.peepholes ? grad_peepholes.data() : nullptr;
  second.grad_projection = parts.projection ? grad_projection.data() : nullptr;
  backward(second, lengths.data(), threads);

  for (const std::vector<T>* each :
       {&outputs, &h_last, &c_last, &kept, &cells, &grad_x, &grad_h, &grad_c, &grad_weight_in, &grad_bias_in,
        &grad_weight, &grad_bias, &grad_peepholes, &grad_projection})
    add(*each);
}

template <class T>
void check_cells(Random& random) {
  for (int activation = 0; activation < 4; ++activation) {
    const auto kind = static_cast<Activation>(activation);
    check<T>(random, Cell::kElman, kind, 21, 5, 1, {activation % 2 == 1, true, false, true, false, false});
  }
  for (const Cell cell : {Cell::kGru, Cell::kGruResetBefore}) {
    check<T>(random, cell, Activation::kTanh, 21, 5, 1, {false, true, false, true, false, false});
    check<T>(random, cell, Activation::kTanh, 37, 17, 2, {true, false, true, false, false, false});
    check<T>(random, cell, Activation::kTanh, 190, 1, 2,
             {false, true, true, true, false, false});  // by units
  }
  check<T>(random, Cell::kLstm, Activation::kTanh, 21, 5, 1, {true, true, false, true, false, false});
  check<T>(random, Cell::kLstm, Activation::kTanh, 37, 17, 2, {false, true, true, false, true, false});
  check<T>(random, Cell::kLstm, Activation::kTanh, 190, 1, 2,
           {true, true, false, true, true, true});  // by units
}

}  // namespace

int main() {
  Random random;
  check_cells<float>(random);
  check_cells<double>(random);
  std::printf("%016llx %s\n", static_cast<unsigned long long>(hash), recurra::chosen_kernels().name);
}
