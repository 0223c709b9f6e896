// RoIAlign on CUDA, forward and backward, over one feature map or the levels of a pyramid in one launch.
//
// One thread per output value. Neighbouring threads take neighbouring channels where the features are channels-last,
// and neighbouring bins where they are not, so that what a warp reads and writes lies together.
#include "../common/maps.h"
#include "../common/roi_geometry.h"
#include "stream.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

namespace zoo::cuda {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

constexpr int kThreads = 256;
constexpr int kMaxLevels = 16;

template <typename Scalar>
using Compute = std::conditional_t<std::is_same_v<Scalar, double>, double, float>;

template <typename Scalar>
struct Map {
  Scalar* data;
  int64_t batch_stride, channel_stride, row_stride, col_stride;
  int64_t height, width;
  double scale;
};

// Passed to kernels by value.
template <typename Scalar>
struct Pyramid {
  Map<Scalar> maps[kMaxLevels];
  int levels;
};

template <typename Roi>
struct Regions {
  const Roi* data;
  int64_t stride, side_stride;
  const int64_t* levels;  // null: all on level 0
  int64_t level_stride;
};

struct Output {
  int64_t size;  // number of values
  int64_t batch, channels;
  int64_t stride[4];
  Options options;
  bool channels_last;
};

struct Position {
  int64_t roi, channel, row, col;
};

__device__ Position position_of(int64_t i, const Output& output) {
  const int64_t height = output.options.bins.height;
  const int64_t width = output.options.bins.width;
  if (output.channels_last) {
    const int64_t bin = i / output.channels;
    return {bin / (height * width), i % output.channels, bin / width % height, bin % width};
  }
  const int64_t plane = i / (height * width);
  return {plane / output.channels, plane % output.channels, i / width % height, i % width};
}

__device__ int64_t offset_of(const Position& at, const Output& output) {
  return at.roi * output.stride[0] + at.channel * output.stride[1] + at.row * output.stride[2] +
         at.col * output.stride[3];
}

// What one output value reads.
template <typename T, typename Scalar>
struct Source {
  const Map<Scalar>* map;  // null: the region names no image of the batch, or no level
  Scalar* plane;
  RoiAxis<T> y, x;
  T samples;
};

template <typename T, typename Scalar, typename Roi>
__device__ Source<T, Scalar> source_of(const Pyramid<Scalar>& pyramid, const Regions<Roi>& regions,
                                       const Output& output, const Position& at) {
  const Roi* roi = regions.data + at.roi * regions.stride;
  const double image = static_cast<double>(roi[0]);
  const int64_t level = regions.levels != nullptr ? regions.levels[at.roi * regions.level_stride] : 0;
  if (!(image >= 0 && image < static_cast<double>(output.batch)) || level < 0 || level >= pyramid.levels) return {};
  const Map<Scalar>& map = pyramid.maps[level];
  const Options& options = output.options;
  const T scale = static_cast<T>(map.scale);
  const auto side = [&](int i) { return static_cast<T>(roi[i * regions.side_stride]); };
  Source<T, Scalar> source = {
      &map, map.data + static_cast<int64_t>(image) * map.batch_stride + at.channel * map.channel_stride,
      roi_axis(side(2), side(4), scale, options.bins.height, options.sampling_ratio, options.aligned),
      roi_axis(side(1), side(3), scale, options.bins.width, options.sampling_ratio, options.aligned), T(1)};
  if (source.y.grid == 0 || source.x.grid == 0) source.y.grid = source.x.grid = 0;
  else source.samples = static_cast<T>(source.y.grid) * static_cast<T>(source.x.grid);
  return source;
}

// Calls visit(pixel, weight) for the four pixels of each sample.
template <typename T, typename Scalar, typename Visit>
__device__ void for_each_pixel(const Source<T, Scalar>& source, const Position& at, const Visit& visit) {
  const Map<Scalar>& map = *source.map;
  const SampleRange rows = samples_near_map(source.y, at.row, map.height);
  const SampleRange cols = samples_near_map(source.x, at.col, map.width);
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const Interpolation<T> y = interpolate(sample_position(source.y, at.row, i), map.height);
    if (!y.inside) continue;
    Scalar* low = source.plane + y.low * map.row_stride;
    Scalar* high = source.plane + y.high * map.row_stride;
    for (int64_t j = cols.first; j < cols.last; ++j) {
      const Interpolation<T> x = interpolate(sample_position(source.x, at.col, j), map.width);
      if (!x.inside) continue;
      visit(low + x.low * map.col_stride, y.low_weight * x.low_weight);
      visit(low + x.high * map.col_stride, y.low_weight * x.high_weight);
      visit(high + x.low * map.col_stride, y.high_weight * x.low_weight);
      visit(high + x.high * map.col_stride, y.high_weight * x.high_weight);
    }
  }
}

