// Non-maximum suppression on CUDA. Everything stays on the device; the host waits once, for the size of the result.
//
// Boxes are sorted by score and handled kChunk at a time: (1) which boxes of the chunk overlap which later ones of it,
// as bits; (2) one block resolves the chunk in order; (3) the boxes that it keeps suppress all boxes behind the chunk.
// Memory is linear in the number of boxes. Compiled without fused multiply-adds, to decide as the CPU does.
#include "../common/checks.h"
#include "stream.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace zoo::cuda {
namespace {

using torch::stable::new_empty;

constexpr int kWord = 64;
constexpr int kChunk = 1024;
constexpr int kWords = kChunk / kWord;
constexpr int kThreads = 256;

template <typename T>
struct Box {
  T x1, y1, x2, y2;
  int64_t category;
};

template <typename T>
__device__ bool overlaps(const Box<T>& a, const Box<T>& b, T threshold) {
  if (a.category != b.category) return false;
  const T left = a.x1 > b.x1 ? a.x1 : b.x1;
  const T top = a.y1 > b.y1 ? a.y1 : b.y1;
  const T right = a.x2 < b.x2 ? a.x2 : b.x2;
  const T bottom = a.y2 < b.y2 ? a.y2 : b.y2;
  const T width = right - left > T(0) ? right - left : T(0);
  const T height = bottom - top > T(0) ? bottom - top : T(0);
  const T inter = width * height;
  const T area_a = (a.x2 - a.x1) * (a.y2 - a.y1);
  const T area_b = (b.x2 - b.x1) * (b.y2 - b.y1);
  return inter / (area_a + area_b - inter) > threshold;
}

template <typename Scalar, typename T>
__global__ void gather(const Scalar* boxes, int64_t box_stride, int64_t side_stride, const int64_t* categories,
                       int64_t category_stride, const int64_t* order, int count, Box<T>* sorted, bool* keep) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Scalar* box = boxes + order[i] * box_stride;
  sorted[i] = {static_cast<T>(box[0]), static_cast<T>(box[side_stride]), static_cast<T>(box[2 * side_stride]),
               static_cast<T>(box[3 * side_stride]),
               categories != nullptr ? categories[order[i] * category_stride] : int64_t{0}};
  keep[i] = true;
}

// mask[row * kWords + word]: which of the 64 boxes of the word does box `row` overlap, among the boxes after it. Boxes
// and rows count from the chunk's first. One block of 64 threads per word and 64 rows.
template <typename T>
__global__ void overlap_bits(const Box<T>* boxes, int count, T threshold, uint64_t* mask) {
  const int word = blockIdx.x;
  const int row = blockIdx.y * kWord + threadIdx.x;
  __shared__ Box<T> columns[kWord];
  const int column = word * kWord + threadIdx.x;
  if (column < count) columns[threadIdx.x] = boxes[column];
  __syncthreads();
  if (row >= count) return;
  uint64_t bits = 0;
  if (static_cast<int>(blockIdx.y) <= word) {
    const Box<T> box = boxes[row];
    const int columns_here = min(kWord, count - word * kWord);
    for (int i = max(0, row + 1 - word * kWord); i < columns_here; ++i) {
      if (overlaps(box, columns[i], threshold)) bits |= uint64_t{1} << i;
    }
  }
  mask[row * kWords + word] = bits;
}

// Decides about the boxes of one chunk in order, and lists those that stay. One block of kChunk threads.
template <typename T>
__global__ void __launch_bounds__(kChunk)
    resolve(const Box<T>* boxes, int count, const uint64_t* mask, bool* keep, Box<T>* kept, int* num_kept) {
  __shared__ unsigned long long removed[kWords];
  __shared__ uint64_t diagonal[kWord];
  __shared__ int kept_before[kWords];
  const int t = threadIdx.x;
  if (t < kWords) removed[t] = 0;
  __syncthreads();
  // Boxes that earlier chunks suppressed, and the places behind the last box.
  if (t >= count || !keep[t]) atomicOr(&removed[t / kWord], 1ULL << (t % kWord));
  __syncthreads();
  for (int word = 0; word < kWords; ++word) {
    const int first = word * kWord;
    if (t < kWord) diagonal[t] = first + t < count ? mask[(first + t) * kWords + word] : 0;
    __syncthreads();  // for the bits of earlier words too
    if (t == 0) {
      uint64_t bits = removed[word];
      for (int i = 0; i < kWord; ++i) {
        if ((bits >> i & 1) == 0) bits |= diagonal[i];
      }
      removed[word] = bits;
    }
    __syncthreads();
    const int row = t / kWords;
    const int later = t % kWords;
    if (later > word && (removed[word] >> row & 1) == 0) {
      const uint64_t bits = mask[(first + row) * kWords + later];
      if (bits != 0) atomicOr(&removed[later], static_cast<unsigned long long>(bits));
    }
  }
  if (t == 0) {
    int total = 0;
    for (int word = 0; word < kWords; ++word) {
      kept_before[word] = total;
      total += __popcll(~removed[word]);
    }
    *num_kept = total;
  }
  __syncthreads();
  if (t >= count) return;
  const uint64_t staying = ~removed[t / kWord];
  const bool stays = (staying >> (t % kWord) & 1) != 0;
  keep[t] = stays;
  if (stays) {
    const uint64_t before = staying & ((uint64_t{1} << (t % kWord)) - 1);
    kept[kept_before[t / kWord] + __popcll(before)] = boxes[t];
  }
}

