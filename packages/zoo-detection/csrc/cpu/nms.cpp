// Non-maximum suppression on the CPU.
//
// Boxes are visited by decreasing score, and each is compared with the boxes kept so far that are near it. "Near" is
// read off a grid of cells: a kept box is listed in every cell that it covers, and a candidate looks up the cells of
// its middle part only. That is enough: where IoU > t, the two overlap in more than t of the candidate's width and of
// its height, and such an overlap reaches into [x1 + t w, x2 - t w] (for t >= 1/2, into the centre).
//
// Work and memory: N log N, and for each box the kept ones near it. Boxes of all sizes in one place, of which a
// threshold close to 1 keeps nearly all, are the worst case: N^2 / 2 pairs, sixteen at a time.
#include "../common/checks.h"
#include "kernels.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

namespace zoo::cpu {
namespace {

// An unsigned key that sorts scores in decreasing order: NaN first, as torch.sort has it, and -0 like 0.
template <typename T>
auto descending_key(T score) {
  using Key = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  if (std::isnan(score)) return Key{0};
  const Key bits = std::bit_cast<Key>(score + T(0));
  constexpr Key sign = Key{1} << (8 * sizeof(Key) - 1);
  const Key ascending = (bits & sign) != 0 ? ~bits : bits | sign;
  return static_cast<Key>(~ascending);
}

// Sorts `order` by key[i], stably: a radix sort that skips the digits in which no keys differ.
template <typename Key>
void radix_sort(const std::vector<Key>& key, std::vector<int32_t>& order) {
  constexpr int kBits = 11;
  constexpr size_t kBuckets = size_t{1} << kBits;
  std::vector<int32_t> from = std::move(order);
  std::vector<int32_t> to(from.size());
  std::array<int32_t, kBuckets> count;
  for (int shift = 0; shift < static_cast<int>(8 * sizeof(Key)); shift += kBits) {
    const auto digit = [&](int32_t i) { return static_cast<size_t>(key[i] >> shift) & (kBuckets - 1); };
    count.fill(0);
    for (const int32_t i : from) ++count[digit(i)];
    if (!from.empty() && count[digit(from[0])] == static_cast<int32_t>(from.size())) continue;
    int32_t begin = 0;
    for (int32_t& c : count) begin += std::exchange(c, begin);
    for (const int32_t i : from) to[count[digit(i)]++] = i;
    std::swap(from, to);
  }
  order = std::move(from);
}

template <typename T>
Threshold<T> make_threshold(double iou_threshold) {
  T value = static_cast<T>(iou_threshold);
  if (static_cast<double>(value) > iou_threshold) value = std::nextafter(value, -std::numeric_limits<T>::infinity());
  return {value, value * (T(1) - 8 * std::numeric_limits<T>::epsilon())};
}

// Lists of kept boxes, in chunks for the vector kernel.
template <typename T>
class ChunkPool {
 public:
  void add(int32_t& head, const Box<T>& box) {
    if (head < 0 || chunks_[head].count == kChunk) {
      chunks_.push_back(empty_);
      chunks_.back().next = head;
      head = static_cast<int32_t>(chunks_.size() - 1);
    }
    Chunk<T>& chunk = chunks_[head];
    const int32_t i = chunk.count++;
    chunk.x1[i] = box.x1;
    chunk.y1[i] = box.y1;
    chunk.x2[i] = box.x2;
    chunk.y2[i] = box.y2;
    chunk.area[i] = box.area;
  }

  const Chunk<T>* data() const { return chunks_.data(); }

 private:
  static Chunk<T> make_empty() {
    Chunk<T> chunk;
    std::fill_n(chunk.x1, kChunk, std::numeric_limits<T>::max());
    std::fill_n(chunk.y1, kChunk, std::numeric_limits<T>::max());
    std::fill_n(chunk.x2, kChunk, std::numeric_limits<T>::lowest());
    std::fill_n(chunk.y2, kChunk, std::numeric_limits<T>::lowest());
    std::fill_n(chunk.area, kChunk, T(0));
    chunk.next = -1;
    chunk.count = 0;
    return chunk;
  }

  Chunk<T> empty_ = make_empty();
  std::vector<Chunk<T>> chunks_;
};

// Cells along one axis. Positions beyond the ends belong to the first and the last cell.
class GridAxis {
 public:
  static constexpr int kMaxCells = 128;

