// The kernels that are built once per instruction set, and the choice among them at run time.
#pragma once

#include "nms_kernel.h"
#include "roi_align_kernel.h"

namespace zoo::cpu {

struct NmsKernels {
  OverlapsFn<float> overlaps_float;
  OverlapsFn<double> overlaps_double;
};

struct RoiAlignKernels {
  RoiAlignFns<float> float_fns;
  RoiAlignFns<double> double_fns;
};

namespace baseline {
extern const NmsKernels nms_kernels;
extern const RoiAlignKernels roi_align_kernels;
}  // namespace baseline

#if defined(ZOO_X86)
namespace avx2 {
extern const NmsKernels nms_kernels;
extern const RoiAlignKernels roi_align_kernels;
}  // namespace avx2
namespace avx512 {
extern const NmsKernels nms_kernels;
extern const RoiAlignKernels roi_align_kernels;
}  // namespace avx512
#endif

struct InstructionSet {
  const char* name;
  const NmsKernels* nms;
  const RoiAlignKernels* roi_align;

  template <typename T>
  OverlapsFn<T> overlaps() const {
    if constexpr (sizeof(T) == sizeof(float)) return nms->overlaps_float;
    else return nms->overlaps_double;
  }

  template <typename T>
  const RoiAlignFns<T>& roi_align_fns() const {
    if constexpr (sizeof(T) == sizeof(float)) return roi_align->float_fns;
    else return roi_align->double_fns;
  }
};

// The widest instruction set that this processor has; chosen at the first call. The environment variable ZOO_OPS_ISA
// (baseline, avx2 or avx512) asks for a narrower one.
const InstructionSet& instruction_set();

}  // namespace zoo::cpu
