// RoIAlign on the CPU, forward and backward, over one feature map or the levels of a pyramid.
//
// The kernels handle a block of channels at once, which must lie side by side. A channels-last map has them so; of any
// other map (or another type), a block of channels is packed first: all of it when the regions read most of it, or just
// the window of each region when they read little. Work is divided by channel block, image and rows, never by region in
// the backward pass, so gradients are summed in one order whatever the number of threads.
#include "../common/maps.h"
#include "huge_pages.h"
#include "kernels.h"
#include "roi_plan.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <type_traits>
#include <vector>

namespace zoo::cpu {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::stable::parallel_for;

// Accumulates half-precision types in float.
template <typename Scalar>
using Compute = std::conditional_t<std::is_same_v<Scalar, double>, double, float>;

// One image of a (N, C, H, W) tensor.
template <typename Scalar>
struct Image {
  Scalar* data;
  int64_t channels, height, width;
  ptrdiff_t channel_stride, row_stride, col_stride;
};

template <typename Scalar>
Image<Scalar> image_of(const Tensor& tensor, int64_t index) {
  Scalar* data;
  if constexpr (std::is_const_v<Scalar>) data = tensor.const_data_ptr<std::remove_const_t<Scalar>>();
  else data = tensor.mutable_data_ptr<Scalar>();
  return {data + index * tensor.stride(0), tensor.size(1),   tensor.size(2),  tensor.size(3),
          tensor.stride(1),                tensor.stride(2), tensor.stride(3)};
}

// Channels [first, first + count), handled in a block that is `width` wide; the places from `count` on are padding.
struct Channels {
  int64_t first;
  int64_t count;
  int width;
};

// Cuts the channels from `first` on into wide blocks, and what is left into narrow ones.
std::vector<Channels> cut_channels(int64_t first, int64_t channels) {
  std::vector<Channels> blocks;
  while (first < channels) {
    const int width = channels - first >= kWide ? kWide : kNarrow;
    const int64_t count = std::min<int64_t>(width, channels - first);
    blocks.push_back({first, count, width});
    first += count;
  }
  return blocks;
}

int64_t count_of(const Bins& bins) { return bins.height * bins.width; }

struct Window {
  int64_t first_row, last_row, first_col, last_col;  // [first, last)
  int64_t width() const { return last_col - first_col; }
  int64_t area() const { return (last_row - first_row) * width(); }
};

// packed[(row, col) in window][channel] = the channels of the block, zeros behind them.
template <typename Scalar, typename T>
void pack(const Image<const Scalar>& image, const Channels& block, const Window& window, T* packed) {
  for (int64_t row = window.first_row; row < window.last_row; ++row, packed += window.width() * block.width) {
    const Scalar* line = image.data + block.first * image.channel_stride + row * image.row_stride +
                         window.first_col * image.col_stride;
    int64_t done = 0;
    if constexpr (std::is_same_v<Scalar, T>) {
      if (image.col_stride == 1) {
        for (; done + kNarrow <= block.count; done += kNarrow) {
          instruction_set().roi_align_fns<T>().interleave(line + done * image.channel_stride, image.channel_stride,
                                                          window.width(), packed + done, block.width);
        }
      }
    }
    if (done == block.width) continue;
    for (int64_t col = 0; col < window.width(); ++col) {
      const Scalar* pixel = line + col * image.col_stride;
      T* to = packed + col * block.width;
      if (image.channel_stride == 1) {
        std::copy(pixel, pixel + block.count, to);
        std::fill(to + block.count, to + block.width, T(0));
        continue;
      }
      for (int64_t c = done; c < block.count; ++c) to[c] = static_cast<T>(pixel[c * image.channel_stride]);
      std::fill(to + block.count, to + block.width, T(0));
    }
  }
}

// The reverse.
template <typename Scalar, typename T>
void unpack(const T* packed, const Channels& block, const Window& window, const Image<Scalar>& image) {
  for (int64_t row = window.first_row; row < window.last_row; ++row, packed += window.width() * block.width) {
    Scalar* line = image.data + block.first * image.channel_stride + row * image.row_stride +
                   window.first_col * image.col_stride;
    int64_t done = 0;
    if constexpr (std::is_same_v<Scalar, T>) {
      if (image.col_stride == 1) {
        for (; done + kNarrow <= block.count; done += kNarrow) {
          instruction_set().roi_align_fns<T>().deinterleave(packed + done, block.width, window.width(),
                                                            line + done * image.channel_stride, image.channel_stride);
        }
      }
    }
    if (done == block.count) continue;
    for (int64_t col = 0; col < window.width(); ++col) {
      Scalar* pixel = line + col * image.col_stride;
      const T* from = packed + col * block.width;
      if (image.channel_stride == 1) {
        std::copy(from, from + block.count, pixel);
        continue;
      }
      for (int64_t c = done; c < block.count; ++c) pixel[c * image.channel_stride] = static_cast<Scalar>(from[c]);
    }
  }
}

// The bins of one region as an image with one row, so that pack and unpack serve for the pooled side too.
template <typename Scalar>
Image<Scalar> bins_of(const Tensor& pooled, bool channels_last, int64_t index) {
  Image<Scalar> image = image_of<Scalar>(pooled, index);
  image.width = image.height * image.width;
  image.height = 1;
  image.col_stride = channels_last ? image.channels : 1;
  return image;
}

Window window_of_bins(const Bins& bins) { return {0, 1, 0, count_of(bins)}; }

// The regions sorted by bucket, one per level and image: bucket l * batch + i holds [begin[bucket], begin[bucket + 1]).
template <typename T>
struct Buckets {
  std::vector<Roi<T>> rois;
  std::vector<int64_t> begin;
};

// A place in the image as a point on a curve through it (Morton's): what is near on the curve is near in the image.
template <typename T>
uint32_t curve_position(const Roi<T>& roi) {
  constexpr T kTile = 64;  // pixels of the image
  const auto spread = [](T centre) {
    const T tile = centre / kTile;
    uint32_t bits = tile > T(0) ? (tile < T(0xFFFF) ? static_cast<uint32_t>(tile) : 0xFFFFu) : 0u;
    bits = (bits | (bits << 8)) & 0x00FF00FFu;
    bits = (bits | (bits << 4)) & 0x0F0F0F0Fu;
    bits = (bits | (bits << 2)) & 0x33333333u;
    return (bits | (bits << 1)) & 0x55555555u;
  };
  return spread((roi.y1 + roi.y2) / 2) << 1 | spread((roi.x1 + roi.x2) / 2);
}

template <typename Scalar, typename T>
Buckets<T> sort_rois(const Tensor& rois, const Tensor* levels, int64_t num_levels, int64_t batch) {
  const int64_t count = rois.size(0);
  const Scalar* data = rois.const_data_ptr<Scalar>();
  const int64_t* level_data = levels != nullptr ? levels->const_data_ptr<int64_t>() : nullptr;
  const int64_t stride = rois.stride(0);
  const int64_t side = rois.stride(1);
  struct Entry {
    int64_t bucket;
    uint32_t position;
    Roi<T> roi;
  };
  std::vector<Entry> entries(count);
  Buckets<T> result;
  result.begin.assign(num_levels * batch + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    const Scalar* roi = data + i * stride;
    const double image = static_cast<double>(roi[0]);
    check(image >= 0 && image < static_cast<double>(batch), "zoo::roi_align: rois[", i, "] names image ", image,
          ", but the batch has ", batch);
    const int64_t level = levels != nullptr ? level_data[i * levels->stride(0)] : 0;
    check(level >= 0 && level < num_levels, "zoo::multiscale_roi_align: levels[", i, "] is ", level, ", but there are ",
          num_levels, " levels");
    Entry& entry = entries[i];
    entry.bucket = level * batch + static_cast<int64_t>(image);
    entry.roi = {static_cast<T>(roi[side]), static_cast<T>(roi[2 * side]), static_cast<T>(roi[3 * side]),
                 static_cast<T>(roi[4 * side]), i};
    entry.position = curve_position(entry.roi);
    ++result.begin[entry.bucket + 1];
  }
  for (size_t b = 1; b < result.begin.size(); ++b) result.begin[b] += result.begin[b - 1];
  // Neighbours in the image come one after the other, so that they find their pixels in the cache.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.bucket, a.position, a.roi.index) < std::tie(b.bucket, b.position, b.roi.index);
  });
  for (const Entry& entry : entries) result.rois.push_back(entry.roi);
  return result;
}

