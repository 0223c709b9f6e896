#include "kernels.h"

#include <cstdlib>
#include <cstring>

#if defined(_WIN32)
#define ZOO_EXPORT extern "C" __declspec(dllexport)
#else
#define ZOO_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace zoo::cpu {
namespace {

InstructionSet choose() {
#if defined(ZOO_X86)
  const char* wanted = std::getenv("ZOO_OPS_ISA");
  const auto allowed = [wanted](const char* name) { return wanted == nullptr || std::strcmp(wanted, name) == 0; };
  __builtin_cpu_init();
  if (allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return {"avx512", &avx512::nms_kernels, &avx512::roi_align_kernels};
  }
  if ((allowed("avx2") || allowed("avx512")) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"avx2", &avx2::nms_kernels, &avx2::roi_align_kernels};
  }
#endif
  return {"baseline", &baseline::nms_kernels, &baseline::roi_align_kernels};
}

}  // namespace

const InstructionSet& instruction_set() {
  static const InstructionSet chosen = choose();
  return chosen;
}

}  // namespace zoo::cpu

// For `zoo_detection.ops.backend()` and the tests.
ZOO_EXPORT const char* zoo_ops_instruction_set() { return zoo::cpu::instruction_set().name; }
