// See network.h.
#include "network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "calls.h"
#include "dispatch.h"

namespace recurra {
namespace {

constexpr int64_t kMostProjected = 8 << 20;  // numbers of projected symbols to keep
constexpr int64_t kPiece = 4096;             // tokens run at once
constexpr std::align_val_t kAlignment{64};

template <class T>
std::vector<T> copied(const T* from, int64_t n) {
  return from ? std::vector<T>(from, from + n) : std::vector<T>();
}

template <class T>
const T* or_null(const std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

// `blocks` matrices [columns, depth] one after another.
template <class T>
Aligned<T> packed(const T* weight, int64_t blocks, int64_t columns, int64_t depth) {
  if (!weight) return Aligned<T>();
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  const int64_t size = kernels.packed_size(columns, depth);
  Aligned<T> panels(blocks * size);
  for (int64_t b = 0; b < blocks; ++b)
    kernels.pack(weight + b * columns * depth, columns, depth, panels.data() + b * size, {0, 1, nullptr});
  return panels;
}

// Memory of this thread that grows and stays.
template <class T>
T* temporary(int which, int64_t n) {
  thread_local std::vector<T> kept[5];
  if (static_cast<int64_t>(kept[which].size()) < n) kept[which].resize(n);
  return kept[which].data();
}

}  // namespace

template <class T>
Aligned<T>::Aligned(int64_t n)
    : memory_(n ? static_cast<T*>(::operator new(static_cast<size_t>(n) * sizeof(T), kAlignment)) : nullptr) {
}

template <class T>
void Aligned<T>::Delete::operator()(T* memory) const {
  ::operator delete(memory, kAlignment);
}

template <class T>
void Network<T>::add_layer(const LayerWeights<T>& w) {
  const int64_t gates = gate_count(w.cell);
  layers_.push_back({false,
                     SweepCell{},
                     w.cell,
                     w.activation,
                     w.reverse,
                     w.residual,
                     w.projection != nullptr,
                     w.inputs,
                     w.units,
                     w.width,
                     packed(w.weight_in, gates, w.units, w.inputs),
                     packed(w.weight, gates, w.units, w.width),
                     packed(w.projection, 1, w.width, w.units),
                     copied(w.bias_in, gates * w.units),
                     copied(w.bias, w.units),
                     copied(w.peepholes, 3 * w.units),
                     0,
                     {},
                     {},
                     {}});
  state_.push_back(w.width);
  if (w.cell == Cell::kLstm) state_.push_back(w.units);
}

template <class T>
void Network<T>::add_sweep(const SweepWeights<T>& w) {
  const SweepCounts counts = sweep_counts(w.cell);
  SweepCall<T> sizes{};
  sizes.cell = w.cell, sizes.units = w.units, sizes.block = w.block;
  const int64_t read = sizes.read(), gates = sizes.sums() - read;
  const int64_t blocks = w.block ? counts.blocks * w.units / w.block : 0;
  const SweepParameters<T>& p = w.parameters;
  layers_.push_back({true,
                     w.cell,
                     Cell{},
                     w.activation,
                     w.reverse,
                     w.residual,
                     w.readout != nullptr,
                     w.inputs,
                     w.units,
                     w.width,
                     packed(p.weight_in, 1, read, w.inputs),
                     packed(p.weight_gates, blocks, w.block, w.block),
                     packed(w.readout, 1, w.width, counts.emits * w.units),
                     copied(p.bias_in, read),
                     {},
                     {},
                     w.block,
                     copied(p.bias_gates, gates),
                     copied(p.own, counts.own * w.units),
                     copied(w.skip, w.width)});
  for (int leaf = 0; leaf < counts.leaves; ++leaf) state_.push_back(sizes.leaf(leaf));
}

template <class T>
int64_t Network<T>::sums_of(const Layer& layer) {
  if (!layer.sweeps) return gate_count(layer.cell) * layer.units;
  SweepCall<T> sizes{};
  sizes.cell = layer.sweep, sizes.units = layer.units, sizes.block = layer.block;
  return sizes.sums();
}

template <class T>
void Network<T>::set_symbols(const T* table, int64_t symbols) {
  const Layer& first = layers_.front();
  const int64_t sums = sums_of(first);
  symbols_ = symbols;
  table_ = copied(table, symbols * first.inputs);
  if (symbols * sums > kMostProjected) return;
  projected_.resize(symbols * sums);
  const Kernels<T>& kernels = chosen_kernels().of<T>();
  if (first.sweeps && (first.state.data() == nullptr || sweep_counts(first.sweep).recurrent)) {
    linear_packed(table, symbols, first.inputs, first.in.data(), sums, or_null(first.bias_in),
                  projected_.data(), 1);
    return;
  }
  if (first.sweeps) {
    // gates read the first sums: one pass over the symbols as a sequence of one step, which keeps them all
    std::vector<const T*> states(static_cast<size_t>(sweep_counts(first.sweep).leaves), nullptr);
    std::vector<T> zeros(symbols * first.units), outputs(symbols * first.units * states.size());
    std::vector<T> ends(outputs.size());
    std::vector<T*> last;
    for (size_t i = 0; i < states.size(); ++i)
      states[i] = zeros.data(), last.push_back(ends.data() + i * symbols * first.units);
    SweepForwardCall<T> call = sweep_call(first, table, nullptr, nullptr, 1, symbols);
    call.states = states.data(), call.last = last.data(), call.outputs = outputs.data();
    call.kept = projected_.data();
    return sweep_forward(call, nullptr, 1);
  }
  const int64_t gate = kernels.packed_size(first.units, first.inputs);
  std::vector<T> part(symbols * first.units);
  for (int64_t g = 0; g < gate_count(first.cell); ++g) {
    kernels.linear(table, symbols, first.inputs, first.in.data() + g * gate,
                   first.bias_in.empty() ? nullptr : first.bias_in.data() + g * first.units, first.units,
                   part.data(), {0, 1, nullptr});
    for (int64_t v = 0; v < symbols; ++v)
      std::copy_n(part.data() + v * first.units, first.units, projected_.data() + v * sums + g * first.units);
  }
}

template <class T>
void Network<T>::add_head(const T* weight, const T* bias, int64_t columns) {
  const int64_t depth = heads_.empty() ? width() : heads_.back().columns;
  heads_.push_back({depth, columns, packed(weight, 1, columns, depth), copied(bias, columns)});
}

template <class T>
ForwardCall<T> Network<T>::call_of(const Layer& layer, const T* x, const int64_t* tokens,
                                   const uint8_t* resets, int64_t steps, int64_t batch,
                                   const T* const*& states, T* const*& last, T* outputs) const {
  ForwardCall<T> call{};
  call.cell = layer.cell;
  call.activation = layer.activation;
  call.reverse = layer.reverse;
  call.steps = steps, call.batch = batch;
  call.units = layer.units, call.width = layer.width;
  call.inputs = tokens ? gate_count(layer.cell) * layer.units : layer.inputs;
  call.symbols = tokens ? symbols_ : 0;
  call.tokens = tokens;
  call.x = tokens ? projected_.data() : x;
  call.packed = {tokens ? nullptr : layer.in.data(), layer.state.data(), layer.projection.data()};
  call.weight_in = call.packed.in;  // only whether they are there is asked: the panels are used
  call.weight = call.packed.state;
  call.projection = layer.projects ? call.packed.projection : nullptr;
  call.bias_in = tokens ? nullptr : or_null(layer.bias_in);
  call.bias = or_null(layer.bias);
  call.peepholes = or_null(layer.peepholes);
  call.resets = resets;
  call.h = *states++;
  call.h_last = *last++;
  if (layer.cell == Cell::kLstm) call.c = *states++, call.c_last = *last++;
  call.outputs = outputs;
  return call;
}

template <class T>
void Network<T>::run_layer(const Layer& layer, const T* x, const int64_t* tokens, const int64_t* lengths,
                           const uint8_t* resets, int64_t steps, int64_t batch, const T* const*& states,
                           T* const*& last, T* outputs, int threads) const {
  if (!layer.sweeps) {
    const ForwardCall<T> call = call_of(layer, x, tokens, resets, steps, batch, states, last, outputs);
    return forward(call, lengths, threads);
  }
  SweepForwardCall<T> call = sweep_call(layer, tokens ? table_.data() : x, tokens, resets, steps, batch);
  const int leaves = sweep_counts(layer.sweep).leaves;
  call.projected = tokens ? projected_.data() : nullptr;
  call.states = states, call.last = last;
  call.outputs = layer.projects ? temporary<T>(4, steps * batch * call.width()) : outputs;
  states += leaves, last += leaves;
  sweep_forward(call, lengths, threads);
  if (layer.projects) read_out(layer, x, lengths, call.outputs, steps, batch, outputs, threads);
}

template <class T>
SweepForwardCall<T> Network<T>::sweep_call(const Layer& layer, const T* x, const int64_t* tokens,
                                           const uint8_t* resets, int64_t steps, int64_t batch) const {
  SweepForwardCall<T> call{};
  call.cell = layer.sweep, call.reverse = layer.reverse;
  call.steps = steps, call.batch = batch;
  call.inputs = layer.inputs, call.units = layer.units, call.block = layer.block;
  call.symbols = tokens ? symbols_ : 0;
  call.x = x, call.tokens = tokens, call.resets = resets;
  call.packed = layer.in.data(), call.packed_gates = layer.state.data();
  // (where there is a weight is asked, but the panels are used)
  call.parameters = {layer.in.data(), or_null(layer.bias_in), layer.state.data(), or_null(layer.bias_gates),
                     or_null(layer.own)};
  return call;
}

template <class T>
void Network<T>::read_out(const Layer& layer, const T* x, const int64_t* lengths, const T* states,
                          int64_t steps, int64_t batch, T* outputs, int threads) const {
  const int64_t depth = sweep_counts(layer.sweep).emits * layer.units;
  linear_packed(states, steps * batch, depth, layer.projection.data(), layer.width, static_cast<T*>(nullptr),
                outputs, threads);
  for (int64_t n = 0; n < steps * batch; ++n) {
    T* row = outputs + n * layer.width;
    const bool there = !lengths || n / batch < lengths[n % batch];
    for (int64_t j = 0; there && j < layer.width; ++j) {
      if (!layer.skip.empty()) row[j] += layer.skip[j] * x[n * layer.inputs + j];
      if (layer.activation == Activation::kRelu) row[j] = row[j] < T(0) ? T(0) : row[j];
    }
  }
}

template <class T>
void Network<T>::run_beside(const Network& other, const T* x, const int64_t* lengths, const uint8_t* resets,
                            int64_t steps, int64_t batch, const T* const* states, T* const* last, T* outputs,
                            const T* const* other_states, T* const* other_last, T* other_outputs,
                            int threads) const {
  const Layer &one = layers_.front(), &two = other.layers_.front();
  if (one.sweeps || two.sweeps) {
    run_layer(one, x, nullptr, lengths, resets, steps, batch, states, last, outputs, threads);
    other.run_layer(two, x, nullptr, lengths, resets, steps, batch, other_states, other_last, other_outputs,
                    threads);
    return;
  }
  forward_pair(call_of(one, x, nullptr, resets, steps, batch, states, last, outputs),
               other.call_of(two, x, nullptr, resets, steps, batch, other_states, other_last, other_outputs),
               lengths, threads);
}

template <class T>
void Network<T>::run(const T* x, const int64_t* tokens, const int64_t* lengths, const uint8_t* resets,
                     int64_t steps, int64_t batch, const T* const* states, T* const* last, T* outputs,
                     int threads) const {
  if (directions_ == 2) return run_pairs(x, lengths, resets, steps, batch, states, last, outputs, threads);
  const int64_t rows = steps * batch;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const bool looks_up = tokens && i == 0 && !projected_.empty();
    if (tokens && i == 0 && (!looks_up || layer.residual || !layer.skip.empty())) {
      T* spelled = temporary<T>(1, rows * layer.inputs);
      for (int64_t n = 0; n < rows; ++n)
        std::copy_n(table_.data() + tokens[n] * layer.inputs, layer.inputs, spelled + n * layer.inputs);
      x = spelled;
    }
    T* into = i + 1 == layers_.size() ? outputs : temporary<T>(i % 2, rows * layer.width);
    run_layer(layer, x, looks_up ? tokens : nullptr, lengths, resets, steps, batch, states, last, into,
              threads);
    if (layer.residual)
      for (int64_t n = 0; n < rows * layer.width; ++n) into[n] += x[n];
    x = into;
  }
}

template <class T>
void Network<T>::run_pairs(const T* x, const int64_t* lengths, const uint8_t* resets, int64_t steps,
                           int64_t batch, const T* const* states, T* const* last, T* outputs,
                           int threads) const {
  const int64_t rows = steps * batch;
  for (size_t i = 0; i + 1 < layers_.size(); i += 2) {
    const int64_t width = layers_[i].width;
    T *ahead = temporary<T>(2, rows * width), *back = temporary<T>(3, rows * width);
    const Layer &one = layers_[i], &two = layers_[i + 1];
    if (one.sweeps || two.sweeps) {
      run_layer(one, x, nullptr, lengths, resets, steps, batch, states, last, ahead, threads);
      run_layer(two, x, nullptr, lengths, resets, steps, batch, states, last, back, threads);
    } else {
      const ForwardCall<T> first = call_of(one, x, nullptr, resets, steps, batch, states, last, ahead);
      const ForwardCall<T> second = call_of(two, x, nullptr, resets, steps, batch, states, last, back);
      forward_pair(first, second, lengths, threads);
    }
    T* into = i + 2 == layers_.size() ? outputs : temporary<T>(i / 2 % 2, rows * 2 * width);
    for (int64_t n = 0; n < rows; ++n) {
      std::copy_n(ahead + n * width, width, into + n * 2 * width);
      std::copy_n(back + n * width, width, into + n * 2 * width + width);
    }
    x = into;
  }
}

template <class T>
void Network<T>::head(const T* hidden, int64_t rows, T* out, int threads) const {
  for (size_t i = 0; i < heads_.size(); ++i) {
    const Head& head = heads_[i];
    T* into = i + 1 == heads_.size() ? out : temporary<T>(i % 2, rows * head.columns);
    linear_packed(hidden, rows, head.depth, head.panels.data(), head.columns, or_null(head.bias), into,
                  threads);
    hidden = into;
  }
}

template <class T>
Stepper<T>::Stepper(std::shared_ptr<const Network<T>> network) : network_(std::move(network)) {
  int64_t size = 0;
  for (const int64_t leaf : network_->state()) {
    offset_.push_back(size);
    size += leaf;
  }
  state_.resize(size), next_.resize(size);
  outputs_.resize(network_->columns());
}

template <class T>
void Stepper<T>::push(const int64_t* tokens, int64_t n, int threads) {
  constexpr size_t kLeaves = 64;
  const T* states[kLeaves];
  T* last[kLeaves];
  const int64_t width = network_->width();
  for (int64_t first = 0; first < n; first += kPiece) {
    const int64_t here = std::min(kPiece, n - first);
    for (size_t i = 0; i < offset_.size(); ++i)
      states[i] = state_.data() + offset_[i], last[i] = next_.data() + offset_[i];
    if (static_cast<int64_t>(hidden_.size()) < here * width) hidden_.resize(here * width);
    network_->run(nullptr, tokens + first, nullptr, nullptr, here, 1, states, last, hidden_.data(), threads);
    state_.swap(next_);
    if (first + here == n) network_->head(hidden_.data() + (here - 1) * width, 1, outputs_.data(), threads);
  }
}

template <class T>
void likeliest(const T* logits, int64_t n, int64_t count, int64_t* classes, double* probabilities) {
  thread_local std::vector<double> shares;
  thread_local std::vector<int64_t> order;
  shares.resize(n);
  order.resize(n);
  double greatest = -INFINITY, total = 0;
  for (int64_t i = 0; i < n; ++i) greatest = std::max(greatest, static_cast<double>(logits[i]));
  for (int64_t i = 0; i < n; ++i) shares[i] = static_cast<double>(logits[i]) - greatest;
  chosen_kernels().of<double>().exp(shares.data(), shares.data(), n);
  for (int64_t i = 0; i < n; ++i)
    total += shares[i], order[i] = i;  // in a row with a NaN all are NaN, in order
  // the greatest so far, greatest first; the later of equal ones stays behind
  int64_t held = 0;
  for (int64_t i = 0; !std::isnan(total) && i < n && count > 0; ++i) {
    if (held == count && !(shares[i] > shares[order[held - 1]])) continue;
    int64_t place = held < count ? held++ : held - 1;
    for (; place > 0 && shares[i] > shares[order[place - 1]]; --place) order[place] = order[place - 1];
    order[place] = i;
  }
  for (int64_t i = 0; i < count; ++i) classes[i] = order[i], probabilities[i] = shares[order[i]] / total;
}

template class Aligned<float>;
template class Aligned<double>;
template class Network<float>;
template class Network<double>;
template class Stepper<float>;
template class Stepper<double>;
template void likeliest(const float*, int64_t, int64_t, int64_t*, double*);
template void likeliest(const double*, int64_t, int64_t, int64_t*, double*);

}  // namespace recurra
