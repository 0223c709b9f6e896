// Where a region of interest samples its feature map. Shared by the CPU and the CUDA kernels, so that both take the
// same samples with the same weights.
#pragma once

#include <cmath>
#include <cstdint>

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
