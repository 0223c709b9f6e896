#include "roi_plan.h"

#include "../common/checks.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>

namespace zoo::cpu {
namespace {

// The most taps of one axis. An adaptive grid has samples half a pixel apart or more, so that the bins of one region
// cannot each see a whole map.
template <typename T>
int64_t tap_capacity(const RoiAxis<T>& axis, const Sampling& sampling, int64_t bins, int64_t size) {
  const int64_t each = bins * std::min(2 * axis.grid, size);
  return sampling.sampling_ratio > 0 ? each : std::min(each, 16 * (size + 2) + 64 * bins);
}

// Positions in a bin only rise or only fall, so an index that is there already is among the last few.
template <typename T>
void add_tap(std::vector<Tap<T>>& taps, size_t bin_begin, int32_t index, T weight) {
  const size_t recent = std::max(bin_begin, taps.size() < 4 ? 0 : taps.size() - 4);
  for (size_t i = taps.size(); i > recent; --i) {
    if (taps[i - 1].index == index) {
      taps[i - 1].weight += weight;
      return;
    }
  }
  taps.push_back({index, weight});
}

// The taps of each bin, one after the other.
template <typename T>
void axis_taps(const RoiAxis<T>& axis, int64_t bins, int64_t size, T scale, std::vector<Tap<T>>& taps,
               std::vector<int32_t>& begin) {
  taps.clear();
  begin.assign(1, 0);
  for (int64_t bin = 0; bin < bins; ++bin) {
    const size_t bin_begin = taps.size();
    const SampleRange samples = samples_near_map(axis, bin, size);
    for (int64_t s = samples.first; s < samples.last; ++s) {
      const Interpolation<T> at = interpolate(sample_position(axis, bin, s), size);
      if (!at.inside) continue;
      add_tap(taps, bin_begin, at.low, at.low_weight * scale);
      add_tap(taps, bin_begin, at.high, at.high_weight * scale);
    }
    begin.push_back(static_cast<int32_t>(taps.size()));
  }
}

template <typename T>
struct Scratch {
  std::vector<Tap<T>> y, x;
  std::vector<int32_t> y_begin, x_begin, count;
};

// Writes one plan into the memory given.
template <typename T>
RoiPlan<T> make_plan(const RoiAxis<T>& y_axis, const RoiAxis<T>& x_axis, const Sampling& sampling, int32_t* indices,
                     Tap<T>* taps, Scratch<T>& scratch) {
  const T samples = static_cast<T>(std::max<int64_t>(y_axis.grid * x_axis.grid, 1));
  axis_taps(y_axis, sampling.bins.height, sampling.height, T(1) / samples, scratch.y, scratch.y_begin);
  axis_taps(x_axis, sampling.bins.width, sampling.width, T(1), scratch.x, scratch.x_begin);
  check(static_cast<int64_t>(scratch.y.size()) <= tap_capacity(y_axis, sampling, sampling.bins.height, sampling.height) &&
            static_cast<int64_t>(scratch.x.size()) <= tap_capacity(x_axis, sampling, sampling.bins.width, sampling.width),
        "zoo::roi_align: a region has more samples than there can be; please report it");
  RoiPlan<T> plan{};
  if (scratch.y.empty() || scratch.x.empty()) return plan;

  const auto by_index = [](const Tap<T>& a, const Tap<T>& b) { return a.index < b.index; };
  const auto [first_col, last_col] = std::minmax_element(scratch.x.begin(), scratch.x.end(), by_index);
  plan.first_col = first_col->index;
  plan.last_col = last_col->index;

  // Turn the y taps from "rows of each bin" to "bins of each row".
  const auto [first_tap, last_tap] = std::minmax_element(scratch.y.begin(), scratch.y.end(), by_index);
  const int32_t first_row = first_tap->index;
  scratch.count.assign(last_tap->index - first_row + 1, 0);
  for (const Tap<T>& tap : scratch.y) ++scratch.count[tap.index - first_row];
  int32_t* rows = indices;
  int32_t* row_begin = rows + scratch.y.size();
  int32_t* col_begin = row_begin + scratch.y.size() + 1;
  int32_t begin = 0;
  for (size_t i = 0; i < scratch.count.size(); ++i) {
    const int32_t count = scratch.count[i];
    if (count == 0) continue;
    rows[plan.num_rows] = first_row + static_cast<int32_t>(i);
    row_begin[plan.num_rows++] = begin;
    scratch.count[i] = begin;
    begin += count;
  }
  row_begin[plan.num_rows] = begin;
  for (int64_t bin = 0; bin < sampling.bins.height; ++bin) {
    for (int32_t i = scratch.y_begin[bin]; i < scratch.y_begin[bin + 1]; ++i) {
      const Tap<T>& tap = scratch.y[i];
      taps[scratch.count[tap.index - first_row]++] = {static_cast<int32_t>(bin), tap.weight};
    }
  }
  Tap<T>* x_taps = taps + scratch.y.size();
  std::copy(scratch.x.begin(), scratch.x.end(), x_taps);
  std::copy(scratch.x_begin.begin(), scratch.x_begin.end(), col_begin);
  plan.rows = rows;
  plan.row_begin = row_begin;
  plan.y_taps = taps;
  plan.col_begin = col_begin;
  plan.x_taps = x_taps;
  return plan;
}

}  // namespace

template <typename T>
RoiPlans<T>::RoiPlans(const Roi<T>* rois, int64_t count, const Sampling& sampling) {
  constexpr int64_t kMemoryBudget = int64_t{64} << 20;
  const Bins& bins = sampling.bins;
  const T scale = static_cast<T>(sampling.spatial_scale);
  struct Layout {
    RoiAxis<T> y, x;
    int64_t indices, taps;
  };
  std::vector<Layout> layout;
  int64_t indices = 0;
  int64_t taps = 0;
  for (int64_t i = 0; i < count; ++i) {
    Layout next{roi_axis(rois[i].y1, rois[i].y2, scale, bins.height, sampling.sampling_ratio, sampling.aligned),
                roi_axis(rois[i].x1, rois[i].x2, scale, bins.width, sampling.sampling_ratio, sampling.aligned), indices,
                taps};
    if (next.y.grid == 0 || next.x.grid == 0) next.y.grid = next.x.grid = 0;
    const int64_t y_taps = tap_capacity(next.y, sampling, bins.height, sampling.height);
    indices += 2 * y_taps + 1 + bins.width + 1;
    taps += y_taps + tap_capacity(next.x, sampling, bins.width, sampling.width);
    const int64_t bytes = indices * static_cast<int64_t>(sizeof(int32_t)) + taps * static_cast<int64_t>(sizeof(Tap<T>));
    if (i > 0 && bytes > kMemoryBudget) {
      indices = next.indices;
      taps = next.taps;
      break;
    }
    layout.push_back(next);
  }
  indices_.resize(indices);
  taps_.resize(taps);
  plans_.resize(layout.size());
  constexpr int64_t kRoisPerThread = 64;
  torch::stable::parallel_for(0, size(), kRoisPerThread, [&](int64_t first, int64_t last) {
    Scratch<T> scratch;
    for (int64_t i = first; i < last; ++i) {
      plans_[i] = make_plan(layout[i].y, layout[i].x, sampling, indices_.data() + layout[i].indices,
                            taps_.data() + layout[i].taps, scratch);
    }
  });
}

template class RoiPlans<float>;
template class RoiPlans<double>;

}  // namespace zoo::cpu