// rois may be float32 beside half-precision features.
template <typename Scalar>
Buckets<Compute<Scalar>> buckets_of(const Tensor& rois, const Tensor* levels, int64_t num_levels, int64_t batch) {
  using T = Compute<Scalar>;
  if (rois.scalar_type() == ScalarType::Float) return sort_rois<float, T>(rois, levels, num_levels, batch);
  return sort_rois<Scalar, T>(rois, levels, num_levels, batch);
}

template <typename T>
Window window_of_plan(const RoiPlan<T>& plan) {
  if (plan.num_rows == 0) return {0, 0, 0, 0};
  return {plan.rows[0], plan.rows[plan.num_rows - 1] + 1, plan.first_col, plan.last_col + 1};
}

template <typename Scalar>
class Forward {
 public:
  using T = Compute<Scalar>;

  Forward(const Options& options, const Tensor& pooled, bool channels_last)
      : bins_(options.bins), pooled_(pooled), channels_last_(channels_last) {}

  // All regions of one image.
  void run(const Image<const Scalar>& image, const Roi<T>* rois, const RoiPlans<T>& plans) const {
    int64_t direct = 0;  // channels that need no packing
    if constexpr (std::is_same_v<Scalar, T>) {
      if (image.channel_stride == 1) {
        direct = image.channels / kNarrow * kNarrow;
        run_direct(image, rois, plans, cut_channels(0, direct));
      }
    }
    const std::vector<Channels> blocks = cut_channels(direct, image.channels);
    if (blocks.empty()) return;
    int64_t read = 0;
    for (int64_t i = 0; i < plans.size(); ++i) read += window_of_plan(plans[i]).area();
    if (read < image.height * image.width) run_windows(image, rois, plans, blocks);
    else run_packed(image, rois, plans, blocks);
  }

