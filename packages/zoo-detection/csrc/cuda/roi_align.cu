// RoIAlign on CUDA, forward and backward, over one feature map or the levels of a pyramid in one launch.
//
// A block takes one region and some of its channels. Where the region's samples lie, and with which weights, it works out
// once and keeps in shared memory; then each thread sums output values. Neighbouring threads take neighbouring channels
// where the features are channels-last, and neighbouring bins where they are not, so that what a warp reads and writes
// lies together.
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
// Output values of a block, about: enough that its samples are worth keeping.
constexpr int64_t kOutputs = 8 * kThreads;
// Samples along an axis that a block keeps. A region with more has them worked out for every output value.
constexpr int kSamples = 128;

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
  int64_t batch, channels;
  int64_t stride[4];
  Options options;
  bool channels_last;
  int64_t channels_of_block;
  int64_t parts;   // blocks that share the channels of a region
  int64_t blocks;  // of all regions
  bool narrow;     // offsets within a channel of every map fit 32 bits
};

__device__ int64_t offset_of(int64_t roi, int64_t channel, int64_t row, int64_t col, const Output& output) {
  return roi * output.stride[0] + channel * output.stride[1] + row * output.stride[2] + col * output.stride[3];
}

// A region in the map that it is taken from.
template <typename T, typename Scalar>
struct Region {
  const Map<Scalar>* map;  // null: the region names no image of the batch, or no level
  Scalar* image;
  RoiAxis<T> y, x;
  T samples;
};

template <typename T, typename Scalar, typename Roi>
__device__ Region<T, Scalar> region_of(const Pyramid<Scalar>& pyramid, const Regions<Roi>& regions,
                                       const Output& output, int64_t index) {
  const Roi* roi = regions.data + index * regions.stride;
  const double image = static_cast<double>(roi[0]);
  const int64_t level = regions.levels != nullptr ? regions.levels[index * regions.level_stride] : 0;
  if (!(image >= 0 && image < static_cast<double>(output.batch)) || level < 0 || level >= pyramid.levels) return {};
  const Map<Scalar>& map = pyramid.maps[level];
  const Options& options = output.options;
  const T scale = static_cast<T>(map.scale);
  const auto side = [&](int i) { return static_cast<T>(roi[i * regions.side_stride]); };
  Region<T, Scalar> region = {
      &map, map.data + static_cast<int64_t>(image) * map.batch_stride,
      roi_axis(side(2), side(4), scale, options.bins.height, options.sampling_ratio, options.aligned),
      roi_axis(side(1), side(3), scale, options.bins.width, options.sampling_ratio, options.aligned), T(1)};
  if (region.y.grid == 0 || region.x.grid == 0) region.y.grid = region.x.grid = 0;
  else region.samples = static_cast<T>(region.y.grid) * static_cast<T>(region.x.grid);
  return region;
}

// A sample along one axis: offsets of the two pixels between which it lies, and their weights.
template <typename T>
struct Sample {
  int32_t low, high;  // low < 0: outside of the map
  T low_weight, high_weight;
};

// The samples of all bins along an axis, by the threads of a block together.
template <typename T>
__device__ void keep_samples(const RoiAxis<T>& axis, int bins, int64_t size, int64_t stride, Sample<T>* kept) {
  const int grid = static_cast<int>(axis.grid);
  for (int i = threadIdx.x; i < bins * grid; i += kThreads) {
    const Interpolation<T> at = interpolate(sample_position(axis, i / grid, i % grid), size);
    kept[i] = {at.inside ? static_cast<int32_t>(at.low * stride) : -1, static_cast<int32_t>(at.high * stride),
               at.low_weight, at.high_weight};
  }
}

template <typename T>
__device__ bool can_be_kept(const RoiAxis<T>& axis, int64_t bins) {
  return bins <= kSamples && axis.grid <= kSamples && bins * axis.grid <= kSamples;
}

