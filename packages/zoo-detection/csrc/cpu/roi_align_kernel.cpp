// Built once per instruction set, with ZOO_ISA as the namespace. To keep code of one instruction set out of the others,
// nothing here may use an inline function that another file uses too, the standard library's included.
#include "kernels.h"

namespace zoo::cpu::ZOO_ISA {
namespace {

// N values in the vector registers of this instruction set. Without the vector extension of GCC and Clang, an array.
#if defined(__GNUC__)
#if defined(__AVX512F__)
#define ZOO_VECTOR_BYTES 64
#elif defined(__AVX__)
#define ZOO_VECTOR_BYTES 32
#else
#define ZOO_VECTOR_BYTES 16
#endif
template <typename T>
struct Vector;
template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(ZOO_VECTOR_BYTES), aligned(4), may_alias));
  typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
};
template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(ZOO_VECTOR_BYTES), aligned(8), may_alias));
  typedef double quad __attribute__((vector_size(32), aligned(8), may_alias));
};
#else
template <typename T>
struct Vector {
  typedef T type;
};
#endif

template <typename T, int N>
struct Lanes {
  using V = typename Vector<T>::type;
  static constexpr int kVectors = N * sizeof(T) / sizeof(V);
  V v[kVectors];

  static Lanes load(const T* from) {
    Lanes result;
    for (int i = 0; i < kVectors; ++i) result.v[i] = reinterpret_cast<const V*>(from)[i];
    return result;
  }
  void store(T* to) const {
    for (int i = 0; i < kVectors; ++i) reinterpret_cast<V*>(to)[i] = v[i];
  }
  void add_scaled(T weight, const T* values) {
    for (int i = 0; i < kVectors; ++i) v[i] += weight * reinterpret_cast<const V*>(values)[i];
  }
};

// to[...] += weight * from[...], over `columns` times N values.
template <int N, typename T>
inline void add_scaled(T* to, T weight, const T* from, int64_t columns) {
  for (int64_t w = 0; w < columns; ++w) {
    Lanes<T, N> sum = Lanes<T, N>::load(to + w * N);
    sum.add_scaled(weight, from + w * N);
    sum.store(to + w * N);
  }
}

template <typename T, int N>
void forward(const Block<const T>& map, const RoiPlan<T>& plan, const Bins& size, T* line, T* bins) {
  const int64_t line_size = size.width * N;
  for (int64_t i = 0; i < size.height * line_size; ++i) bins[i] = T(0);
  for (int32_t r = 0; r < plan.num_rows; ++r) {
    const ptrdiff_t row = plan.rows[r] * map.row_stride - map.origin;
    for (int64_t w = 0; w < size.width; ++w) {
      Lanes<T, N> sum{};
      for (int32_t t = plan.col_begin[w]; t < plan.col_begin[w + 1]; ++t) {
        sum.add_scaled(plan.x_taps[t].weight, map.data + (row + plan.x_taps[t].index * map.col_stride));
      }
      sum.store(line + w * N);
    }
    for (int32_t t = plan.row_begin[r]; t < plan.row_begin[r + 1]; ++t) {
      add_scaled<N>(bins + plan.y_taps[t].index * line_size, plan.y_taps[t].weight, line, size.width);
    }
  }
}

template <typename T, int N>
void backward(const Block<T>& map, const RoiPlan<T>& plan, int32_t first_row, int32_t last_row, const Bins& size,
              T* line, const T* bins) {
  const int64_t line_size = size.width * N;
  for (int32_t r = 0; r < plan.num_rows; ++r) {
    if (plan.rows[r] < first_row || plan.rows[r] >= last_row) continue;
    for (int64_t i = 0; i < line_size; ++i) line[i] = T(0);
    for (int32_t t = plan.row_begin[r]; t < plan.row_begin[r + 1]; ++t) {
      add_scaled<N>(line, plan.y_taps[t].weight, bins + plan.y_taps[t].index * line_size, size.width);
    }
    const ptrdiff_t row = plan.rows[r] * map.row_stride - map.origin;
    for (int64_t w = 0; w < size.width; ++w) {
      for (int32_t t = plan.col_begin[w]; t < plan.col_begin[w + 1]; ++t) {
        add_scaled<N>(map.data + (row + plan.x_taps[t].index * map.col_stride), plan.x_taps[t].weight, line + w * N, 1);
      }
    }
  }
}

// to[j * to_stride + i] = from[i * from_stride + j] for i and j in [0, 4).
template <typename T>
inline void transpose4x4(const T* from, ptrdiff_t from_stride, T* to, ptrdiff_t to_stride) {
#if defined(__GNUC__)
  using V = typename Vector<T>::quad;
  const V a = *reinterpret_cast<const V*>(from);
  const V b = *reinterpret_cast<const V*>(from + from_stride);
  const V c = *reinterpret_cast<const V*>(from + 2 * from_stride);
  const V d = *reinterpret_cast<const V*>(from + 3 * from_stride);
  const V ac_low = __builtin_shufflevector(a, c, 0, 4, 1, 5);
  const V ac_high = __builtin_shufflevector(a, c, 2, 6, 3, 7);
  const V bd_low = __builtin_shufflevector(b, d, 0, 4, 1, 5);
  const V bd_high = __builtin_shufflevector(b, d, 2, 6, 3, 7);
  *reinterpret_cast<V*>(to) = __builtin_shufflevector(ac_low, bd_low, 0, 4, 1, 5);
  *reinterpret_cast<V*>(to + to_stride) = __builtin_shufflevector(ac_low, bd_low, 2, 6, 3, 7);
  *reinterpret_cast<V*>(to + 2 * to_stride) = __builtin_shufflevector(ac_high, bd_high, 0, 4, 1, 5);
  *reinterpret_cast<V*>(to + 3 * to_stride) = __builtin_shufflevector(ac_high, bd_high, 2, 6, 3, 7);
#else
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  }
#endif
}

template <typename T>
void interleave(const T* planes, ptrdiff_t plane_stride, ptrdiff_t count, T* to, ptrdiff_t to_stride) {
  ptrdiff_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int channel = 0; channel < kNarrow; channel += 4) {
      transpose4x4(planes + channel * plane_stride + i, plane_stride, to + i * to_stride + channel, to_stride);
    }
  }
  for (; i < count; ++i) {
    for (int c = 0; c < kNarrow; ++c) to[i * to_stride + c] = planes[c * plane_stride + i];
  }
}

template <typename T>
void deinterleave(const T* from, ptrdiff_t from_stride, ptrdiff_t count, T* planes, ptrdiff_t plane_stride) {
  for (int channel = 0; channel < kNarrow; channel += 4) {
    ptrdiff_t i = 0;
    for (; i + 4 <= count; i += 4) {
      transpose4x4(from + i * from_stride + channel, from_stride, planes + channel * plane_stride + i, plane_stride);
    }
    for (; i < count; ++i) {
      for (int c = channel; c < channel + 4; ++c) planes[c * plane_stride + i] = from[i * from_stride + c];
    }
  }
}

template <typename T>
constexpr RoiAlignFns<T> fns = {&forward<T, kNarrow>,  &forward<T, kWide>, &backward<T, kNarrow>,
                                &backward<T, kWide>, &interleave<T>,      &deinterleave<T>};

}  // namespace

const RoiAlignKernels roi_align_kernels = {fns<float>, fns<double>};

}  // namespace zoo::cpu::ZOO_ISA