 private:
  struct Scratch {
    Scratch(const Bins& bins, int width) : line(bins.width * width), bins(count_of(bins) * width) {}
    std::vector<T> line, bins;
  };

  void pool(const Block<const T>& map, const RoiPlan<T>& plan, int64_t index, const Channels& block,
            Scratch& scratch) const {
    const RoiAlignFns<T>& fns = instruction_set().roi_align_fns<T>();
    const auto forward = block.width == kWide ? fns.forward_wide : fns.forward_narrow;
    forward(map, plan, bins_, scratch.line.data(), scratch.bins.data());
    unpack(scratch.bins.data(), block, window_of_bins(bins_), bins_of<Scalar>(pooled_, channels_last_, index));
  }

  void run_direct(const Image<const T>& image, const Roi<T>* rois, const RoiPlans<T>& plans,
                  const std::vector<Channels>& blocks) const {
    const int64_t tasks = static_cast<int64_t>(blocks.size()) * plans.size();
    parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
      Scratch scratch(bins_, blocks[0].width);
      for (int64_t task = first; task < last; ++task) {
        const int64_t i = task % plans.size();
        const Channels& block = blocks[task / plans.size()];
        pool({image.data + block.first, image.row_stride, image.col_stride, 0}, plans[i], rois[i].index, block,
             scratch);
      }
    });
  }

  void run_windows(const Image<const Scalar>& image, const Roi<T>* rois, const RoiPlans<T>& plans,
                   const std::vector<Channels>& blocks) const {
    const int64_t count = static_cast<int64_t>(blocks.size());
    parallel_for(0, plans.size() * count, 1, [&](int64_t first, int64_t last) {
      Scratch scratch(bins_, blocks[0].width);
      std::vector<T> packed;
      for (int64_t task = first; task < last; ++task) {
        const int64_t i = task / count;
        const Channels& block = blocks[task % count];
        const Window window = window_of_plan(plans[i]);
        packed.resize(window.area() * block.width);
        pack(image, block, window, packed.data());
        const ptrdiff_t row_stride = window.width() * block.width;
        pool({packed.data(), row_stride, block.width, window.first_row * row_stride + window.first_col * block.width},
             plans[i], rois[i].index, block, scratch);
      }
    });
  }

  // Each thread takes whole blocks as long as there is one for every thread; all share the work on the rest.
  void run_packed(const Image<const Scalar>& image, const Roi<T>* rois, const RoiPlans<T>& plans,
                  const std::vector<Channels>& blocks) const {
    const int64_t count = static_cast<int64_t>(blocks.size());
    const int64_t threads = std::max<int64_t>(1, torch::stable::get_num_threads());
    const int64_t separate = count / threads * threads;
    const auto buffer = [&](int64_t first_block) {
      std::vector<T> packed;
      const size_t size = image.height * image.width * blocks[first_block].width;
      packed.reserve(size);
      advise_huge_pages(packed.data(), size * sizeof(T));
      packed.resize(size);
      return packed;
    };
    const auto pack_rows = [&](const Channels& block, int64_t first, int64_t last, T* packed) {
      pack(image, block, {first, last, 0, image.width}, packed + first * image.width * block.width);
    };
    const auto pool_rois = [&](const Channels& block, int64_t first, int64_t last, const T* packed) {
      Scratch scratch(bins_, blocks[0].width);
      for (int64_t i = first; i < last; ++i) {
        pool({packed, image.width * block.width, block.width, 0}, plans[i], rois[i].index, block, scratch);
      }
    };
    parallel_for(0, separate, 1, [&](int64_t first, int64_t last) {
      std::vector<T> packed = buffer(first);
      for (int64_t b = first; b < last; ++b) {
        pack_rows(blocks[b], 0, image.height, packed.data());
        pool_rois(blocks[b], 0, plans.size(), packed.data());
      }
    });
    if (separate == count) return;
    std::vector<T> packed = buffer(separate);
    for (int64_t b = separate; b < count; ++b) {
      constexpr int64_t kRowsPerThread = 16;
      parallel_for(0, image.height, kRowsPerThread,
                   [&](int64_t first, int64_t last) { pack_rows(blocks[b], first, last, packed.data()); });
      parallel_for(0, plans.size(), 1,
                   [&](int64_t first, int64_t last) { pool_rois(blocks[b], first, last, packed.data()); });
    }
  }

  Bins bins_;
  const Tensor& pooled_;
  bool channels_last_;
};