// Suppresses the boxes behind the chunk that one of its kept boxes overlaps.
template <typename T>
__global__ void suppress(const Box<T>* boxes, int count, T threshold, const Box<T>* kept, const int* num_kept,
                         bool* keep) {
  __shared__ Box<T> tile[kThreads];
  const int i = blockIdx.x * kThreads + threadIdx.x;
  const int total = *num_kept;
  bool stays = i < count && keep[i];
  const Box<T> box = i < count ? boxes[i] : Box<T>{};
  for (int begin = 0; begin < total; begin += kThreads) {
    if (!__syncthreads_or(stays)) return;
    if (begin + static_cast<int>(threadIdx.x) < total) tile[threadIdx.x] = kept[begin + threadIdx.x];
    __syncthreads();
    const int here = min(kThreads, total - begin);
    for (int k = 0; stays && k < here; ++k) {
      if (overlaps(tile[k], box, threshold)) {
        stays = false;
        keep[i] = false;
      }
    }
  }
}

// The indices that sort the scores in decreasing order, equal ones by index.
Tensor descending_order(const Tensor& scores) {
  using torch::stable::detail::from;
  std::array<StableIValue, 4> stack{from(scores), from(std::optional<bool>(true)), from(int64_t{0}), from(true)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // the sorted scores
  return torch::stable::detail::to<Tensor>(stack[1]);
}

Tensor masked_select(const Tensor& values, const Tensor& mask) {
  using torch::stable::detail::from;
  std::array<StableIValue, 2> stack{from(values), from(mask)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::masked_select", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

template <typename T>
T round_down(double value) {
  const T rounded = static_cast<T>(value);
  return static_cast<double>(rounded) > value ? std::nextafter(rounded, -std::numeric_limits<T>::infinity()) : rounded;
}

template <typename Scalar, typename T>
Tensor run(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  const cudaStream_t stream = current_stream(boxes);
  const int count = static_cast<int>(boxes.size(0));
  const T threshold = round_down<T>(iou_threshold);
  const Tensor order = descending_order(scores);
  if (iou_threshold >= 1) return order;  // no IoU is larger, however it is rounded
  const Tensor keep = new_empty(boxes, {count}, ScalarType::Bool);
  const auto bytes = [&](int64_t size) { return new_empty(boxes, {size}, ScalarType::Byte); };
  const Tensor sorted_bytes = bytes(count * int64_t{sizeof(Box<T>)});
  const Tensor kept_bytes = bytes(kChunk * int64_t{sizeof(Box<T>)});
  const Tensor mask_bytes = bytes(kChunk * kWords * int64_t{sizeof(uint64_t)});
  const Tensor num_kept_bytes = bytes(sizeof(int));
  Box<T>* sorted = static_cast<Box<T>*>(sorted_bytes.mutable_data_ptr());
  Box<T>* kept = static_cast<Box<T>*>(kept_bytes.mutable_data_ptr());
  uint64_t* mask = static_cast<uint64_t*>(mask_bytes.mutable_data_ptr());
  int* num_kept = static_cast<int*>(num_kept_bytes.mutable_data_ptr());
  bool* keep_data = keep.mutable_data_ptr<bool>();

  launch("gather", gather<Scalar, T>, blocks_for(count, kThreads), kThreads, stream, boxes.const_data_ptr<Scalar>(),
         boxes.stride(0), boxes.stride(1), idxs != nullptr ? idxs->const_data_ptr<int64_t>() : nullptr,
         idxs != nullptr ? idxs->stride(0) : 0, order.const_data_ptr<int64_t>(), count, sorted, keep_data);
  for (int begin = 0; begin < count; begin += kChunk) {
    const int here = std::min(kChunk, count - begin);
    const unsigned words = blocks_for(here, kWord);
    launch("overlap_bits", overlap_bits<T>, dim3(kWords, words), kWord, stream, sorted + begin, here, threshold, mask);
    launch("resolve", resolve<T>, 1, kChunk, stream, sorted + begin, here, mask, keep_data + begin, kept, num_kept);
    const int rest = count - begin - here;
    if (rest == 0) break;
    launch("suppress", suppress<T>, blocks_for(rest, kThreads), kThreads, stream, sorted + begin + here, rest, threshold,
           kept, num_kept, keep_data + begin + here);
  }
  return masked_select(order, keep);
}

Tensor dispatch(const Tensor& boxes, const Tensor& scores, const Tensor* idxs, double iou_threshold) {
  check(scores.is_cuda() && scores.get_device_index() == boxes.get_device_index(),
        "zoo::nms: boxes and scores must be on the same device");
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  if (boxes.size(0) == 0) return new_empty(boxes, {0}, ScalarType::Long);
  switch (boxes.scalar_type()) {
    case ScalarType::Double: return run<double, double>(boxes, scores, idxs, iou_threshold);
    case ScalarType::Float: return run<float, float>(boxes, scores, idxs, iou_threshold);
    case ScalarType::Half: return run<torch::headeronly::Half, float>(boxes, scores, idxs, iou_threshold);
    default: return run<torch::headeronly::BFloat16, float>(boxes, scores, idxs, iou_threshold);
  }
}

Tensor nms(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  check_nms(boxes, scores, iou_threshold);
  return dispatch(boxes, scores, nullptr, iou_threshold);
}

Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  check_nms(boxes, scores, iou_threshold);
  check_class_indices(boxes, idxs);
  check(idxs.is_cuda() && idxs.get_device_index() == boxes.get_device_index(),
        "zoo::batched_nms: boxes and idxs must be on the same device");
  return dispatch(boxes, scores, &idxs, iou_threshold);
}

}  // namespace
}  // namespace zoo::cuda

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, library) {
  if (!zoo::cuda::driver_is_new_enough()) return;
  library.impl("nms", TORCH_BOX(&zoo::cuda::nms));
  library.impl("batched_nms", TORCH_BOX(&zoo::cuda::batched_nms));
}
