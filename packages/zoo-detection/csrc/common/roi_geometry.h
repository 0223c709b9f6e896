// Where a region of interest samples its feature map. Shared by the CPU and the CUDA kernels, so that both take the
// same samples with the same weights.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#if defined(__CUDACC__)
#define ZOO_HOST_DEVICE __host__ __device__ inline
#else
#define ZOO_HOST_DEVICE inline
#endif

namespace zoo {

// One axis (height or width) of a region, in the pixels of its feature map.
template <typename T>
struct RoiAxis {
  T start;       // where the region begins
  T bin;         // size of one output bin
  int64_t grid;  // samples per bin; 0 gives an empty region
};

// The largest number of samples per bin and axis. Only regions that reach far outside of any map come here.
inline constexpr int64_t kMaxGrid = int64_t{1} << 24;

template <typename T>
ZOO_HOST_DEVICE RoiAxis<T> roi_axis(T low, T high, T scale, int64_t bins, int64_t sampling_ratio, bool aligned) {
  const T offset = aligned ? T(0.5) : T(0);
  const T start = low * scale - offset;
  T size = (high * scale - offset) - start;
  if (!(size - size == T(0))) return {T(0), T(0), 0};  // a NaN or infinite coordinate
  if (!aligned && size < T(1)) size = T(1);
  const T bin = size / static_cast<T>(bins);
  if (sampling_ratio > 0) return {start, bin, sampling_ratio};
  const T samples = std::ceil(bin);
  if (!(samples >= T(1))) return {start, bin, 0};
  return {start, bin, samples < static_cast<T>(kMaxGrid) ? static_cast<int64_t>(samples) : kMaxGrid};
}

template <typename T>
ZOO_HOST_DEVICE T sample_position(const RoiAxis<T>& axis, int64_t bin_index, int64_t sample) {
  return axis.start + static_cast<T>(bin_index) * axis.bin +
         (static_cast<T>(sample) + T(0.5)) * axis.bin / static_cast<T>(axis.grid);
}

struct SampleRange {
  int64_t first, last;  // [first, last)
};

// The samples of a bin that may lie inside a map of `size` pixels. Only a region that is huge beside its map has many
// others, and those are not worth a walk.
template <typename T>
ZOO_HOST_DEVICE SampleRange samples_near_map(const RoiAxis<T>& axis, int64_t bin_index, int64_t size) {
  constexpr int64_t kFewSamples = 1024;
  if (axis.grid <= kFewSamples || axis.bin == T(0)) return {0, axis.grid};
  const double step = static_cast<double>(axis.bin) / static_cast<double>(axis.grid);
  const double start = static_cast<double>(axis.start) + static_cast<double>(bin_index) * static_cast<double>(axis.bin);
  const double one_end = (-1 - start) / step;
  const double other_end = (static_cast<double>(size) - start) / step;
  const double magnitude = std::fabs(start) + std::fabs(static_cast<double>(axis.bin)) + static_cast<double>(size);
  const double slack = 2 + 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * magnitude / std::fabs(step);
  const double first = (one_end < other_end ? one_end : other_end) - slack;
  const double last = (one_end < other_end ? other_end : one_end) + slack;
  const double grid = static_cast<double>(axis.grid);
  return {first > 0 ? (first < grid ? static_cast<int64_t>(first) : axis.grid) : 0,
          last > 0 ? (last < grid ? static_cast<int64_t>(last) : axis.grid) : 0};
}

// Linear interpolation along one axis of `size` pixels: value = low_weight * v[low] + high_weight * v[high].
template <typename T>
struct Interpolation {
  bool inside;  // samples more than one pixel outside of the map count as zero
  int32_t low;
  int32_t high;
  T low_weight;
  T high_weight;
};

template <typename T>
ZOO_HOST_DEVICE Interpolation<T> interpolate(T position, int64_t size) {
  if (!(position >= T(-1) && position <= static_cast<T>(size))) return {false, 0, 0, T(0), T(0)};
  if (position < T(0)) position = T(0);
  const int32_t last = static_cast<int32_t>(size - 1);
  const int32_t low = static_cast<int32_t>(position);
  if (low >= last) return {true, last, last, T(1), T(0)};
  const T fraction = position - static_cast<T>(low);
  return {true, low, low + 1, T(1) - fraction, fraction};
}

}  // namespace zoo