template <typename Scalar>
class Backward {
 public:
  using T = Compute<Scalar>;

  Backward(const Options& options, const Tensor& grad) : bins_(options.bins), grad_(grad) {}

  // Adds the gradients of all regions of one image, or sets them where `accumulate` is false.
  void run(const Image<Scalar>& image, const Roi<T>* rois, const RoiPlans<T>& plans, bool accumulate) const {
    constexpr int64_t kBandBytes = int64_t{512} << 10;
    const std::vector<Channels> blocks = cut_channels(0, image.channels);
    const int64_t widest_row = image.width * blocks[0].width;
    const int64_t band =
        std::clamp<int64_t>(kBandBytes / (widest_row * static_cast<int64_t>(sizeof(T))), 1, image.height);
    const int64_t bands = (image.height + band - 1) / band;
    parallel_for(0, static_cast<int64_t>(blocks.size()) * bands, 1, [&](int64_t first, int64_t last) {
      std::vector<T> line(bins_.width * blocks[0].width);
      std::vector<T> bins(count_of(bins_) * blocks[0].width);
      std::vector<T> packed(band * widest_row);
      for (int64_t task = first; task < last; ++task) {
        const Channels& block = blocks[task / bands];
        const int64_t row_size = image.width * block.width;
        const int64_t first_row = task % bands * band;
        const Window window = {first_row, std::min(first_row + band, image.height), 0, image.width};
        if (accumulate) {
          pack<Scalar>(Image<const Scalar>{image.data, image.channels, image.height, image.width, image.channel_stride,
                                           image.row_stride, image.col_stride},
                       block, window, packed.data());
        } else {
          std::fill(packed.begin(), packed.end(), T(0));
        }
        const RoiAlignFns<T>& fns = instruction_set().roi_align_fns<T>();
        const auto backward = block.width == kWide ? fns.backward_wide : fns.backward_narrow;
        for (int64_t i = 0; i < plans.size(); ++i) {
          const Window read = window_of_plan(plans[i]);
          if (read.last_row <= window.first_row || read.first_row >= window.last_row) continue;
          load_bins(rois[i].index, block, bins.data());
          backward({packed.data(), row_size, block.width, first_row * row_size}, plans[i],
                   static_cast<int32_t>(window.first_row), static_cast<int32_t>(window.last_row), bins_, line.data(),
                   bins.data());
        }
        unpack(packed.data(), block, window, image);
      }
    });
  }

