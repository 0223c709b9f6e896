// Built once per instruction set, with ZOO_ISA as the namespace, and without contraction to fused multiply-adds: every
// build takes the same decisions. To keep code of one instruction set out of the others, nothing here may use an
// inline function that another file uses too, the standard library's included.
#include "kernels.h"

namespace zoo::cpu::ZOO_ISA {
namespace {

template <typename T>
bool overlaps(const Chunk<T>* chunks, int32_t head, const Box<T>& box, Threshold<T> threshold) {
  const Box<T> b = box;
  for (; head >= 0; head = chunks[head].next) {
    const Chunk<T>& kept = chunks[head];
    T inter[kChunk];
    T united[kChunk];
    int32_t candidates = 0;
    for (int i = 0; i < kChunk; ++i) {
      const T left = kept.x1[i] > b.x1 ? kept.x1[i] : b.x1;
      const T top = kept.y1[i] > b.y1 ? kept.y1[i] : b.y1;
      const T right = kept.x2[i] < b.x2 ? kept.x2[i] : b.x2;
      const T bottom = kept.y2[i] < b.y2 ? kept.y2[i] : b.y2;
      const T width = right - left > T(0) ? right - left : T(0);
      const T height = bottom - top > T(0) ? bottom - top : T(0);
      inter[i] = width * height;
      united[i] = kept.area[i] + b.area - inter[i];
      candidates |= inter[i] >= threshold.prefilter * united[i] ? 1 : 0;
    }
    if (candidates == 0) continue;
    int32_t hits = 0;
    for (int i = 0; i < kChunk; ++i) hits |= inter[i] / united[i] > threshold.value ? 1 : 0;
    if (hits != 0) return true;
  }
  return false;
}

}  // namespace

const NmsKernels nms_kernels = {&overlaps<float>, &overlaps<double>};

}  // namespace zoo::cpu::ZOO_ISA
