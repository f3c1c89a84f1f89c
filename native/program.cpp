// See program.h.
#include "program.h"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace recurra {
namespace {

struct Named {
  Operation operation;
  size_t operands;
};

const std::map<std::string, Named>& named() {
  static const std::map<std::string, Named> table = {
      {"neg", {Operation::kNeg, 1}},         {"abs", {Operation::kAbs, 1}},
      {"sign", {Operation::kSign, 1}},       {"exp", {Operation::kExp, 1}},
      {"expm1", {Operation::kExpm1, 1}},     {"log", {Operation::kLog, 1}},
      {"log1p", {Operation::kLog1p, 1}},     {"sqrt", {Operation::kSqrt, 1}},
      {"rsqrt", {Operation::kRsqrt, 1}},     {"reciprocal", {Operation::kReciprocal, 1}},
      {"sigmoid", {Operation::kSigmoid, 1}}, {"tanh", {Operation::kTanh, 1}},
      {"sin", {Operation::kSin, 1}},         {"cos", {Operation::kCos, 1}},
      {"erf", {Operation::kErf, 1}},         {"add", {Operation::kAdd, 2}},
      {"sub", {Operation::kSub, 2}},         {"mul", {Operation::kMul, 2}},
      {"div", {Operation::kDiv, 2}},         {"maximum", {Operation::kMaximum, 2}},
      {"minimum", {Operation::kMinimum, 2}}, {"gt", {Operation::kGt, 2}},
      {"ge", {Operation::kGe, 2}},           {"lt", {Operation::kLt, 2}},
      {"le", {Operation::kLe, 2}},           {"eq", {Operation::kEq, 2}},
      {"ne", {Operation::kNe, 2}},           {"where", {Operation::kWhere, 3}},
      {"stop", {Operation::kCopy, 1}},
  };
  return table;
}

[[noreturn]] void unsound(const std::string& problem) {
  throw std::invalid_argument("Program: " + problem);
}

void check_width(int64_t width) {
  if (width < 1) unsound("a width is below 1");
  if (width > 1 << 24) unsound("a width is above 2^24");
}

}  // namespace

Program::Program(Given given, const std::vector<Instruction>& instructions, std::vector<int64_t> emitted,
                 std::vector<int64_t> after, int64_t resettable)
    : given_(std::move(given)),
      emitted_(std::move(emitted)),
      after_(std::move(after)),
      resettable_(resettable) {
  const int64_t states = static_cast<int64_t>(given_.states.size());
  if (resettable_ < 0) resettable_ = states;
  if (resettable_ > states || static_cast<int64_t>(after_.size()) != states)
    unsound("it has another number of states after a step than before");
  for (const auto* part : {&given_.inputs, &given_.fixed, &given_.states, &given_.shared})
    widths_.insert(widths_.end(), part->begin(), part->end());
  for (const int64_t width : widths_) check_width(width);
  const size_t shared = widths_.size() - given_.shared.size();
  for (size_t i = 0; i < widths_.size(); ++i) {
    const auto kind = i < shared ? ProgramValue::Kind::kScratch : ProgramValue::Kind::kShared;
    const int64_t at = i < shared ? 0 : static_cast<int64_t>(i - shared);
    values_.push_back({kind, at, 0, i < shared ? widths_[i] : 0, widths_[i]});
    root_.push_back(static_cast<int64_t>(i));
    outer_.push_back(static_cast<int64_t>(i));
  }
  for (const Instruction& one : instructions) add(one);
  for (auto* results : {&emitted_, &after_}) {
    for (int64_t& value : *results) {
      if (value < 0 || value >= static_cast<int64_t>(outer_.size())) unsound("a result is no value");
      value = outer_[static_cast<size_t>(value)];
    }
  }
  for (size_t i = 0; i < after_.size(); ++i) {
    const int64_t width = values_[static_cast<size_t>(after_[i])].width, wanted = given_.states[i];
    if (width != wanted && width != 1) unsound("a state changes its width");
    const bool own = values_[static_cast<size_t>(after_[i])].kind == ProgramValue::Kind::kScratch &&
                     root_[static_cast<size_t>(after_[i])] >= static_cast<int64_t>(widths_.size());
    // what is given may be overwritten before it is read: take a copy
    if (!own || width != wanted) after_[i] = copy(after_[i], wanted);
  }
  place();
}

