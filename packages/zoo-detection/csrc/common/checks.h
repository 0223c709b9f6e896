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
  // So that the sum of an index and a step is an int32_t too.
  constexpr int64_t kMostBoxes = int64_t{1} << 30;
  check(boxes.size(0) <= kMostBoxes, "zoo::nms: at most ", kMostBoxes, " boxes, got ", boxes.size(0));
  check(iou_threshold >= 0 && iou_threshold <= 1, "zoo::nms: iou_threshold must be in [0, 1], got ", iou_threshold);
}

inline void check_class_indices(const Tensor& boxes, const Tensor& idxs) {
  check(idxs.dim() == 1 && idxs.size(0) == boxes.size(0) && idxs.scalar_type() == ScalarType::Long,
        "zoo::batched_nms: idxs must be int64 of shape (N,), N as for boxes");
}

}  // namespace zoo