  // From a sample of the boxes' intervals: cells of about half a typical box over the range of nearly all centres.
  explicit GridAxis(std::vector<std::pair<double, double>>& intervals) {
    if (intervals.empty()) return;
    std::vector<double> sizes;
    std::vector<double> centres;
    for (const auto& [low, high] : intervals) {
      sizes.push_back(high - low);
      centres.push_back(low + (high - low) / 2);
    }
    std::sort(sizes.begin(), sizes.end());
    std::sort(centres.begin(), centres.end());
    const size_t outliers = centres.size() / 64;
    origin_ = centres[outliers];
    const double range = centres[centres.size() - 1 - outliers] - origin_;
    const double cell = std::max(sizes[sizes.size() / 2] / 2, range / kMaxCells);
    if (!(range > 0) || !(cell > 0) || !std::isfinite(range / cell)) return;
    inverse_ = 1 / cell;
    cells_ = std::clamp(static_cast<int>(range / cell) + 1, 1, kMaxCells);
  }

  int cells() const { return cells_; }

  // Never decreases as the position grows, which the search relies on.
  int cell(double position) const {
    const double c = (position - origin_) * inverse_;
    return c > 0 ? (c < cells_ ? static_cast<int>(c) : cells_ - 1) : 0;
  }

 private:
  double origin_ = 0;
  double inverse_ = 0;
  int cells_ = 1;
};

template <typename T>
struct Interval {
  double low, high;
};

// The part of [low, high] that every overlap of more than `fraction` of it reaches into.
template <typename T>
Interval<T> middle(T low, T high, double fraction) {
  const double size = static_cast<double>(high) - static_cast<double>(low);
  const double slack = 4 * std::numeric_limits<double>::epsilon() * std::max(std::fabs(low), std::fabs(high));
  return {low + fraction * size - slack, high - fraction * size + slack};
}

// A box that is empty or not finite has an IoU of 0 or NaN with every box: it neither suppresses nor is suppressed.
template <typename T>
bool can_overlap(const Box<T>& box) {
  return box.x2 > box.x1 && box.y2 > box.y1 && box.area > T(0) && std::isfinite(box.area);
}

// Greedy suppression of boxes in order: keep[i] = 1 where box i stays.
template <typename T>
void suppress(const Box<T>* boxes, int32_t count, double iou_threshold, uint8_t* keep) {
  constexpr int32_t kNoGridBelow = 192;
  constexpr int kLargeBox = 64;  // boxes over more cells than this are listed once, and everyone looks at them
  const OverlapsFn<T> overlaps = instruction_set().overlaps<T>();
  const Threshold<T> threshold = make_threshold<T>(iou_threshold);
  ChunkPool<T> pool;
  int32_t large = -1;

  if (count < kNoGridBelow) {
    for (int32_t i = 0; i < count; ++i) {
      const bool active = can_overlap(boxes[i]);
      keep[i] = !active || !overlaps(pool.data(), large, boxes[i], threshold);
      if (active && keep[i]) pool.add(large, boxes[i]);
    }
    return;
  }

  std::vector<std::pair<double, double>> sample_x;
  std::vector<std::pair<double, double>> sample_y;
  for (int32_t i = 0; i < count; i += std::max(1, count / 256)) {
    if (!can_overlap(boxes[i])) continue;
    sample_x.emplace_back(boxes[i].x1, boxes[i].x2);
    sample_y.emplace_back(boxes[i].y1, boxes[i].y2);
  }
  const GridAxis columns(sample_x);
  const GridAxis rows(sample_y);
  std::vector<int32_t> heads(static_cast<size_t>(columns.cells()) * rows.cells(), -1);
  // A little less than the threshold, for the rounding of the IoU.
  const double fraction = std::max(0.0, std::min(iou_threshold, 0.5) - 0.01);

  const auto is_suppressed = [&](const Box<T>& box) {
    if (overlaps(pool.data(), large, box, threshold)) return true;
    const auto x = middle(box.x1, box.x2, fraction);
    const auto y = middle(box.y1, box.y2, fraction);
    const int last_row = rows.cell(y.high);
    const int last_column = columns.cell(x.high);
    for (int row = rows.cell(y.low); row <= last_row; ++row) {
      for (int column = columns.cell(x.low); column <= last_column; ++column) {
        if (overlaps(pool.data(), heads[row * columns.cells() + column], box, threshold)) return true;
      }
    }
    return false;
  };
  const auto insert = [&](const Box<T>& box) {
    const int first_row = rows.cell(box.y1);
    const int last_row = rows.cell(box.y2);
    const int first_column = columns.cell(box.x1);
    const int last_column = columns.cell(box.x2);
    if ((last_row - first_row + 1) * (last_column - first_column + 1) > kLargeBox) {
      pool.add(large, box);
      return;
    }
    for (int row = first_row; row <= last_row; ++row) {
      for (int column = first_column; column <= last_column; ++column) {
        pool.add(heads[row * columns.cells() + column], box);
      }
    }
  };
  for (int32_t i = 0; i < count; ++i) {
    const bool active = can_overlap(boxes[i]);
    keep[i] = !active || !is_suppressed(boxes[i]);
    if (active && keep[i]) insert(boxes[i]);
  }
}

// Scalar: the tensors' type. T: what to compute in. class_indices may be null.
template <typename Scalar, typename T>
std::vector<int32_t> run(const Tensor& boxes, const Tensor& scores, const Tensor* class_indices, double iou_threshold) {
  const int32_t count = static_cast<int32_t>(boxes.size(0));
  const Scalar* score = scores.const_data_ptr<Scalar>();
  const int64_t score_stride = scores.stride(0);
  std::vector<decltype(descending_key(T()))> key(count);
  for (int32_t i = 0; i < count; ++i) key[i] = descending_key(static_cast<T>(score[i * score_stride]));
  std::vector<int32_t> by_score(count);
  std::iota(by_score.begin(), by_score.end(), 0);
  radix_sort(key, by_score);
  // Rounding makes no IoU larger than 1: the sum of the areas is at least twice the intersection.
  if (iou_threshold >= 1) return by_score;

  // Classes one after the other, each by decreasing score.
  std::vector<int32_t> order = by_score;
  std::vector<int32_t> class_begin = {0};
  if (class_indices != nullptr) {
    const int64_t* index = class_indices->const_data_ptr<int64_t>();
    const int64_t index_stride = class_indices->stride(0);
    std::vector<uint64_t> class_key(count);
    for (int32_t i = 0; i < count; ++i) class_key[i] = static_cast<uint64_t>(index[i * index_stride]);
    radix_sort(class_key, order);
    for (int32_t i = 1; i < count; ++i) {
      if (class_key[order[i]] != class_key[order[i - 1]]) class_begin.push_back(i);
    }
  }
  class_begin.push_back(count);

  const Scalar* box = boxes.const_data_ptr<Scalar>();
  const int64_t box_stride = boxes.stride(0);
  const int64_t side_stride = boxes.stride(1);
  std::vector<Box<T>> sorted(count);
  for (int32_t i = 0; i < count; ++i) {
    const Scalar* b = box + order[i] * box_stride;
    Box<T>& to = sorted[i];
    to.x1 = static_cast<T>(b[0]);
    to.y1 = static_cast<T>(b[side_stride]);
    to.x2 = static_cast<T>(b[2 * side_stride]);
    to.y2 = static_cast<T>(b[3 * side_stride]);
    to.area = (to.x2 - to.x1) * (to.y2 - to.y1);
  }

  std::vector<uint8_t> keep_sorted(count);
  const int64_t classes = static_cast<int64_t>(class_begin.size()) - 1;
  constexpr int64_t kBoxesPerThread = 2048;
  const int64_t classes_per_thread = std::max<int64_t>(1, classes * kBoxesPerThread / std::max(count, 1));
  torch::stable::parallel_for(0, classes, classes_per_thread, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const int32_t begin = class_begin[c];
      suppress(sorted.data() + begin, class_begin[c + 1] - begin, iou_threshold, keep_sorted.data() + begin);
    }
  });