template <typename Scalar, typename Roi>
__global__ void forward(const __grid_constant__ Pyramid<const Scalar> pyramid, Regions<Roi> regions, Output output,
                        Scalar* pooled) {
  using T = Compute<Scalar>;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < output.size; i += step) {
    const Position at = position_of(i, output);
    const auto source = source_of<T>(pyramid, regions, output, at);
    T value = std::numeric_limits<T>::quiet_NaN();
    if (source.map != nullptr) {
      T sum = T(0);
      for_each_pixel(source, at, [&](const Scalar* pixel, T weight) { sum += weight * static_cast<T>(*pixel); });
      value = sum / source.samples;
    }
    pooled[offset_of(at, output)] = static_cast<Scalar>(value);
  }
}

// The pyramid is of the compute type and zero at first.
template <typename Scalar, typename Roi>
__global__ void backward(const __grid_constant__ Pyramid<Compute<Scalar>> pyramid, Regions<Roi> regions, Output output,
                         const Scalar* grad) {
  using T = Compute<Scalar>;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < output.size; i += step) {
    const Position at = position_of(i, output);
    const auto source = source_of<T>(pyramid, regions, output, at);
    if (source.map == nullptr) continue;
    const T value = static_cast<T>(grad[offset_of(at, output)]) / source.samples;
    for_each_pixel(source, at, [&](T* pixel, T weight) { atomicAdd(pixel, weight * value); });
  }
}

template <typename Scalar>
Pyramid<Scalar> pyramid_of(const std::vector<Tensor>& maps, const std::vector<double>& scales) {
  Pyramid<Scalar> pyramid{};
  pyramid.levels = static_cast<int>(maps.size());
  for (size_t i = 0; i < maps.size(); ++i) {
    const Tensor& map = maps[i];
    Scalar* data;
    if constexpr (std::is_const_v<Scalar>) data = map.const_data_ptr<std::remove_const_t<Scalar>>();
    else data = map.mutable_data_ptr<Scalar>();
    pyramid.maps[i] = {data,          map.stride(0), map.stride(1), map.stride(2),
                       map.stride(3), map.size(2),   map.size(3),   scales[i]};
  }
  return pyramid;
}

template <typename Roi>
Regions<Roi> regions_of(const Tensor& rois, const Tensor* levels) {
  return {rois.const_data_ptr<Roi>(), rois.stride(0), rois.stride(1),
          levels != nullptr ? levels->const_data_ptr<int64_t>() : nullptr, levels != nullptr ? levels->stride(0) : 0};
}

Output output_of(const Tensor& pooled, const Options& options, int64_t batch) {
  return {pooled.numel(), batch,
          pooled.size(1), {pooled.stride(0), pooled.stride(1), pooled.stride(2), pooled.stride(3)},
          options,        is_channels_last(pooled)};
}

unsigned grid_for(const Output& output) {
  constexpr int64_t kMaxBlocks = int64_t{1} << 20;
  return static_cast<unsigned>(std::min<int64_t>((output.size + kThreads - 1) / kThreads, kMaxBlocks));
}

void check_device(const Tensor& reference, const Tensor& rois, const Tensor* levels) {
  const auto same = [&](const Tensor& tensor) {
    return tensor.is_cuda() && tensor.get_device_index() == reference.get_device_index();
  };
  check(same(rois) && (levels == nullptr || same(*levels)),
        "zoo::roi_align: features, rois and levels must be on the same device");
}

template <typename Scalar, typename Roi>
void launch_forward(const std::vector<Tensor>& maps, const Tensor& rois, const Tensor* levels,
                    const std::vector<double>& scales, const Options& options, const Tensor& pooled) {
  const Output output = output_of(pooled, options, maps[0].size(0));
  launch("roi_align", forward<Scalar, Roi>, grid_for(output), kThreads, current_stream(pooled),
         pyramid_of<const Scalar>(maps, scales), regions_of<Roi>(rois, levels), output,
         pooled.mutable_data_ptr<Scalar>());
}

template <typename Scalar, typename Roi>
void launch_backward(const Tensor& grad, const Tensor& rois, const Tensor* levels, const std::vector<double>& scales,
                     const Options& options, const std::vector<Tensor>& sums) {
  const Output output = output_of(grad, options, sums[0].size(0));
  launch("roi_align_backward", backward<Scalar, Roi>, grid_for(output), kThreads, current_stream(grad),
         pyramid_of<Compute<Scalar>>(sums, scales), regions_of<Roi>(rois, levels), output,
         grad.const_data_ptr<Scalar>());
}

// Calls body<Scalar, Roi>() for the types of the features and of the regions.
template <typename Body>
void dispatch(ScalarType type, ScalarType roi_type, const Body& body) {
  const bool float_rois = roi_type == ScalarType::Float;
  switch (type) {
    case ScalarType::Double: body.template operator()<double, double>(); break;
    case ScalarType::Float: body.template operator()<float, float>(); break;
    case ScalarType::Half:
      if (float_rois) body.template operator()<Half, float>();
      else body.template operator()<Half, Half>();
      break;
    default:
      if (float_rois) body.template operator()<BFloat16, float>();
      else body.template operator()<BFloat16, BFloat16>();
      break;
  }
}

