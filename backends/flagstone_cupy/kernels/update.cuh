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

    // The gradient and the parameter where weight decay may be decoupled.
    __device__ __forceinline__ T gradient(long long i, T p, bool decoupled) const {
        return decoupled ? g[i] * *scale : gradient(i, p);
    }
    __device__ __forceinline__ T start(long long i, T p, bool decoupled) const {
        return decoupled ? decayed(i, p) : p;
    }
};

// Running means of the gradient and of its square: a <- beta a + rest x.
template <typename T>
struct Means {
    T* m;
    T* v;
    T beta1, rest1, beta2, rest2;

    struct Both {
        T mean, square;
    };

    // Those of value i, which this gradient has entered.
    __device__ __forceinline__ Both moved(long long i, T gradient) const {
        const T mean = m[i] * beta1 + gradient * rest1;
        const T square = v[i] * beta2 + gradient * gradient * rest2;
        m[i] = mean;
        v[i] = square;
        return {mean, square};
    }
};

// 1 - beta^t with log_beta = log(beta), exact where it is small; 1 for beta = 0.
template <typename T>
__device__ __forceinline__ T correction(T log_beta, T t) {
    return -expm1(t * log_beta);
}

// v = momentum v + fresh g; p -= lr (nesterov ? g + momentum v : v), or lr g without velocity.
template <typename T>
__device__ __forceinline__ void sgd_value(const Entry<T>& entry, long long i, T* p, T* velocity, T momentum,
                                          T fresh, bool nesterov) {
    const T old = p[i];
    T step = entry.gradient(i, old);
    if (velocity) {
        const T v = velocity[i] * momentum + step * fresh;
        velocity[i] = v;
        step = nesterov ? step + v * momentum : v;
    }
    p[i] = old - step * entry.rate(i);
}

// p -= lr m / c1 / (sqrt(v / c2) + eps) with the corrections c; decoupled weight decay is done to p first.
template <typename T>
__device__ __forceinline__ void adam_value(const Entry<T>& entry, const Means<T>& means, long long i, T* p,
                                           T c1, T c2, T eps, bool decoupled) {
    const T old = p[i], start = entry.start(i, old, decoupled);
    const auto now = means.moved(i, entry.gradient(i, old, decoupled));
    p[i] = start - now.mean * (entry.rate(i) / c1) / (sqrt(now.square / c2) + eps);
}

// How much of the gradient enters the velocity: 1 - clip(t, 0, 1) dampening, 1 without t.
template <typename T>
__device__ __forceinline__ T freshness(const T* t, T dampening) {
    return t ? T(1) - min(max(*t, T(0)), T(1)) * dampening : T(1);
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