 private:
  void load_bins(int64_t index, const Channels& block, T* bins) const {
    Image<const Scalar> grad = image_of<const Scalar>(grad_, index);
    Window window = {0, bins_.height, 0, bins_.width};
    if (grad.row_stride == bins_.width * grad.col_stride) {
      grad.width = count_of(bins_);
      window = window_of_bins(bins_);
    }
    pack(grad, block, window, bins);
  }

  Bins bins_;
  const Tensor& grad_;
};

// The plans for the regions [begin, end) in as many pieces as memory allows: body(first region, plans).
template <typename T, typename Body>
void for_each_piece(const Buckets<T>& buckets, int64_t bucket, const Sampling& sampling, const Body& body) {
  for (int64_t begin = buckets.begin[bucket], end = buckets.begin[bucket + 1]; begin < end;) {
    const RoiPlans<T> plans(buckets.rois.data() + begin, end - begin, sampling);
    body(buckets.rois.data() + begin, plans);
    begin += plans.size();
  }
}

template <typename Scalar>
void forward(const std::vector<Tensor>& maps, const Tensor& rois, const Tensor* levels,
             const std::vector<double>& scales, const Options& options, const Tensor& pooled, bool channels_last) {
  const int64_t batch = maps[0].size(0);
  const auto buckets = buckets_of<Scalar>(rois, levels, static_cast<int64_t>(maps.size()), batch);
  const Forward<Scalar> pass(options, pooled, channels_last);
  for (size_t level = 0; level < maps.size(); ++level) {
    const Tensor& map = maps[level];
    const Sampling sampling = {scales[level],          map.size(2),    map.size(3), options.bins,
                               options.sampling_ratio, options.aligned};
    for (int64_t image = 0; image < batch; ++image) {
      for_each_piece(buckets, static_cast<int64_t>(level) * batch + image, sampling,
                     [&](const auto* first, const auto& plans) {
                       pass.run(image_of<const Scalar>(map, image), first, plans);
                     });
    }
  }
}

