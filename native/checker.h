// Arrays from Python, and the checks that keep every call inside them: each array is checked by name, never
// converted or copied. For the bindings only.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace recurra {

namespace nb = nanobind;

template <class T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
template <class T>
using Maybe = std::optional<Array<T>>;

using Dimension = std::pair<const char*, int64_t>;

inline std::string text(const std::vector<int64_t>& shape) {
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

// The bindings of Network and Stepper, of Program, of sweeps and of smoothing.
void define_networks(nb::module_& m);
void define_programs(nb::module_& m);
void define_sweeps(nb::module_& m);
void define_smoothing(nb::module_& m);

}  // namespace recurra