  std::vector<uint8_t> keep(count);
  for (int32_t i = 0; i < count; ++i) keep[order[i]] = keep_sorted[i];
  std::erase_if(by_score, [&](int32_t i) { return keep[i] == 0; });
  return by_score;
}

Tensor dispatch(const Tensor& boxes, const Tensor& scores, const Tensor* class_indices, double iou_threshold) {
  std::vector<int32_t> kept;
  switch (boxes.scalar_type()) {
    case ScalarType::Double: kept = run<double, double>(boxes, scores, class_indices, iou_threshold); break;
    case ScalarType::Float: kept = run<float, float>(boxes, scores, class_indices, iou_threshold); break;
    case ScalarType::Half:
      kept = run<torch::headeronly::Half, float>(boxes, scores, class_indices, iou_threshold);
      break;
    default: kept = run<torch::headeronly::BFloat16, float>(boxes, scores, class_indices, iou_threshold); break;
  }
  const int64_t size = static_cast<int64_t>(kept.size());
  Tensor result = torch::stable::new_empty(boxes, {size}, ScalarType::Long);
  std::copy(kept.begin(), kept.end(), result.mutable_data_ptr<int64_t>());
  return result;
}

Tensor nms(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms(boxes, scores, iou_threshold);
  return dispatch(boxes, scores, nullptr, iou_threshold);
}

Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms(boxes, scores, iou_threshold);
  check_class_indices(boxes, idxs);
  return dispatch(boxes, scores, &idxs, iou_threshold);
}

}  // namespace
}  // namespace zoo::cpu

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, library) {
  library.impl("nms", TORCH_BOX(&zoo::cpu::nms));
  library.impl("batched_nms", TORCH_BOX(&zoo::cpu::batched_nms));
}
