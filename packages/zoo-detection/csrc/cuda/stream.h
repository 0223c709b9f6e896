// The current stream, the check of the driver, and launches.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <type_traits>

// The name that the headers of torch 2.10 have for it.
#ifndef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);

namespace zoo::cuda {

// Whether this machine's driver runs kernels of the CUDA release that they were built with. If not, they are not
// registered, and the pure-torch operators serve.
inline bool driver_is_new_enough() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess && version / 1000 >= CUDART_VERSION / 1000;
}

inline cudaStream_t current_stream(const torch::stable::Tensor& tensor) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Starts a kernel. No <<<>>>, so that the host's compiler can read this too: tests emulate the kernels where no GPU is.
template <typename... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), dim3 blocks, int threads, cudaStream_t stream,
            std::type_identity_t<Parameters>... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(threads);
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (error != cudaSuccess) {
    cudaGetLastError();  // else the next who asks would be told
    throw std::runtime_error(std::string("zoo: the CUDA kernel ") + name +
                             " did not start: " + cudaGetErrorString(error));
  }
}

inline unsigned blocks_for(int64_t items, int threads) {
  return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace zoo::cuda
