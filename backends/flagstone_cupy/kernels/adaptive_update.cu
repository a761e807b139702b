// Updates in which every value has a rate of its own, and what goes around an update, over flat arrays.
//
// Threads and traffic as in update.cu: 12 bytes a float32 value and 8 for each array of state. What
// follows an update takes its scale as `factor`: where that is NaN nothing is written.
#include "update.cuh"

// m = beta1 m + (1 - beta1) g; largest = max(beta2 largest, |g| + eps); p -= lr m / c1 / largest
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    adamax_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ largest,
                  const T* __restrict__ t, const T* __restrict__ lr, const T* __restrict__ scale,
                  const T* __restrict__ rates, const T* __restrict__ decays, T weight_decay, T beta1,
                  T rest1, T log_beta1, T beta2, T eps, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    const T c1 = correction(log_beta1, *t);
    each_value(n, [&](long long i) {
        const T old = p[i], gradient = entry.gradient(i, old);
        const T mean = m[i] * beta1 + gradient * rest1;
        const T shrunk = largest[i] * beta2, here = fabs(gradient) + eps;
        const T most = shrunk < here || here != here ? here : shrunk;  // NaN wins
        m[i] = mean;
        largest[i] = most;
        p[i] = old - mean * (entry.rate(i) / c1) / most;
    });
}

// v = alpha v + (1 - alpha) g^2, and m likewise of g where m is given, which centres the square:
// step = g / (sqrt(v - m^2) + eps); velocity = momentum velocity + step; p -= lr velocity.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    rmsprop_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ v, T* __restrict__ m,
                   T* __restrict__ velocity, const T* __restrict__ lr, const T* __restrict__ scale,
                   const T* __restrict__ rates, const T* __restrict__ decays, T weight_decay, T alpha,
                   T rest, T eps, T momentum, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    each_value(n, [&](long long i) {
        const T old = p[i], gradient = entry.gradient(i, old);
        T square = v[i] * alpha + gradient * gradient * rest;
        v[i] = square;
        if (m) {
            const T mean = m[i] * alpha + gradient * rest;
            m[i] = mean;
            square -= mean * mean;
            square = square < T(0) ? T(0) : square;
        }
        T step = gradient / (sqrt(square) + eps);
        if (velocity) {
            step += velocity[i] * momentum;
            velocity[i] = step;
        }
        p[i] = old - step * entry.rate(i);
    });
}

// total += g^2; p -= lr / (1 + t lr_decay) g / (sqrt(total) + eps)
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    adagrad_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ total,
                   const T* __restrict__ t, const T* __restrict__ lr, const T* __restrict__ scale,
                   const T* __restrict__ rates, const T* __restrict__ decays, T weight_decay,
                   T lr_decay, T eps, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    const T slowed = T(1) + *t * lr_decay;
    each_value(n, [&](long long i) {
        const T old = p[i], gradient = entry.gradient(i, old);
        const T sum = total[i] + gradient * gradient;
        total[i] = sum;
        p[i] = old - gradient * (entry.rate(i) / slowed) / (sqrt(sum) + eps);
    });
}

// v = rho v + (1 - rho) g^2; step = g sqrt(moved + eps) / sqrt(v + eps);
// moved = rho moved + (1 - rho) step^2; p -= lr step
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    adadelta_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ v, T* __restrict__ moved,
                    const T* __restrict__ lr, const T* __restrict__ scale, const T* __restrict__ rates,
                    const T* __restrict__ decays, T weight_decay, T rho, T rest, T eps, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    each_value(n, [&](long long i) {
        const T old = p[i], gradient = entry.gradient(i, old);
        const T square = v[i] * rho + gradient * gradient * rest;
        const T step = gradient * sqrt(moved[i] + eps) / sqrt(square + eps);
        v[i] = square;
        moved[i] = moved[i] * rho + step * step * rest;
        p[i] = old - step * entry.rate(i);
    });
}