// Calls visit(pixel, weight) for the four pixels of each sample of a bin, from the samples that the block has kept.
template <typename Scalar, typename T, typename Visit>
__device__ void for_each_pixel(Scalar* plane, const Sample<T>* rows, int grid_rows, const Sample<T>* cols, int grid_cols,
                               const Visit& visit) {
  for (int i = 0; i < grid_rows; ++i) {
    const Sample<T> y = rows[i];
    if (y.low < 0) continue;
    for (int j = 0; j < grid_cols; ++j) {
      const Sample<T> x = cols[j];
      if (x.low < 0) continue;
      visit(plane + (y.low + x.low), y.low_weight * x.low_weight);
      visit(plane + (y.low + x.high), y.low_weight * x.high_weight);
      visit(plane + (y.high + x.low), y.high_weight * x.low_weight);
      visit(plane + (y.high + x.high), y.high_weight * x.high_weight);
    }
  }
}

// The same, working the samples out.
template <typename T, typename Scalar, typename Visit>
__device__ void for_each_pixel(const Region<T, Scalar>& region, Scalar* plane, int64_t row, int64_t col,
                               const Visit& visit) {
  const Map<Scalar>& map = *region.map;
  const SampleRange rows = samples_near_map(region.y, row, map.height);
  const SampleRange cols = samples_near_map(region.x, col, map.width);
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const Interpolation<T> y = interpolate(sample_position(region.y, row, i), map.height);
    if (!y.inside) continue;
    Scalar* low = plane + y.low * map.row_stride;
    Scalar* high = plane + y.high * map.row_stride;
    for (int64_t j = cols.first; j < cols.last; ++j) {
      const Interpolation<T> x = interpolate(sample_position(region.x, col, j), map.width);
      if (!x.inside) continue;
      visit(low + x.low * map.col_stride, y.low_weight * x.low_weight);
      visit(low + x.high * map.col_stride, y.low_weight * x.high_weight);
      visit(high + x.low * map.col_stride, y.high_weight * x.low_weight);
      visit(high + x.high * map.col_stride, y.high_weight * x.high_weight);
    }
  }
}

// Calls body(channel, row, col) for this thread's share of a block's output values.
template <typename Index, typename Body>
__device__ void for_each_output(const Output& output, int64_t first_channel, Index channels, const Body& body) {
  const Index width = static_cast<Index>(output.options.bins.width);
  const Index bins = static_cast<Index>(output.options.bins.height) * width;
  for (Index i = threadIdx.x; i < channels * bins; i += kThreads) {
    const Index bin = output.channels_last ? i / channels : i % bins;
    body(first_channel + (output.channels_last ? i % channels : i / bins), bin / width, bin % width);
  }
}

// Calls body(roi, channel, row, col, region, each) for this thread's share of all output values: each(visit) calls
// visit(pixel, weight) for the pixels that the value comes from.
template <typename T, typename Scalar, typename Roi, typename Body>
__device__ void pool(const Pyramid<Scalar>& pyramid, const Regions<Roi>& regions, const Output& output,
                     const Body& body) {
  __shared__ Sample<T> rows[kSamples], cols[kSamples];
  const Bins& bins = output.options.bins;
  for (int64_t block = blockIdx.x; block < output.blocks; block += gridDim.x) {
    const int64_t roi = block / output.parts;
    const int64_t first = block % output.parts * output.channels_of_block;
    const int64_t channels = min(output.channels_of_block, output.channels - first);
    const Region<T, Scalar> region = region_of<T>(pyramid, regions, output, roi);
    if (output.narrow && region.map != nullptr && can_be_kept(region.y, bins.height) &&
        can_be_kept(region.x, bins.width)) {
      const Map<Scalar>& map = *region.map;
      const int grid_rows = static_cast<int>(region.y.grid), grid_cols = static_cast<int>(region.x.grid);
      __syncthreads();  // the samples of the region before have been read
      keep_samples(region.y, static_cast<int>(bins.height), map.height, map.row_stride, rows);
      keep_samples(region.x, static_cast<int>(bins.width), map.width, map.col_stride, cols);
      __syncthreads();
      for_each_output(output, first, static_cast<int>(channels), [&](int64_t channel, int row, int col) {
        Scalar* plane = region.image + channel * map.channel_stride;
        body(roi, channel, row, col, region, [&](const auto& visit) {
          for_each_pixel(plane, rows + row * grid_rows, grid_rows, cols + col * grid_cols, grid_cols, visit);
        });
      });
    } else {
      for_each_output(output, first, channels, [&](int64_t channel, int64_t row, int64_t col) {
        body(roi, channel, row, col, region, [&](const auto& visit) {
          for_each_pixel(region, region.image + channel * region.map->channel_stride, row, col, visit);
        });
      });
    }
  }
}

