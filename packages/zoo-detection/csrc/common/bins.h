#pragma once

#include <cstdint>

namespace zoo {

// The output size of RoIAlign.
struct Bins {
  int64_t height;
  int64_t width;
};

}  // namespace zoo
