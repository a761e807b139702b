// Values of 16 bits: kernels read and write them, and compute in float.
#ifndef FLAGSTONE_HALF_CUH
#define FLAGSTONE_HALF_CUH
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// What values of type T are computed in.
template <typename T>
struct Wide {
    using type = T;
};
template <>
struct Wide<__half> {
    using type = float;
};
template <>
struct Wide<__nv_bfloat16> {
    using type = float;
};

__device__ __forceinline__ float wide(float v) { return v; }
__device__ __forceinline__ double wide(double v) { return v; }
__device__ __forceinline__ float wide(__half v) { return __half2float(v); }
__device__ __forceinline__ float wide(__nv_bfloat16 v) { return __bfloat162float(v); }

// The nearest value of type T.
template <typename T>
__device__ __forceinline__ T rounded(typename Wide<T>::type v) {
    return v;
}
template <>
__device__ __forceinline__ __half rounded<__half>(float v) {
    return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 rounded<__nv_bfloat16>(float v) {
    return __float2bfloat16_rn(v);
}

#endif
