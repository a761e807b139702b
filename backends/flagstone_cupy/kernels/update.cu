// Gradient descent and the family of Adam over flat arrays, one launch each; counters are of shape ().
//
// A thread takes EACH values, THREADS apart. Traffic, float32: 12 bytes a value (p twice, g once) and
// 8 for each array of state. `rest` of a factor is 1 - factor, rounded once on the host. A counter is
// raised by a launch of one thread before or after, for all blocks read it. Where *scale is NaN nothing is
// written, and 4 bytes a thread are read: a step whose gradients overflowed is left out on the device.
#include "update.cuh"

// t += 1, unless the step is left out
template <typename T>
__global__ void count_step(T* __restrict__ t, const T* __restrict__ scale) {
    if (!left_out(scale)) *t += T(1);
}

// See sgd_value.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    sgd_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ velocity,
               const T* __restrict__ lr, const T* __restrict__ scale, const T* __restrict__ rates,
               const T* __restrict__ decays, const T* __restrict__ t, T weight_decay, T momentum,
               T dampening, bool nesterov, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    const T fresh = freshness(t, dampening);
    each_value(n, [&](long long i) { sgd_value(entry, i, p, velocity, momentum, fresh, nesterov); });
}

// See adam_value, with c = 1 - beta^t.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    adam_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ v,
                const T* __restrict__ t, const T* __restrict__ lr, const T* __restrict__ scale,
                const T* __restrict__ rates, const T* __restrict__ decays, T weight_decay,
                bool decoupled, T beta1, T rest1, T log_beta1, T beta2, T rest2, T log_beta2, T eps,
                long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    const Means<T> means = {m, v, beta1, rest1, beta2, rest2};
    const T c1 = correction(log_beta1, *t), c2 = correction(log_beta2, *t);
    each_value(n, [&](long long i) { adam_value(entry, means, i, p, c1, c2, eps, decoupled); });
}

// t += 1, then product *= mu(t): what nadam_update reads.
template <typename T>
__global__ void nadam_step(T* __restrict__ t, T* __restrict__ product, const T* __restrict__ scale, T beta1,
                           T slope) {
    if (left_out(scale)) return;
    *t += T(1);
    *product *= beta1 * (T(1) - T(0.5) * exp(*t * slope));
}

// Adam's m and v; p -= lr (g (1 - mu) / (1 - product) + m mu' / (1 - product mu')) /
// (sqrt(v / c2) + eps), mu = beta1 (1 - exp(slope t) / 2) and mu' the next.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    nadam_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ v,
                 const T* __restrict__ t, const T* __restrict__ product, const T* __restrict__ lr,
                 const T* __restrict__ scale, const T* __restrict__ rates, const T* __restrict__ decays,
                 T weight_decay, bool decoupled, T beta1, T rest1, T beta2, T rest2, T log_beta2,
                 T slope, T eps, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    const Means<T> means = {m, v, beta1, rest1, beta2, rest2};
    const T mu = beta1 * (T(1) - T(0.5) * exp(*t * slope));
    const T next = beta1 * (T(1) - T(0.5) * exp((*t + T(1)) * slope));
    const T of_g = (T(1) - mu) / (T(1) - *product), of_m = next / (T(1) - *product * next);
    const T c2 = correction(log_beta2, *t);
    each_value(n, [&](long long i) {
        const T old = p[i], start = entry.start(i, old, decoupled);
        const T gradient = entry.gradient(i, old, decoupled);
        const auto now = means.moved(i, gradient);
        const T way = gradient * of_g + now.mean * of_m;
        p[i] = start - way * entry.rate(i) / (sqrt(now.square / c2) + eps);
    });
}

// What the running mean's length makes of Adam's step: the rectification's root times sqrt(c2), or -1
// while the length is at most 5. In double: the length is a small difference of large numbers.
__device__ __forceinline__ double rectification(double t, double beta2, double log_beta2) {
    const double longest = 2 / (1 - beta2) - 1, c2 = correction(log_beta2, t);
    const double length = longest - 2 * t * exp(t * log_beta2) / c2;
    if (longest <= 5 || length <= 5) return -1;
    const double l = min(length, longest);
    return sqrt((l - 4) * (l - 2) * longest / ((longest - 4) * (longest - 2) * l) * c2);
}

// Adam's m and v; p -= lr m / c1, times rectification / (sqrt(v) + eps) once there is one.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    radam_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ v,
                 const T* __restrict__ t, const T* __restrict__ lr, const T* __restrict__ scale,
                 const T* __restrict__ rates, const T* __restrict__ decays, T weight_decay,
                 bool decoupled, T beta1, T rest1, T log_beta1, T beta2, T rest2, double exact_beta2,
                 double log_beta2, T eps, long long n) {
    if (left_out(scale)) return;
    __shared__ T rectified;  // found once a block: double is slow on many cards
    if (threadIdx.x == 0) rectified = static_cast<T>(rectification(*t, exact_beta2, log_beta2));
    __syncthreads();
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    const Means<T> means = {m, v, beta1, rest1, beta2, rest2};
    const T c1 = correction(log_beta1, *t);
    each_value(n, [&](long long i) {
        const T old = p[i], start = entry.start(i, old, decoupled);
        const auto now = means.moved(i, entry.gradient(i, old, decoupled));
        T step = now.mean / c1;
        if (rectified >= T(0)) step *= rectified / (sqrt(now.square) + eps);
        p[i] = start - step * entry.rate(i);
    });
}

// Adam's direction plus weight decay, m / c1 / (sqrt(v / c2) + eps) + decay p, for LAMB.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    lamb_direction(const T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m,
                   T* __restrict__ v, T* __restrict__ direction, const T* __restrict__ t,
                   const T* __restrict__ scale, const T* __restrict__ decays, T weight_decay, T beta1,
                   T rest1, T log_beta1, T beta2, T rest2, T log_beta2, T eps, long long n) {
    if (left_out(scale)) return;
    const Means<T> means = {m, v, beta1, rest1, beta2, rest2};
    const T c1 = correction(log_beta1, *t), c2 = correction(log_beta2, *t);
    each_value(n, [&](long long i) {
        const auto now = means.moved(i, g[i] * *scale);
        const T decay = p[i] * (decays ? decays[i] : weight_decay);
        direction[i] = now.mean / c1 / (sqrt(now.square / c2) + eps) + decay;
    });
}
