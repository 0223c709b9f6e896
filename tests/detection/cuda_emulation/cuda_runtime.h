// As much of CUDA C++ as zoo-detection's kernels use, run by the host compiler's code on one CPU thread.
//
// The threads of a block are fibers, which take turns at barriers only, in an order that changes from one barrier to the
// next: kernels that lack a barrier give other results. Of the hardware's memory model, its speed and its rounding in
// fused operations this shows nothing.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static  // one block runs at a time

#define CUDART_VERSION 13000

using std::max;
using std::min;

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
constexpr cudaError_t cudaErrorInvalidConfiguration = 9;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid configuration argument";
}

namespace emulation {

// One block of threads. Each runs until it waits at a barrier or ends.
class Block {
 public:
  static Block& get() {
    static Block block;
    return block;
  }

  void run(unsigned threads, const std::function<void()>& kernel) {
    kernel_ = &kernel;
    while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
    for (unsigned i = 0; i < threads; ++i) fibers_[i]->start(i);
    for (std::vector<unsigned> waiting = all(threads); !waiting.empty();) {
      any_ = false;
      std::shuffle(waiting.begin(), waiting.end(), random_);
      for (const unsigned i : waiting) step(*fibers_[i]);
      std::erase_if(waiting, [&](unsigned i) { return fibers_[i]->state == State::kEnded; });
      const auto differs = [&](unsigned i) { return fibers_[i]->state != fibers_[waiting[0]]->state; };
      if (std::any_of(waiting.begin(), waiting.end(), differs)) {
        throw std::runtime_error("the threads of a block wait at barriers of two kinds");
      }
      any_of_last_ = any_;
    }
  }

  void barrier() { wait(State::kAtBarrier); }

  bool barrier_or(bool predicate) {
    any_ |= predicate;
    wait(State::kAtBarrierOr);
    return any_of_last_;
  }

 private:
  enum class State { kReady, kAtBarrier, kAtBarrierOr, kEnded };

  struct Fiber {
    static constexpr size_t kStack = 64 * 1024;

    void start(unsigned thread) {
      index = thread;
      state = State::kReady;
      getcontext(&context);
      context.uc_stack.ss_sp = stack.get();
      context.uc_stack.ss_size = kStack;
      context.uc_link = nullptr;
      makecontext(&context, [] { get().enter(); }, 0);
    }

    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    unsigned index = 0;
    State state = State::kReady;
  };

  static std::vector<unsigned> all(unsigned count) {
    std::vector<unsigned> indices(count);
    for (unsigned i = 0; i < count; ++i) indices[i] = i;
    return indices;
  }

  void step(Fiber& fiber) {
    current_ = &fiber;
    threadIdx = dim3(fiber.index, 0, 0);
    swapcontext(&scheduler_, &fiber.context);
  }

  void wait(State state) {
    Fiber& fiber = *current_;
    fiber.state = state;
    swapcontext(&fiber.context, &scheduler_);
  }

  void enter() {
    (*kernel_)();
    wait(State::kEnded);
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  const std::function<void()>* kernel_ = nullptr;
  ucontext_t scheduler_;
  Fiber* current_ = nullptr;
  bool any_ = false, any_of_last_ = false;
  std::minstd_rand random_;
};

}  // namespace emulation

// The launch, with the limits of hardware.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  if (grid.x == 0 || grid.x > 0x7fffffff || grid.y == 0 || grid.y > 65535 || grid.z != 1 || block.x == 0 ||
      block.x > 1024 || block.y != 1 || block.z != 1) {
    return cudaErrorInvalidConfiguration;
  }
  gridDim = grid;
  blockDim = block;
  const std::function<void()> thread = [&] { kernel(arguments...); };
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y, 0);
      emulation::Block::get().run(block.x, thread);
    }
  }
  return cudaSuccess;
}

inline void __syncthreads() { emulation::Block::get().barrier(); }
inline int __syncthreads_or(int predicate) { return emulation::Block::get().barrier_or(predicate != 0); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }

template <typename T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
template <typename T>
T atomicOr(T* address, T value) {
  const T before = *address;
  *address |= value;
  return before;
}
