// What the emulated library asks torch about CUDA. Its own definitions come before torch's (it is linked with
// -Bsymbolic), and make of the CPU's tensors tensors of a CUDA device.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

extern "C" {

AOTI_TORCH_EXPORT int32_t aoti_torch_device_type_cuda() { return aoti_torch_device_type_cpu(); }

AOTI_TORCH_EXPORT AOTITorchError aoti_torch_create_device_guard(int32_t device_index, DeviceGuardHandle* ret_guard) {
  *ret_guard = nullptr;
  return AOTI_TORCH_SUCCESS;
}

AOTI_TORCH_EXPORT AOTITorchError aoti_torch_delete_device_guard(DeviceGuardHandle guard) { return AOTI_TORCH_SUCCESS; }

AOTI_TORCH_EXPORT AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream) {
  *ret_stream = nullptr;
  return AOTI_TORCH_SUCCESS;
}

}  // extern "C"
