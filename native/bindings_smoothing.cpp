// Exponential smoothing as Python sees it: every array is checked here, by name, and never converted or
// copied.
#include <nanobind/stl/vector.h>

#include "checker.h"
#include "smoothing.h"

namespace recurra {
namespace {

using namespace nb::literals;

template <class A>
using List = std::vector<A>;

// The arguments that forward and backward share, checked and put where the loops look for them.
template <class T>
class CommonSmoothing {
 public:
  CommonSmoothing(const Checker& check, SmoothingCall<T>& call, const Array<const T>& y,
                  const Array<const T>& level, const List<Array<const T>>& rings, const Array<const T>& share,
                  const List<Array<const T>>& turns, const Maybe<const int64_t>& lengths)
      : check_(check), call_(call) {
    const std::vector<int64_t> shape = check.shape("y", y, 2);
    call.steps = shape[0], call.batch = shape[1];
    for (const Array<const T>& ring : rings) {
      sizes_.push_back(check.shape("rings", ring, 2)[1]);
      if (sizes_.back() < 1) check.fail("a ring has no place");
    }
    call.rings = static_cast<int>(rings.size()), call.sizes = sizes_.data();
    call.y = y.data(), call.level = check.data("level", level, {{"B", call.batch}});
    call.share = steps("share", share, 0);
    rings_ = of_rings("rings", rings), turns_ = each("turns", turns, false);
    call.ring = rings_.data(), call.turns = turns_.data();
    call.lengths = check.lengths(lengths, call.steps, call.batch);
  }

  // An array [more + T, B].
  template <class A>
  auto steps(const char* name, const A& array, int64_t more) const {
    return check_.data(name, array, {{"T", more + call_.steps}, {"B", call_.batch}});
  }

  // One array for each ring: [T, B], or with the places of the ring before the steps.
  template <class A>
  auto each(const char* name, const List<A>& arrays, bool with_ring) const {
    count(name, arrays.size());
    List<decltype(steps(name, arrays[0], 0))> found;
    for (size_t k = 0; k < arrays.size(); ++k)
      found.push_back(steps(name, arrays[k], with_ring ? sizes_[k] : 0));
    return found;
  }

  // One array [B, m] for each ring.
  template <class U>
  List<U*> of_rings(const char* name, const List<Array<U>>& arrays) const {
    count(name, arrays.size());
    List<U*> found;
    for (size_t k = 0; k < arrays.size(); ++k)
      found.push_back(check_.data(name, arrays[k], {{"B", call_.batch}, {"m", sizes_[k]}}));
    return found;
  }

 private:
  void count(const char* name, size_t got) const {
    if (got != sizes_.size())
      check_.fail(std::string(name) + " are " + std::to_string(got) + "; expected one a ring, " +
                  std::to_string(sizes_.size()));
  }

  const Checker& check_;
  SmoothingCall<T>& call_;
  List<int64_t> sizes_;
  List<const T*> rings_, turns_;
};

template <class T>
void forward_function(const Array<const T>& y, const Array<const T>& level, const List<Array<const T>>& rings,
                      const Array<const T>& share, const List<Array<const T>>& turns,
                      const Maybe<const int64_t>& lengths, const Array<T>& levels,
                      const List<Array<T>>& seasons) {
  SmoothingForward<T> call{};
  const Checker check("smoothing");
  const CommonSmoothing<T> common(check, call, y, level, rings, share, turns, lengths);
  const auto into = common.each("seasons", seasons, true);
  call.levels = common.steps("levels", levels, 0), call.seasons = into.data();
  const nb::gil_scoped_release released;
  smooth(call);
}

template <class T>
void backward_function(const Maybe<const T>& grad_levels, const List<Maybe<const T>>& grad_seasons,
                       const Array<const T>& y, const Array<const T>& level,
                       const List<Array<const T>>& rings, const Array<const T>& share,
                       const List<Array<const T>>& turns, const Maybe<const int64_t>& lengths,
                       const Array<const T>& levels, const List<Array<const T>>& seasons,
                       const Array<T>& grad_y, const Array<T>& grad_level, const List<Array<T>>& grad_rings,
                       const Array<T>& grad_share, const List<Array<T>>& grad_turns) {
  SmoothingBackward<T> call{};
  const Checker check("smoothing_backward");
  const CommonSmoothing<T> common(check, call, y, level, rings, share, turns, lengths);
  const auto came = common.each("grad_seasons", grad_seasons, true);
  const auto kept = common.each("seasons", seasons, true);
  const auto by_rings = common.of_rings("grad_rings", grad_rings);
  const auto by_turns = common.each("grad_turns", grad_turns, false);
  call.levels = common.steps("levels", levels, 0), call.seasons = kept.data();
  call.grad_levels = common.steps("grad_levels", grad_levels, 0), call.grad_seasons = came.data();
  call.grad_y = common.steps("grad_y", grad_y, 0),
  call.grad_share = common.steps("grad_share", grad_share, 0);
  call.grad_level = check.data("grad_level", grad_level, {{"B", call.batch}});
  call.grad_ring = by_rings.data(), call.grad_turns = by_turns.data();
  const nb::gil_scoped_release released;
  smooth_backward(call);
}

template <class T>
void define(nb::module_& m) {
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("smoothing", &forward_function<T>, array("y"), array("level"), "rings"_a, array("share"), "turns"_a,
        maybe("lengths"), array("levels"), "seasons"_a,
        "Levels[T,B] of y[T,B], and for each ring[B,m] the seasons[m+T,B]: its own places, then one a step.");
  m.def("smoothing_backward", &backward_function<T>, maybe("grad_levels"), "grad_seasons"_a, array("y"),
        array("level"), "rings"_a, array("share"), "turns"_a, maybe("lengths"), array("levels"), "seasons"_a,
        array("grad_y"), array("grad_level"), "grad_rings"_a, array("grad_share"), "grad_turns"_a,
        "Gradients of smoothing, all of them at once.");
}

}  // namespace

void define_smoothing(nb::module_& m) {
  define<float>(m);
  define<double>(m);
}

}  // namespace recurra
