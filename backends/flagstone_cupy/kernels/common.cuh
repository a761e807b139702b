// What most kernels need: how big a block is, and which thread this is.
#ifndef FLAGSTONE_COMMON_CUH
#define FLAGSTONE_COMMON_CUH

constexpr int THREADS = 256;  // of a block, unless a kernel says otherwise; launch.py has the same
constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

// The number of this thread in a grid of one axis.
__device__ __forceinline__ long long thread_number() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

#endif
