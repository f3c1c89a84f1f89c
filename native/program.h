// Programs: one step of a recurrence as a list of instructions over rows. Plain structures that the kernels
// read, and the class that checks a program and finds each value its place. Knows neither Python nor any
// instruction set.
//
// A value is [rows, width]. The first values are what a step is given: inputs, fixed, states, shared; each
// instruction makes one more.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels.h"

namespace recurra {

enum class Operation : int {
  kNeg,
  kAbs,
  kSign,
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kSigmoid,
  kTanh,
  kSin,
  kCos,
  kErf,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMaximum,
  kMinimum,
  kGt,
  kGe,
  kLt,
  kLe,
  kEq,
  kNe,
  kWhere,
  kRowSum,
  kRowMax,
  kCopy,  // "stop" too
  kProduct,
};

// Where a value is: in the scratch of each row (`offset` numbers come before its place of `stride` columns,
// and it begins `column` columns into that), in an array shared by all rows, or among the numbers.
struct ProgramValue {
  enum class Kind : int { kScratch, kShared, kNumber } kind;
  int64_t offset, column, stride, width;
};

// One instruction; a product also has its weight. Numbers of values, -1 where there is none.
struct ProgramStep {
  Operation operation;
  int64_t to, from[3], weight;
};

// A weight as a program multiplies by it.
struct ProgramWeight {
  int64_t number, rows, columns;  // of the given array
  bool transposed;                // v[., rows] W, or v[., columns] W^T
};

// What the kernels see of a program.
struct ProgramView {
  int64_t inputs, fixed, states, shared, emitted, resettable;
  const int64_t* widths;       // of inputs, fixed, states, shared
  const ProgramValue* values;  // the given ones first
  const ProgramStep* steps;
  int64_t step_count;
  const ProgramWeight* weights;
  int64_t weight_count;
  const int64_t* emit;   // values handed out at each step
  const int64_t* after;  // the next states
  const double* numbers;
  int64_t number_count, row_numbers;  // scratch of a row
};

// A program, checked. Throws std::invalid_argument with the reason where it is not sound.
class Program {
 public:
  struct Instruction {
    std::string operation;
    std::vector<std::pair<int64_t, double>> operands;  // (value, _), or (-1, plain number)
    int64_t width, attribute;
  };
  struct Given {
    std::vector<int64_t> inputs, fixed, states, shared;
    std::vector<std::pair<int64_t, int64_t>> weights;
  };

  Program(Given given, const std::vector<Instruction>& instructions, std::vector<int64_t> emitted,
          std::vector<int64_t> after, int64_t resettable);

  ProgramView view() const;
  const Given& given() const { return given_; }
  int64_t width(int64_t value) const { return values_[static_cast<size_t>(value)].width; }
  const std::vector<int64_t>& emitted() const { return emitted_; }

 private:
  int64_t value_of(const std::pair<int64_t, double>& operand);
  int64_t scratch(int64_t width);
  int64_t copy(int64_t from, int64_t width);
  void add(const Instruction& one);
  int64_t pointwise(const Instruction& one, Operation operation, size_t operands);
  void place();

  Given given_;
  std::vector<int64_t> widths_, emitted_, after_,
      outer_;  // outer_: instruction value -> its place in values_
  int64_t resettable_, row_numbers_ = 0;
  std::vector<ProgramValue> values_;
  std::vector<int64_t> root_;  // the value whose memory a slice is part of
  std::vector<ProgramStep> steps_;
  std::vector<ProgramWeight> weights_;
  std::vector<double> numbers_;
};

// A program over a whole sequence.
template <class T>
struct ScanCall {
  ProgramView program;
  int64_t steps, batch;
  Order order;
  bool reverse;             // steps run from T-1 down to 0
  bool reset_after;         // resets act on the next state instead of the given one: backward
  const uint8_t* resets;    // [T, B] or null
  const T* const* inputs;   // each [T, B, width]
  const T* const* fixed;    // each [B, width]
  const T* const* states;   // each [B, width]
  const T* const* shared;   // each [width]
  const T* const* weights;  // each [rows, columns]
  T* const* emitted;        // each [T, B, width]; only steps that a row takes part in are written
  T* const* after;          // each [B, width]
};

}  // namespace recurra