int64_t Program::value_of(const std::pair<int64_t, double>& operand) {
  if (operand.first < 0) {
    values_.push_back({ProgramValue::Kind::kNumber, static_cast<int64_t>(numbers_.size()), 0, 0, 1});
    root_.push_back(static_cast<int64_t>(values_.size()) - 1);
    numbers_.push_back(operand.second);
    return static_cast<int64_t>(values_.size()) - 1;
  }
  if (operand.first >= static_cast<int64_t>(outer_.size())) unsound("an operand is no value");
  return outer_[static_cast<size_t>(operand.first)];
}

int64_t Program::pointwise(const Instruction& one, Operation operation, size_t operands) {
  if (one.operands.size() != operands) unsound(one.operation + " has another number of operands");
  ProgramStep step{operation, 0, {-1, -1, -1}, -1};
  for (size_t i = 0; i < operands; ++i) {
    step.from[i] = value_of(one.operands[i]);
    const int64_t width = values_[static_cast<size_t>(step.from[i])].width;
    const bool reduces = operation == Operation::kRowSum || operation == Operation::kRowMax;
    if (!reduces && width != 1 && width != one.width)
      unsound(one.operation + " has operands of other widths");
  }
  step.to = scratch(one.width);
  steps_.push_back(step);
  return step.to;
}

int64_t Program::scratch(int64_t width) {
  values_.push_back({ProgramValue::Kind::kScratch, 0, 0, width, width});
  root_.push_back(static_cast<int64_t>(values_.size()) - 1);
  return root_.back();
}

int64_t Program::copy(int64_t from, int64_t width) {
  const int64_t to = scratch(width);
  steps_.push_back({Operation::kCopy, to, {from, -1, -1}, -1});
  return to;
}

void Program::add(const Instruction& one) {
  check_width(one.width);
  const auto only = [&]() {
    if (one.operands.size() != 1) unsound(one.operation + " has another number of operands");
    return value_of(one.operands[0]);
  };
  const auto found = named().find(one.operation);
  if (found != named().end()) {
    outer_.push_back(pointwise(one, found->second.operation, found->second.operands));
  } else if (one.operation == "rowsum" || one.operation == "rowmax") {
    if (one.width != 1) unsound(one.operation + " has width 1");
    outer_.push_back(pointwise(one, one.operation == "rowsum" ? Operation::kRowSum : Operation::kRowMax, 1));
  } else if (one.operation == "spread") {
    outer_.push_back(pointwise(one, Operation::kCopy, 1));
  } else if (one.operation == "slice") {
    const int64_t from = only();
    ProgramValue part = values_[static_cast<size_t>(from)];
    if (one.attribute < 0 || one.attribute > part.width - one.width) unsound("a slice leaves its value");
    part.column += one.attribute, part.width = one.width;
    values_.push_back(part);
    root_.push_back(root_[static_cast<size_t>(from)]);
    outer_.push_back(static_cast<int64_t>(values_.size()) - 1);
  } else if (one.operation == "cat") {
    // one copy for each part, into its columns
    const int64_t to = scratch(one.width);
    int64_t column = 0;
    for (const auto& operand : one.operands) {
      const int64_t from = value_of(operand), width = values_[static_cast<size_t>(from)].width;
      values_.push_back({ProgramValue::Kind::kScratch, 0, column, one.width, width});
      root_.push_back(to);
      steps_.push_back({Operation::kCopy, static_cast<int64_t>(values_.size()) - 1, {from, -1, -1}, -1});
      column += width;
    }
    if (column != one.width) unsound("a cat has parts of another width");
    outer_.push_back(to);
  } else if (one.operation == "product") {
    const int64_t from = only(), number = one.attribute / 2;
    if (one.attribute < 0 || number >= static_cast<int64_t>(given_.weights.size()))
      unsound("there is no such weight");
    const auto [rows, columns] = given_.weights[static_cast<size_t>(number)];
    const bool transposed = one.attribute % 2 == 1;
    if (values_[static_cast<size_t>(from)].width != (transposed ? rows : columns) ||
        one.width != (transposed ? columns : rows))
      unsound("a product does not fit its weight");
    int64_t weight = 0;
    while (weight < static_cast<int64_t>(weights_.size()) &&
           (weights_[static_cast<size_t>(weight)].number != number ||
            weights_[static_cast<size_t>(weight)].transposed != transposed))
      ++weight;
    if (weight == static_cast<int64_t>(weights_.size()))
      weights_.push_back({number, rows, columns, transposed});
    const int64_t to = scratch(one.width);
    steps_.push_back({Operation::kProduct, to, {from, -1, -1}, weight});
    outer_.push_back(to);
  } else {
    unsound("there is no operation '" + one.operation + "'");
  }
}