Tensor run_forward(const std::vector<Tensor>& maps, const Tensor& rois, const Tensor* levels,
                   const std::vector<double>& scales, const Options& options) {
  check_forward(maps, rois, levels, scales, options);
  check(maps.size() <= kMaxLevels, "zoo::multiscale_roi_align: at most ", kMaxLevels, " levels");
  for (const Tensor& map : maps) check_device(maps[0], map, nullptr);
  check_device(maps[0], rois, levels);
  const torch::stable::accelerator::DeviceGuard guard(maps[0].get_device_index());
  const Tensor pooled = new_pooled(maps[0], rois, options);
  if (pooled.numel() == 0) return pooled;
  dispatch(maps[0].scalar_type(), rois.scalar_type(), [&]<typename Scalar, typename Roi>() {
    launch_forward<Scalar, Roi>(maps, rois, levels, scales, options, pooled);
  });
  return pooled;
}

std::vector<Tensor> run_backward(const Tensor& grad, const Tensor& rois, const Tensor* levels,
                                 const std::vector<double>& scales, const Options& options, const MapSizes& sizes) {
  check_backward(grad, rois, levels, scales, options, sizes);
  check(scales.size() <= kMaxLevels, "zoo::multiscale_roi_align_backward: at most ", kMaxLevels, " levels");
  check_device(grad, rois, levels);
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const bool channels_last = is_channels_last(grad);
  const bool half = grad.scalar_type() == ScalarType::Half || grad.scalar_type() == ScalarType::BFloat16;
  std::vector<Tensor> sums;
  for (size_t level = 0; level < scales.size(); ++level) {
    sums.push_back(new_map(grad, sizes.shape(level), channels_last, half ? ScalarType::Float : grad.scalar_type()));
    torch::stable::zero_(sums.back());
  }
  if (grad.numel() > 0 && sizes.batch > 0) {
    dispatch(grad.scalar_type(), rois.scalar_type(), [&]<typename Scalar, typename Roi>() {
      launch_backward<Scalar, Roi>(grad, rois, levels, scales, options, sums);
    });
  }
  if (!half) return sums;
  std::vector<Tensor> results;
  for (size_t level = 0; level < scales.size(); ++level) {
    results.push_back(new_map(grad, sizes.shape(level), channels_last));
    torch::stable::copy_(results.back(), sums[level]);
  }
  return results;
}

Tensor roi_align(const Tensor& input, const Tensor& rois, double spatial_scale, int64_t pooled_height,
                 int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  return run_forward({input}, rois, nullptr, {spatial_scale}, {{pooled_height, pooled_width}, sampling_ratio, aligned});
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, double spatial_scale, int64_t pooled_height,
                          int64_t pooled_width, int64_t batch, int64_t channels, int64_t height, int64_t width,
                          int64_t sampling_ratio, bool aligned) {
  return run_backward(grad, rois, nullptr, {spatial_scale}, {{pooled_height, pooled_width}, sampling_ratio, aligned},
                      {batch, channels, {height}, {width}})[0];
}

Tensor multiscale_roi_align(const std::vector<Tensor>& inputs, const Tensor& rois, const Tensor& levels,
                            const std::vector<double>& spatial_scales, int64_t pooled_height, int64_t pooled_width,
                            int64_t sampling_ratio, bool aligned) {
  return run_forward(inputs, rois, &levels, spatial_scales, {{pooled_height, pooled_width}, sampling_ratio, aligned});
}

std::vector<Tensor> multiscale_roi_align_backward(const Tensor& grad, const Tensor& rois, const Tensor& levels,
                                                  const std::vector<double>& spatial_scales, int64_t pooled_height,
                                                  int64_t pooled_width, int64_t batch, int64_t channels,
                                                  const std::vector<int64_t>& heights,
                                                  const std::vector<int64_t>& widths, int64_t sampling_ratio,
                                                  bool aligned) {
  return run_backward(grad, rois, &levels, spatial_scales, {{pooled_height, pooled_width}, sampling_ratio, aligned},
                      {batch, channels, heights, widths});
}

}  // namespace
}  // namespace zoo::cuda

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, library) {
  if (!zoo::cuda::driver_is_new_enough()) return;
  library.impl("roi_align", TORCH_BOX(&zoo::cuda::roi_align));
  library.impl("roi_align_backward", TORCH_BOX(&zoo::cuda::roi_align_backward));
  library.impl("multiscale_roi_align", TORCH_BOX(&zoo::cuda::multiscale_roi_align));
  library.impl("multiscale_roi_align_backward", TORCH_BOX(&zoo::cuda::multiscale_roi_align_backward));
}
