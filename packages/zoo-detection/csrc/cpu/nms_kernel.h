// The inner loop of non-maximum suppression, built once per instruction set.
#pragma once

#include <cstdint>

namespace zoo::cpu {

template <typename T>
struct Box {
  T x1, y1, x2, y2, area;
};

// Sixteen boxes that were kept, one array per coordinate, and the link to the next sixteen (-1: none).
// Unused places hold a box that meets no other.
inline constexpr int kChunk = 16;

template <typename T>
struct alignas(64) Chunk {
  T x1[kChunk], y1[kChunk], x2[kChunk], y2[kChunk], area[kChunk];
  int32_t next;
  int32_t count;
};

template <typename T>
struct Threshold {
  T value;      // IoU above this suppresses; not above the caller's double, so that comparing in T decides alike
  T prefilter;  // a little less: inter < prefilter * union proves that IoU <= value, without a division
};

// Does any box in the list that starts at chunks[head] have an IoU with `box` greater than the threshold?
// All areas and coordinates are finite.
template <typename T>
using OverlapsFn = bool (*)(const Chunk<T>* chunks, int32_t head, const Box<T>& box, Threshold<T> threshold);

}  // namespace zoo::cpu
