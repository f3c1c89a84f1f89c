// A stack of layers whose weights are kept packed, for sequences so short that packing them would cost more
// than running them: one step of one session, or of many at once. Inference only. Knows neither Python nor
// any instruction set.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"
#include "sweep.h"

namespace recurra {

// Memory on a line of cache of its own.
template <class T>
class Aligned {
 public:
  explicit Aligned(int64_t n = 0);
  T* data() { return memory_.get(); }
  const T* data() const { return memory_.get(); }

 private:
  struct Delete {
    void operator()(T* memory) const;
  };
  std::unique_ptr<T[], Delete> memory_;
};

// The weights of one layer as kernels.h names them; null where it has none.
template <class T>
struct LayerWeights {
  Cell cell;
  Activation activation;
  bool reverse, residual;  // residual: the inputs are added to the outputs
  int64_t inputs, units, width;
  const T *weight_in, *bias_in, *weight, *bias, *peepholes, *projection;
};

// Those of a layer that is a sweep. By choice what it gives is read by one product more, to which the inputs
// are added unit by unit, and passed through a function: readout [width, leaves*units], skip [width].
template <class T>
struct SweepWeights {
  SweepCell cell;
  bool reverse, residual;
  int64_t inputs, units, width, block;
  SweepParameters<T> parameters;
  const T *readout, *skip;
  Activation activation;  // identity or relu
};

template <class T>
class Network {
 public:
  void add_layer(const LayerWeights<T>& weights);
  void add_sweep(const SweepWeights<T>& weights);
  // Before the first layer: from here on they come in pairs over the same inputs, whose outputs lie side by
  // side.
  void pair_layers() { directions_ = 2; }
  // From here on tokens may choose the inputs from table [symbols, I]. After the first layer is there.
  void set_symbols(const T* table, int64_t symbols);
  // A product more after the last layer: outputs [N, columns] = (what came before) weight^T + bias.
  void add_head(const T* weight, const T* bias, int64_t columns);

  int64_t inputs() const { return layers_.front().inputs; }
  int64_t width() const { return directions_ * layers_.back().width; }
  // Numbers that the next layer reads in a step: what the last one or pair gives, or what its partner reads.
  int64_t inputs_of_next() const {
    return layers_.size() % directions_ == 0 ? width() : layers_.back().inputs;
  }
  int64_t symbols() const { return symbols_; }
  int64_t columns() const { return heads_.back().columns; }
  bool has_layers() const { return !layers_.empty(); }
  // Whether every leaf of h is followed by one of c.
  bool has_cells() const {
    for (const Layer& layer : layers_)
      if (layer.sweeps || layer.cell != Cell::kLstm) return false;
    return has_layers();
  }
  bool paired() const { return directions_ == 2; }
  bool has_head() const { return !heads_.empty(); }
  // Numbers in a row of each leaf of the state: h, and for an LSTM c, layer by layer.
  const std::vector<int64_t>& state() const { return state_; }

  // outputs [T, B, width] and the last states, from x [T, B, I] or tokens [T, B]. One pointer for each leaf
  // [B, ...]. lengths [B] and resets [T, B] or null.
  void run(const T* x, const int64_t* tokens, const int64_t* lengths, const uint8_t* resets, int64_t steps,
           int64_t batch, const T* const* states, T* const* last, T* outputs, int threads) const;
  // The first layer of this network and that of another over the same x, side by side.
  void run_beside(const Network& other, const T* x, const int64_t* lengths, const uint8_t* resets,
                  int64_t steps, int64_t batch, const T* const* states, T* const* last, T* outputs,
                  const T* const* other_states, T* const* other_last, T* other_outputs, int threads) const;
  // All heads over hidden [rows, width].
  void head(const T* hidden, int64_t rows, T* out, int threads) const;

 private:
  struct Layer {
    bool sweeps;  // a sweep, of which there are sweep, in and bias_in alone
    SweepCell sweep;
    Cell cell;
    Activation activation;
    bool reverse, residual, projects;
    int64_t inputs, units, width;
    Aligned<T> in, state, projection;  // packed
    std::vector<T> bias_in, bias, peepholes;
    int64_t block = 0;  // from here on of sweeps alone, where state are
                        // the gates and projection is the readout
    std::vector<T> bias_gates, own, skip;
  };
  struct Head {
    int64_t depth, columns;
    Aligned<T> panels;
    std::vector<T> bias;
  };

  void run_pairs(const T* x, const int64_t* lengths, const uint8_t* resets, int64_t steps, int64_t batch,
                 const T* const* states, T* const* last, T* outputs, int threads) const;
  // What a layer's inputs are turned into, numbers a step.
  static int64_t sums_of(const Layer& layer);
  SweepForwardCall<T> sweep_call(const Layer& layer, const T* x, const int64_t* tokens, const uint8_t* resets,
                                 int64_t steps, int64_t batch) const;
  // What a sweep gives, read out.
  void read_out(const Layer& layer, const T* x, const int64_t* lengths, const T* states, int64_t steps,
                int64_t batch, T* outputs, int threads) const;
  // A layer over x, or over looked-up tokens; takes its states from the lists and moves them on.
  void run_layer(const Layer& layer, const T* x, const int64_t* tokens, const int64_t* lengths,
                 const uint8_t* resets, int64_t steps, int64_t batch, const T* const*& states,
                 T* const*& last, T* outputs, int threads) const;
  ForwardCall<T> call_of(const Layer& layer, const T* x, const int64_t* tokens, const uint8_t* resets,
                         int64_t steps, int64_t batch, const T* const*& states, T* const*& last,
                         T* outputs) const;

  std::vector<Layer> layers_;
  std::vector<Head> heads_;
  std::vector<int64_t> state_;
  int64_t directions_ = 1, symbols_ = 0;
  std::vector<T> table_;      // [symbols, I]
  std::vector<T> projected_;  // [symbols, G*H], where that is not too much to keep
};

// One sequence read token by token: holds its state, and what the heads make of the last step.
template <class T>
class Stepper {
 public:
  explicit Stepper(std::shared_ptr<const Network<T>> network);

  const Network<T>& network() const { return *network_; }
  void push(const int64_t* tokens, int64_t n, int threads);
  const std::vector<T>& outputs() const { return outputs_; }
  T* leaf(size_t i) { return state_.data() + offset_[i]; }

 private:
  std::shared_ptr<const Network<T>> network_;
  std::vector<int64_t> offset_;
  std::vector<T> state_, next_, hidden_, outputs_;
};

// The `count` likeliest of n classes and their probabilities, likeliest first, equal ones in order: softmax
// in double.
template <class T>
void likeliest(const T* logits, int64_t n, int64_t count, int64_t* classes, double* probabilities);

}  // namespace recurra
