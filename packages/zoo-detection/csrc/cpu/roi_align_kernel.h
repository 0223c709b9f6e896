// The inner loops of RoIAlign, built once per instruction set.
//
// RoIAlign is separable: a bin's value is sum_y wy * (sum_x wx * feature[y][x]), where the weights of all samples in
// the bin are merged by feature row and feature column. The loops below run over 16 or 64 channels at once.
#pragma once

#include "../common/bins.h"

#include <cstddef>
#include <cstdint>

namespace zoo::cpu {

// Channels handled together: the width of a block. Memory that the kernels read or write holds all of them.
inline constexpr int kNarrow = 16;
inline constexpr int kWide = 64;

template <typename T>
struct Tap {
  int32_t index;
  T weight;
};

// The weights of one region.
template <typename T>
struct RoiPlan {
  const int32_t* rows;       // the feature rows that it reads, ascending
  const int32_t* row_begin;  // y taps of rows[r]: [row_begin[r], row_begin[r + 1])
  const Tap<T>* y_taps;      // index: output row; the division by the number of samples is in these weights
  const int32_t* col_begin;  // x taps of output column p: [col_begin[p], col_begin[p + 1])
  const Tap<T>* x_taps;      // index: feature column
  int32_t num_rows;          // 0: the region has no sample inside the map
  int32_t first_col;         // the columns that it reads lie in [first_col, last_col]
  int32_t last_col;
};

// A block of channels of a feature map, or of a part of it: pixel (row, col) is at data + row * row_stride +
// col * col_stride - origin, its channels side by side.
template <typename T>
struct Block {
  T* data;
  ptrdiff_t row_stride;
  ptrdiff_t col_stride;
  ptrdiff_t origin;
};

template <typename T>
struct RoiAlignFns {
  // bins[h * width + w][channel] = the pooled features; `line` is scratch for one output row.
  using Forward = void (*)(const Block<const T>& map, const RoiPlan<T>& plan, const Bins& size, T* line, T* bins);
  // The transpose: adds the gradients of the bins to the rows of the map in [first_row, last_row).
  using Backward = void (*)(const Block<T>& map, const RoiPlan<T>& plan, int32_t first_row, int32_t last_row,
                            const Bins& size, T* line, const T* bins);
  Forward forward_narrow, forward_wide;
  Backward backward_narrow, backward_wide;

  // to[i * to_stride + channel] = planes[channel * plane_stride + i] for i in [0, count), over kNarrow channels.
  void (*interleave)(const T* planes, ptrdiff_t plane_stride, ptrdiff_t count, T* to, ptrdiff_t to_stride);
  // The reverse.
  void (*deinterleave)(const T* from, ptrdiff_t from_stride, ptrdiff_t count, T* planes, ptrdiff_t plane_stride);
};

}  // namespace zoo::cpu