// p -= lr sign(beta1 m + (1 - beta1) g) after decoupled decay; m = beta2 m + (1 - beta2) g
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    lion_update(T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, const T* __restrict__ lr,
                const T* __restrict__ scale, const T* __restrict__ rates, const T* __restrict__ decays,
                T weight_decay, T beta1, T rest1, T beta2, T rest2, long long n) {
    if (left_out(scale)) return;
    const Entry<T> entry = {g, lr, scale, rates, decays, weight_decay};
    each_value(n, [&](long long i) {
        const T gradient = g[i] * *scale, old = m[i];
        const T way = old * beta1 + gradient * rest1;
        const T sign = way > T(0) ? T(1) : way < T(0) ? T(-1) : way;  // 0 and NaN stay
        p[i] = entry.decayed(i, p[i]) - sign * entry.rate(i);
        m[i] = old * beta2 + gradient * rest2;
    });
}

// m = momentum m + (1 - momentum) g; direction = m, or the same mean once more with nesterov
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    momentum_direction(const T* __restrict__ g, T* __restrict__ m, T* __restrict__ direction,
                       const T* __restrict__ scale, T momentum, T rest, bool nesterov, long long n) {
    if (left_out(scale)) return;
    each_value(n, [&](long long i) {
        const T gradient = g[i] * *scale;
        const T mean = m[i] * momentum + gradient * rest;
        m[i] = mean;
        direction[i] = nesterov ? mean * momentum + gradient * rest : mean;
    });
}

// p -= lr rate |p| / |direction| direction; the ratio is 1 where either norm is 0
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    trust_update(T* __restrict__ p, const T* __restrict__ direction, const T* __restrict__ lr,
                 const T* __restrict__ factor, const T* __restrict__ size, const T* __restrict__ length,
                 T rate, long long n) {
    if (left_out(factor)) return;
    const T ratio = *size > T(0) && *length > T(0) ? *size / *length : T(1);
    const T step = *lr * rate * ratio;
    each_value(n, [&](long long i) { p[i] -= direction[i] * step; });
}

// x = min(max(x, -bound), bound); NaN stays
template <typename T>
__global__ void __launch_bounds__(THREADS, 1) limit(T* __restrict__ x, const T* __restrict__ bound, long long n) {
    const T most = *bound;
    each_value(n, [&](long long i) {
        const T here = x[i];
        if (here > most) x[i] = most;
        if (here < -most) x[i] = -most;
    });
}

// Where t + 1 >= k: slow += alpha (p - slow); p = slow. After it t is 0 then, else one more.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    lookahead_update(T* __restrict__ p, T* __restrict__ slow, const T* __restrict__ t,
                     const T* __restrict__ factor, T k, T alpha, long long n) {
    if (*t + T(1) < k || left_out(factor)) return;
    each_value(n, [&](long long i) {
        const T next = slow[i] + (p[i] - slow[i]) * alpha;
        slow[i] = next;
        p[i] = next;
    });
}

template <typename T>
__global__ void count_to(T* __restrict__ t, const T* __restrict__ factor, T k) {
    if (!left_out(factor)) *t = *t + T(1) >= k ? T(0) : *t + T(1);
}

// average = decay average + (1 - decay) p; p where t is 0
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    average_update(T* __restrict__ average, const T* __restrict__ p, const T* __restrict__ t,
                   const T* __restrict__ factor, T decay, long long n) {
    if (left_out(factor)) return;
    const T kept = min(max(*t, T(0)), T(1)) * decay;
    each_value(n, [&](long long i) { average[i] = average[i] * kept + p[i] * (T(1) - kept); });
}

// out = a out + b x
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    mix(T* __restrict__ out, const T* __restrict__ x, T a, T b, long long n) {
    each_value(n, [&](long long i) { out[i] = out[i] * a + x[i] * b; });
}

// out += x
template <typename T>
__global__ void __launch_bounds__(THREADS, 1) accumulate(T* __restrict__ out, const T* __restrict__ x, long long n) {
    each_value(n, [&](long long i) { out[i] += x[i]; });
}
