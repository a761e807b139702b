// Activations, one value of a flat array after another; what each computes stands at its struct.
//
// A thread takes EACH values, THREADS apart, so that loads of a warp are contiguous and several are
// under way. Traffic: each array once, 8 bytes a float32 value (12 for gradients); the arithmetic is
// hidden behind it.
#include "common.cuh"
#include "half.cuh"

template <typename T>
struct Relu {  // max(x, 0); NaN stays
    static __device__ T of(T x, T) { return x < T(0) ? T(0) : x; }
};

template <typename T>
struct LeakyRelu {  // x where positive, else slope x
    static __device__ T of(T x, T slope) { return x > T(0) ? x : x * slope; }
};

template <typename T>
struct Elu {  // x where positive, else alpha (exp(x) - 1)
    static __device__ T of(T x, T alpha) { return x > T(0) ? x : expm1(x) * alpha; }
};

template <typename T>
struct Sigmoid {  // 1 / (1 + exp(-x)) by exp(-|x|), which does not overflow
    static __device__ T of(T x, T = T(0)) {
        const T e = exp(-fabs(x));
        return (x >= T(0) ? T(1) : e) / (T(1) + e);
    }
};

template <typename T>
struct Softplus {  // log(1 + exp(x))
    static __device__ T of(T x, T) { return (x < T(0) ? T(0) : x) + log1p(exp(-fabs(x))); }
};

template <typename T>
struct Silu {  // x sigmoid(x)
    static __device__ T of(T x, T) { return x * Sigmoid<T>::of(x); }
};

template <typename T>
struct GeluExact {  // x times the normal distribution function
    static __device__ T of(T x, T) { return x * normcdf(x); }
};

template <typename T>
struct GeluTanh {  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    static __device__ T of(T x, T) {
        const T u = T(1.5957691216057308) * (x + T(0.044715) * x * x * x);
        return x * Sigmoid<T>::of(u);
    }
};

template <typename T>
struct Mish {  // x tanh(log(1 + exp(x))), with e = exp(-|x|) instead of exp(x)
    static __device__ T of(T x, T) {
        const T e = exp(-fabs(x));
        const T top = x >= T(0) ? T(1) + T(2) * e : e * (e + T(2));
        const T bottom = x >= T(0) ? T(2) * e * e : T(2);
        return x * (top / (top + bottom));
    }
};

template <typename T>
struct HardSwish {  // x times x / 6 + 1 / 2 limited to [0, 1]
    static __device__ T of(T x, T) {
        const T gate = x * T(1.0 / 6) + T(0.5);
        return x * (gate < T(0) ? T(0) : gate > T(1) ? T(1) : gate);
    }
};

// y = F(x)
template <typename T, template <typename> class F>
__global__ void __launch_bounds__(THREADS, 1)
    activation(const T* __restrict__ x, T* __restrict__ y, double parameter, long long n) {
    using W = typename Wide<T>::type;
    const W given = static_cast<W>(parameter);
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) y[i] = rounded<T>(F<W>::of(wide(x[i]), given));
    }
}

// y = max(a + b, 0), b repeated every `period` values; NaN stays. 12 bytes a float32 value.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1) add_relu(const T* __restrict__ a, const T* __restrict__ b,
                                                    T* __restrict__ y, long long period, long long n) {
    using W = typename Wide<T>::type;
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) {
            const W sum = wide(a[i]) + wide(b[period == n ? i : i % period]);
            y[i] = rounded<T>(Relu<W>::of(sum, W(0)));
        }
    }
}

// y = g where kept > 0, else 0
template <typename T>
__global__ void __launch_bounds__(THREADS, 1) relu_grad(const T* __restrict__ g, const T* __restrict__ kept,
                                                     T* __restrict__ y, long long n) {
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) y[i] = wide(kept[i]) > 0 ? g[i] : rounded<T>(0);
    }
}