template <typename Scalar>
void backward(const Tensor& grad, const Tensor& rois, const Tensor* levels, const std::vector<double>& scales,
              const Options& options, const std::vector<Tensor>& map_grads) {
  using T = Compute<Scalar>;
  const int64_t batch = map_grads[0].size(0);
  const auto buckets = buckets_of<Scalar>(rois, levels, static_cast<int64_t>(map_grads.size()), batch);
  const Backward<Scalar> pass(options, grad);
  for (size_t level = 0; level < map_grads.size(); ++level) {
    const Tensor& map = map_grads[level];
    const Sampling sampling = {scales[level],          map.size(2),    map.size(3), options.bins,
                               options.sampling_ratio, options.aligned};
    for (int64_t index = 0; index < batch; ++index) {
      const Image<Scalar> image = image_of<Scalar>(map, index);
      bool accumulate = false;
      for_each_piece(buckets, static_cast<int64_t>(level) * batch + index, sampling,
                     [&](const Roi<T>* first, const RoiPlans<T>& plans) {
                       pass.run(image, first, plans, accumulate);
                       accumulate = true;
                     });
      if (!accumulate) pass.run(image, nullptr, RoiPlans<T>(nullptr, 0, sampling), false);
    }
  }
}

Tensor run_forward(const std::vector<Tensor>& maps, const Tensor& rois, const Tensor* levels,
                   const std::vector<double>& scales, const Options& options) {
  check_forward(maps, rois, levels, scales, options);
  const bool channels_last = is_channels_last(maps[0]);
  const Tensor pooled = new_pooled(maps[0], rois, options);
  if (pooled.numel() == 0) return pooled;
  advise_huge_pages(pooled.mutable_data_ptr(), pooled.numel() * pooled.element_size());
  switch (maps[0].scalar_type()) {
    case ScalarType::Double: forward<double>(maps, rois, levels, scales, options, pooled, channels_last); break;
    case ScalarType::Float: forward<float>(maps, rois, levels, scales, options, pooled, channels_last); break;
    case ScalarType::Half: forward<Half>(maps, rois, levels, scales, options, pooled, channels_last); break;
    default: forward<BFloat16>(maps, rois, levels, scales, options, pooled, channels_last); break;
  }
  return pooled;
}

std::vector<Tensor> run_backward(const Tensor& grad, const Tensor& rois, const Tensor* levels,
                                 const std::vector<double>& scales, const Options& options,
                                 const MapSizes& sizes) {
  check_backward(grad, rois, levels, scales, options, sizes);
  std::vector<Tensor> map_grads;
  for (size_t level = 0; level < scales.size(); ++level) {
    map_grads.push_back(new_map(grad, sizes.shape(level), is_channels_last(grad)));
    const Tensor& map = map_grads.back();
    advise_huge_pages(map.mutable_data_ptr(), map.numel() * map.element_size());
  }
  if (sizes.batch == 0 || sizes.channels == 0) return map_grads;
  if (rois.size(0) == 0) {
    for (Tensor& map : map_grads) torch::stable::zero_(map);
    return map_grads;
  }
  switch (grad.scalar_type()) {
    case ScalarType::Double: backward<double>(grad, rois, levels, scales, options, map_grads); break;
    case ScalarType::Float: backward<float>(grad, rois, levels, scales, options, map_grads); break;
    case ScalarType::Half: backward<Half>(grad, rois, levels, scales, options, map_grads); break;
    default: backward<BFloat16>(grad, rois, levels, scales, options, map_grads); break;
  }
  return map_grads;
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
}  // namespace zoo::cpu

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, library) {
  library.impl("roi_align", TORCH_BOX(&zoo::cpu::roi_align));
  library.impl("roi_align_backward", TORCH_BOX(&zoo::cpu::roi_align_backward));
  library.impl("multiscale_roi_align", TORCH_BOX(&zoo::cpu::multiscale_roi_align));
  library.impl("multiscale_roi_align_backward", TORCH_BOX(&zoo::cpu::multiscale_roi_align_backward));
}
