// What the optimizers' updates share.
#ifndef FLAGSTONE_UPDATE_CUH
#define FLAGSTONE_UPDATE_CUH
#include "common.cuh"

// Whether the step is left out: its scale, NaN where a gradient overflowed, is NaN. No scale, no.
template <typename T>
__device__ __forceinline__ bool left_out(const T* scale) {
    return scale && *scale != *scale;
}

// What enters every update of a value: its gradient times *scale, its rate, and its weight decay, from
// arrays where parameters differ and from one number where they do not.
template <typename T>
struct Entry {
    const T* g;
    const T* lr;
    const T* scale;
    const T* rates;   // null: *lr alone
    const T* decays;  // null: weight_decay for all
    T weight_decay;

    __device__ __forceinline__ T rate(long long i) const { return rates ? rates[i] * *lr : *lr; }
    __device__ __forceinline__ T decay(long long i) const { return decays ? decays[i] : weight_decay; }
    __device__ __forceinline__ bool decays_any() const { return decays || weight_decay != T(0); }

    // The gradient, with weight decay in it.
    __device__ __forceinline__ T gradient(long long i, T p) const {
        const T scaled = g[i] * *scale;
        return decays_any() ? scaled + p * decay(i) : scaled;
    }

    // The parameter after decoupled weight decay.
    __device__ __forceinline__ T decayed(long long i, T p) const {
        return decays_any() ? p - p * (rate(i) * decay(i)) : p;
    }
};

// 1 - beta^t with log_beta = log(beta), exact where it is small; 1 for beta = 0.
template <typename T>
__device__ __forceinline__ T correction(T log_beta, T t) {
    return -expm1(t * log_beta);
}

// Call f(i) for the values that this thread takes.
template <class F>
__device__ __forceinline__ void each_value(long long n, F f) {
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) f(i);
    }
}

#endif