template <typename Scalar, typename Roi>
__global__ void __launch_bounds__(kThreads)
    forward(const __grid_constant__ Pyramid<const Scalar> pyramid, Regions<Roi> regions, Output output, Scalar* pooled) {
  using T = Compute<Scalar>;
  pool<T>(pyramid, regions, output,
          [&](int64_t roi, int64_t channel, int64_t row, int64_t col, const auto& region, const auto& each) {
            T value = std::numeric_limits<T>::quiet_NaN();
            if (region.map != nullptr) {
              T sum = T(0);
              each([&](const Scalar* pixel, T weight) { sum += weight * static_cast<T>(*pixel); });
              value = sum / region.samples;
            }
            pooled[offset_of(roi, channel, row, col, output)] = static_cast<Scalar>(value);
          });
}

// The pyramid is of the compute type and zero at first.
template <typename Scalar, typename Roi>
__global__ void __launch_bounds__(kThreads)
    backward(const __grid_constant__ Pyramid<Compute<Scalar>> pyramid, Regions<Roi> regions, Output output,
             const Scalar* grad) {
  using T = Compute<Scalar>;
  pool<T>(pyramid, regions, output,
          [&](int64_t roi, int64_t channel, int64_t row, int64_t col, const auto& region, const auto& each) {
            if (region.map == nullptr) return;
            const T value = static_cast<T>(grad[offset_of(roi, channel, row, col, output)]) / region.samples;
            each([&](T* pixel, T weight) { atomicAdd(pixel, weight * value); });
          });
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

template <typename Scalar>
Output output_of(const Tensor& pooled, const Options& options, int64_t batch, const Pyramid<Scalar>& pyramid) {
  Output output{batch, pooled.size(1), {pooled.stride(0), pooled.stride(1), pooled.stride(2), pooled.stride(3)},
                options, is_channels_last(pooled)};
  const int64_t bins = options.bins.height * options.bins.width;
  output.channels_of_block = std::max<int64_t>(kOutputs / bins, 1);
  // Whole warps, for what they read and write to lie together.
  if (output.channels_last) output.channels_of_block = (output.channels_of_block + 31) / 32 * 32;
  output.channels_of_block = std::min(output.channels_of_block, output.channels);
  output.parts = (output.channels + output.channels_of_block - 1) / output.channels_of_block;
  output.blocks = pooled.size(0) * output.parts;
  output.narrow = std::all_of(pyramid.maps, pyramid.maps + pyramid.levels, [](const Map<Scalar>& map) {
    return (map.height - 1) * map.row_stride + (map.width - 1) * map.col_stride <= std::numeric_limits<int32_t>::max();
  });
  return output;
}

unsigned grid_for(const Output& output) {
  return static_cast<unsigned>(std::min<int64_t>(output.blocks, int64_t{1} << 30));
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
  const auto pyramid = pyramid_of<const Scalar>(maps, scales);
  const Output output = output_of(pooled, options, maps[0].size(0), pyramid);
  launch("roi_align", forward<Scalar, Roi>, grid_for(output), kThreads, current_stream(pooled), pyramid,
         regions_of<Roi>(rois, levels), output, pooled.mutable_data_ptr<Scalar>());
}

template <typename Scalar, typename Roi>
void launch_backward(const Tensor& grad, const Tensor& rois, const Tensor* levels, const std::vector<double>& scales,
                     const Options& options, const std::vector<Tensor>& sums) {
  const auto pyramid = pyramid_of<Compute<Scalar>>(sums, scales);
  const Output output = output_of(grad, options, sums[0].size(0), pyramid);
  launch("roi_align_backward", backward<Scalar, Roi>, grid_for(output), kThreads, current_stream(grad), pyramid,
         regions_of<Roi>(rois, levels), output, grad.const_data_ptr<Scalar>());
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
