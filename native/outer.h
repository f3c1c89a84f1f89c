// Products over many rows, c += a^T b: what turns the gradients of sums into the gradients of weights.
// Compiled once for each instruction set; knows nothing of cells or time.
#pragma once

#include "matmul.h"

namespace recurra::RECURRA_ISA {

// Columns of the gradients that make one block of a weight's gradient: nearly equal blocks of at most
// kBlockRows.
struct Blocks {
  int64_t count, small, larger;
  explicit Blocks(int64_t columns)
      : count((columns + kBlockRows - 1) / kBlockRows),
        small(columns / (count ? count : 1)),
        larger(columns % (count ? count : 1)) {}
  int64_t size(int64_t i) const { return small + (i < larger); }
  int64_t start(int64_t i) const { return i * small + (i < larger ? i : larger); }
};

// The first factors of such products, columns of one matrix: packed block by block, where block i of some
// columns holds its numbers of all n rows, row by row.
template <class T>
struct PackedColumns {
  const T* a;
  int64_t n;
  Interleaved<T> at(int64_t column) const { return {a + column * n}; }
};
// Or rows as they are, each `stride` numbers behind the one before.
template <class T>
struct PlainColumns {
  const T* a;
  int64_t stride;
  Transposed<T> at(int64_t column) const { return {a + column, stride}; }
};

// Some such products over the same n rows, in pieces that a team shares out by cost.
template <class T, class Columns = PackedColumns<T>>
class Pieces {
 public:
  Pieces(const Columns& a, int64_t n) : a_(a), n_(n) {}

  // into[columns, width] += (columns of a from `column` on)^T times b, packed as panels of `width` columns, n
  // deep.
  void add(int64_t column, int64_t columns, const T* panels, int64_t width, T* into) {
    if (width == 0) return;  // a piece without cost cannot be shared out by cost
    pieces_[count_++] = {column, columns, panels, width, into};
  }

  void run(const Worker& worker) const {
    int64_t total = 0, done = 0;
    for (int i = 0; i < count_; ++i) total += cost(pieces_[i]) * Blocks(pieces_[i].columns).count;
    const Share share(total, worker.index, worker.size);
    for (int i = 0; i < count_; ++i) {
      const Piece& piece = pieces_[i];
      const Blocks blocks(piece.columns);
      // the blocks whose cost begins in this worker's share
      const int64_t each = cost(piece);
      int64_t from = (share.first - done + each - 1) / each, to = (share.last - done + each - 1) / each;
      from = share.first <= done ? 0 : from < blocks.count ? from : blocks.count;
      to = share.last <= done ? 0 : to < blocks.count ? to : blocks.count;
      run(piece, blocks, from, to);
      done += each * blocks.count;
    }
  }

 private:
  static constexpr int kMostPieces = 2 * 4 + 1;  // two weights of four gates, and a projection
  static constexpr int64_t kBlockBytes = 1 << 18;

  struct Piece {
    int64_t column, columns;
    const T* panels;
    int64_t width;
    T* into;
  };

  static int64_t cost(const Piece& piece) { return panel_count<T>(piece.width); }

  // As many blocks at a time as stay in cache while all panels go over them.
  void run(const Piece& piece, const Blocks& blocks, int64_t from, int64_t to) const {
    constexpr int64_t width = panel_width<T>();
    const int64_t panel = n_ * width, count = panel_count<T>(piece.width);
    const int64_t fit = kBlockBytes / (n_ * kBlockRows * static_cast<int64_t>(sizeof(T))),
                  group = fit > 0 ? fit : 1;
    for (int64_t first = from; first < to; first += group) {
      const int64_t last = first + group < to ? first + group : to;
      for (int64_t p = 0; p < count; ++p) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t start = blocks.start(i);
          blocks_of<T>(blocks.size(i), a_.at(piece.column + start),
                       Second<T>{piece.panels + p * panel, panel, 0}, n_, 1,
                       add_to(piece.into + start * piece.width, piece.width, piece.width).at(0, p * width));
        }
      }
    }
  }

  const Columns a_;
  const int64_t n_;
  Piece pieces_[kMostPieces];
  int count_ = 0;
};

}  // namespace recurra::RECURRA_ISA
