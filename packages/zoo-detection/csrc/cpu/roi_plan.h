// The interpolation weights of regions of interest, merged by feature row and by feature column.
#pragma once

#include "../common/roi_geometry.h"
#include "roi_align_kernel.h"

#include <cstdint>
#include <vector>

namespace zoo::cpu {

template <typename T>
struct Roi {
  T x1, y1, x2, y2;
  int64_t index;  // its row in the operator's input
};

// What turns a region in image coordinates into samples of a feature map.
struct Sampling {
  double spatial_scale;
  int64_t height;  // of the feature map
  int64_t width;
  Bins bins;
  int64_t sampling_ratio;
  bool aligned;
};

// Plans for as many of the regions as fit a memory budget, at least one. The plans point into this object.
template <typename T>
class RoiPlans {
 public:
  RoiPlans(const Roi<T>* rois, int64_t count, const Sampling& sampling);
  RoiPlans(const RoiPlans&) = delete;
  RoiPlans& operator=(const RoiPlans&) = delete;

  int64_t size() const { return static_cast<int64_t>(plans_.size()); }
  const RoiPlan<T>& operator[](int64_t i) const { return plans_[i]; }

 private:
  std::vector<int32_t> indices_;
  std::vector<Tap<T>> taps_;
  std::vector<RoiPlan<T>> plans_;
};

extern template class RoiPlans<float>;
extern template class RoiPlans<double>;

}  // namespace zoo::cpu
