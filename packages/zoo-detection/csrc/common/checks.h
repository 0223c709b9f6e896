// Argument checks that keep the kernels memory-safe however the operators are called. The Python functions check more
// and explain better; these serve direct calls through torch.ops.zoo.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace zoo {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename... Parts>
void check(bool condition, const Parts&... message) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << message);
  throw std::runtime_error(text.str());
}

inline bool is_floating(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
         type == ScalarType::BFloat16;
}

inline void check_nms(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check(boxes.dim() == 2 && boxes.size(1) == 4, "zoo::nms: boxes must have shape (N, 4)");
  check(scores.dim() == 1 && scores.size(0) == boxes.size(0), "zoo::nms: scores must have shape (N,), N as for boxes");
  check(is_floating(boxes.scalar_type()) && boxes.scalar_type() == scores.scalar_type(),
        "zoo::nms: boxes and scores must have one floating dtype");
  check(boxes.size(0) <= std::numeric_limits<int32_t>::max() - 64, "zoo::nms: too many boxes");
  check(iou_threshold >= 0 && iou_threshold <= 1, "zoo::nms: iou_threshold must be in [0, 1], got ", iou_threshold);
}

inline void check_class_indices(const Tensor& boxes, const Tensor& idxs) {
  check(idxs.dim() == 1 && idxs.size(0) == boxes.size(0) && idxs.scalar_type() == ScalarType::Long,
        "zoo::batched_nms: idxs must be int64 of shape (N,), N as for boxes");
}

// rois: (K, 5) of the feature dtype, or float32 where the features are float16 or bfloat16.
inline void check_rois(ScalarType feature_type, const Tensor& rois, int64_t pooled_height, int64_t pooled_width) {
  check(is_floating(feature_type), "zoo::roi_align: features must be floating");
  check(rois.dim() == 2 && rois.size(1) == 5, "zoo::roi_align: rois must have shape (K, 5)");
  const bool half = feature_type == ScalarType::Half || feature_type == ScalarType::BFloat16;
  check(rois.scalar_type() == feature_type || (half && rois.scalar_type() == ScalarType::Float),
        "zoo::roi_align: rois must have the dtype of the features, or float32 for half-precision features");
  check(pooled_height > 0 && pooled_width > 0, "zoo::roi_align: the output size must be positive");
}

inline void check_map_size(int64_t height, int64_t width) {
  constexpr int64_t largest = std::numeric_limits<int32_t>::max() - 1;
  check(height > 0 && width > 0 && height <= largest && width <= largest,
        "zoo::roi_align: feature maps must have a height and width of at least 1");
}

// levels: int64 (K,), which of the maps each region reads; undefined where there is one map.
inline void check_levels(const Tensor& rois, const Tensor& levels) {
  check(levels.dim() == 1 && levels.size(0) == rois.size(0) && levels.scalar_type() == ScalarType::Long,
        "zoo::multiscale_roi_align: levels must be int64 of shape (K,), K as for rois");
}

}  // namespace zoo
