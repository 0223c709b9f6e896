// What the CPU and the CUDA form of RoIAlign have in common: options, checks, and the tensors that they make.
#pragma once

#include "bins.h"
#include "checks.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/MemoryFormat.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace zoo {

// What _fallback.py checks too.
inline constexpr int64_t kLongestOutput = 1 << 15;
inline constexpr int64_t kMostBins = 1 << 22;
inline constexpr int64_t kMostSamples = 256;

struct Options {
  Bins bins;
  int64_t sampling_ratio;
  bool aligned;
};

// The sizes of the feature maps whose gradients are wanted.
struct MapSizes {
  int64_t batch;
  int64_t channels;
  std::vector<int64_t> heights;
  std::vector<int64_t> widths;

  std::array<int64_t, 4> shape(size_t level) const { return {batch, channels, heights[level], widths[level]}; }
};

// Whether results go channels-last; the fake implementation decides by the same rule.
inline bool is_channels_last(const Tensor& map) {
  return map.size(1) > 1 && map.stride(1) == 1 && map.stride(3) == map.size(1);
}

inline Tensor new_map(const Tensor& like, std::array<int64_t, 4> shape, bool channels_last,
                      std::optional<ScalarType> type = std::nullopt) {
  using torch::headeronly::MemoryFormat;
  return torch::stable::empty(shape, type.value_or(like.scalar_type()), std::nullopt, like.device(), std::nullopt,
                              channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline Tensor new_pooled(const Tensor& map, const Tensor& rois, const Options& options) {
  return new_map(map, {rois.size(0), map.size(1), options.bins.height, options.bins.width}, is_channels_last(map));
}

// rois: (K, 5) of the feature dtype, or float32 where the features are float16 or bfloat16. levels: which of the maps
// each region reads, int64 (K,); null where there is one map.
inline void check_rois(ScalarType feature_type, const Tensor& rois, const Tensor* levels, const Bins& bins) {
  check(is_floating(feature_type), "zoo::roi_align: features must be floating");
  check(rois.dim() == 2 && rois.size(1) == 5, "zoo::roi_align: rois must have shape (K, 5)");
  const bool half = feature_type == ScalarType::Half || feature_type == ScalarType::BFloat16;
  check(rois.scalar_type() == feature_type || (half && rois.scalar_type() == ScalarType::Float),
        "zoo::roi_align: rois must have the dtype of the features, or float32 for half-precision features");
  check(bins.height > 0 && bins.width > 0 && bins.height <= kLongestOutput && bins.width <= kLongestOutput &&
            bins.height * bins.width <= kMostBins,
        "zoo::roi_align: the output size must be in [1, ", kLongestOutput, "] and have at most ", kMostBins,
        " bins, got (", bins.height, ", ", bins.width, ")");
  if (levels == nullptr) return;
  check(levels->dim() == 1 && levels->size(0) == rois.size(0) && levels->scalar_type() == ScalarType::Long,
        "zoo::multiscale_roi_align: levels must be int64 of shape (K,), K as for rois");
}

// More samples than this would not change what is seen of any map, and take for ever.
inline void check_options(const Options& options, const std::vector<double>& scales) {
  check(options.sampling_ratio <= kMostSamples, "zoo::roi_align: sampling_ratio must be at most ", kMostSamples,
        ", got ", options.sampling_ratio);
  for (const double scale : scales) {
    check(std::fabs(scale) <= std::numeric_limits<float>::max(),
          "zoo::roi_align: spatial_scale must be a finite float32, got ", scale);
  }
}

inline void check_map_size(int64_t height, int64_t width) {
  constexpr int64_t kLargest = 1 << 24;
  check(height > 0 && width > 0 && height <= kLargest && width <= kLargest,
        "zoo::roi_align: the height and width of feature maps must be in [1, ", kLargest, "], got (", height, ", ",
        width, ")");
}

inline void check_forward(const std::vector<Tensor>& maps, const Tensor& rois, const Tensor* levels,
                          const std::vector<double>& scales, const Options& options) {
  check(!maps.empty() && maps.size() == scales.size(), "zoo::roi_align: one spatial scale per feature map is needed");
  check_options(options, scales);
  const Tensor& first = maps[0];
  check_rois(first.scalar_type(), rois, levels, options.bins);
  for (const Tensor& map : maps) {
    check(map.dim() == 4 && map.scalar_type() == first.scalar_type() && map.size(0) == first.size(0) &&
              map.size(1) == first.size(1),
          "zoo::roi_align: feature maps must be (N, C, H, W), of one dtype, N and C");
    if (rois.size(0) > 0) check_map_size(map.size(2), map.size(3));
  }
}

inline void check_backward(const Tensor& grad, const Tensor& rois, const Tensor* levels,
                           const std::vector<double>& scales, const Options& options, const MapSizes& sizes) {
  check(!scales.empty() && sizes.heights.size() == scales.size() && sizes.widths.size() == scales.size(),
        "zoo::roi_align_backward: one spatial scale, height and width per feature map is needed");
  check_options(options, scales);
  check_rois(grad.scalar_type(), rois, levels, options.bins);
  check(grad.dim() == 4 && grad.size(0) == rois.size(0) && grad.size(1) == sizes.channels &&
            grad.size(2) == options.bins.height && grad.size(3) == options.bins.width,
        "zoo::roi_align_backward: grad must have the shape of the output");
  check(sizes.batch >= 0, "zoo::roi_align_backward: the batch size must not be negative");
  for (size_t level = 0; level < scales.size(); ++level) {
    check(sizes.heights[level] >= 0 && sizes.widths[level] >= 0,
          "zoo::roi_align_backward: sizes must not be negative");
    if (rois.size(0) > 0) check_map_size(sizes.heights[level], sizes.widths[level]);
  }
}

}  // namespace zoo