// Gives every value in scratch its place in a row; one that is not needed any more leaves its place to
// others.
void Program::place() {
  const int64_t never = static_cast<int64_t>(steps_.size());
  std::vector<int64_t> last(values_.size(), -1);  // the last step that needs a root
  for (int64_t at = 0; at < never; ++at) {
    const ProgramStep& step = steps_[static_cast<size_t>(at)];
    for (const int64_t value : step.from)
      if (value >= 0) last[static_cast<size_t>(root_[static_cast<size_t>(value)])] = at;
  }
  for (const auto* results : {&emitted_, &after_})
    for (const int64_t value : *results) last[static_cast<size_t>(root_[static_cast<size_t>(value)])] = never;

  std::vector<std::pair<int64_t, int64_t>> free;  // (offset, size)
  const auto take = [&](int64_t size) {
    auto best = free.end();
    for (auto it = free.begin(); it != free.end(); ++it)
      if (it->second >= size && (best == free.end() || it->second < best->second)) best = it;
    if (best == free.end()) {
      row_numbers_ += size;
      return row_numbers_ - size;
    }
    const int64_t offset = best->first;
    best->first += size, best->second -= size;
    if (best->second == 0) free.erase(best);
    return offset;
  };
  const size_t given = widths_.size();
  for (size_t i = 0; i < given; ++i)
    if (values_[i].kind == ProgramValue::Kind::kScratch) values_[i].offset = take(values_[i].stride);
  std::vector<bool> placed(values_.size(), false);
  std::vector<std::vector<int64_t>> ends(static_cast<size_t>(never) + 1);
  for (int64_t at = 0; at < never; ++at) {
    const int64_t root = root_[static_cast<size_t>(steps_[static_cast<size_t>(at)].to)];
    ProgramValue& value = values_[static_cast<size_t>(root)];
    if (!placed[static_cast<size_t>(root)]) {
      placed[static_cast<size_t>(root)] = true;
      value.offset = take(value.stride);
      const int64_t end = std::max(last[static_cast<size_t>(root)], at);
      if (end < never) ends[static_cast<size_t>(end)].push_back(root);
    }
    // freed after the step, so that no step writes where it reads
    for (const int64_t done : ends[static_cast<size_t>(at)])
      free.emplace_back(values_[static_cast<size_t>(done)].offset, values_[static_cast<size_t>(done)].stride);
  }
  // whole lines of cache, an odd number of them, so that rows do not compete for the same places in it
  row_numbers_ = (row_numbers_ + 15) / 16 * 16;
  if (row_numbers_ / 16 % 2 == 0) row_numbers_ += 16;
  for (size_t i = given; i < values_.size(); ++i)
    if (values_[i].kind == ProgramValue::Kind::kScratch)
      values_[i].offset = values_[static_cast<size_t>(root_[i])].offset;
}

ProgramView Program::view() const {
  const auto count = [](const auto& of) { return static_cast<int64_t>(of.size()); };
  return {count(given_.inputs), count(given_.fixed), count(given_.states), count(given_.shared),
          count(emitted_),      resettable_,         widths_.data(),       values_.data(),
          steps_.data(),        count(steps_),       weights_.data(),      count(weights_),
          emitted_.data(),      after_.data(),       numbers_.data(),      count(numbers_),
          row_numbers_};
}

}  // namespace recurra
