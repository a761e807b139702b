// Maximum and average pooling and their transposes over up to three spatial axes; channels last.
//
// One thread computes one output value; threads along x run over an image's positions and channels,
// channels fastest, so that a warp reads neighbouring addresses at every tap; blocks along y are
// images. Gradients gather: each input value adds up the windows that contain it, in a fixed order, so
// nothing is written twice. Traffic: x once (windows that overlap find it in the cache), y once, and
// a byte an output for the place of the maximum.
#include "common.cuh"
#include "half.cuh"

// Axes that are not there have size 1, kernel 1, stride 1 and no padding.
struct Window {
    int size[3];    // of x
    int out[3];     // of y
    int kernel[3];
    int stride[3];
    int low[3];     // padding before
    int channels;
    int images;
};

struct Place {
    int at[3];
    int channel;
};

// Which place of an image of this shape number i is.
__device__ __forceinline__ Place place(unsigned i, const int (&shape)[3], int channels) {
    Place p;
    p.channel = i % channels;
    i /= channels;
    p.at[2] = i % shape[2];
    i /= shape[2];
    p.at[1] = i % shape[1];
    p.at[0] = i / shape[1];
    return p;
}

__device__ __forceinline__ unsigned values(const int (&shape)[3], int channels) {
    return static_cast<unsigned>(shape[0]) * shape[1] * shape[2] * channels;
}

// Call f(tap, offset) for each tap of the window at p that lies inside of the image, taps rising;
// the offset is of the value in the image.
template <class F>
__device__ __forceinline__ void each_tap(const Window& w, const Place& p, F f) {
    for (int a = 0; a < w.kernel[0]; a++) {
        const int i = p.at[0] * w.stride[0] - w.low[0] + a;
        if (i < 0 || i >= w.size[0]) continue;
        for (int b = 0; b < w.kernel[1]; b++) {
            const int j = p.at[1] * w.stride[1] - w.low[1] + b;
            if (j < 0 || j >= w.size[1]) continue;
            for (int c = 0; c < w.kernel[2]; c++) {
                const int k = p.at[2] * w.stride[2] - w.low[2] + c;
                if (k < 0 || k >= w.size[2]) continue;
                f((a * w.kernel[1] + b) * w.kernel[2] + c,
                  ((static_cast<long long>(i) * w.size[1] + j) * w.size[2] + k) * w.channels + p.channel);
            }
        }
    }
}

// Along one axis: the first and the last window that contain the input at `at`.
__device__ __forceinline__ void windows_over(const Window& w, int axis, int at, int& first, int& last) {
    const int from = at + w.low[axis] - w.kernel[axis] + 1;
    first = from <= 0 ? 0 : (from + w.stride[axis] - 1) / w.stride[axis];
    last = min((at + w.low[axis]) / w.stride[axis], w.out[axis] - 1);
}

// Call f(tap, output) for each window that contains the input at p; the output is its place in y.
template <class F>
__device__ __forceinline__ void each_window(const Window& w, const Place& p, F f) {
    int first[3], last[3];
#pragma unroll
    for (int axis = 0; axis < 3; axis++) windows_over(w, axis, p.at[axis], first[axis], last[axis]);
    for (int i = first[0]; i <= last[0]; i++) {
        const int a = p.at[0] + w.low[0] - i * w.stride[0];
        for (int j = first[1]; j <= last[1]; j++) {
            const int b = p.at[1] + w.low[1] - j * w.stride[1];
            for (int k = first[2]; k <= last[2]; k++) {
                const int c = p.at[2] + w.low[2] - k * w.stride[2];
                const Place output = {{i, j, k}, p.channel};
                f((a * w.kernel[1] + b) * w.kernel[2] + c, output);
            }
        }
    }
}

__device__ __forceinline__ long long offset(const Window& w, const Place& output) {
    return ((static_cast<long long>(output.at[0]) * w.out[1] + output.at[1]) * w.out[2] + output.at[2]) *
               w.channels +
           output.channel;
}

// How many values the window at p averages: those inside of the image, or all of its places. At least
// one, so that a window that is all padding has the mean 0.
__device__ __forceinline__ int averaged(const Window& w, const Place& p, bool count_padding) {
    int count = 1;
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        const int from = p.at[axis] * w.stride[axis] - w.low[axis];
        const int inside = min(from + w.kernel[axis], w.size[axis]) - max(from, 0);
        count *= count_padding ? w.kernel[axis] : max(inside, 0);
    }
    return max(count, 1);
}

// y = the window's largest value, NaN if there is one, or 0 where that is negative and `relu` is said;
// index = the tap of the first such.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    max_pool(const T* __restrict__ x, T* __restrict__ y, I* __restrict__ index, Window w, bool relu) {
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, per_y = values(w.out, w.channels);
    if (i >= per_y) return;
    const Place p = place(i, w.out, w.channels);
    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {
        const T* image = x + n * values(w.size, w.channels);
        typename Wide<T>::type best = -__int_as_float(0x7F800000);  // -infinity
        int chosen = 0;
        each_tap(w, p, [&](int tap, long long at) {
            const auto here = wide(image[at]);
            if (here > best || (here != here && best == best)) {
                best = here;
                chosen = tap;
            }
        });
        y[n * per_y + i] = rounded<T>(relu && best < 0 ? 0 : best);
        index[n * per_y + i] = static_cast<I>(chosen);
    }
}

// dx = the sum of g over the windows whose maximum this input was.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    max_pool_grad(const T* __restrict__ g, const I* __restrict__ index, T* __restrict__ dx, Window w) {
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, per_x = values(w.size, w.channels);
    if (i >= per_x) return;
    const Place p = place(i, w.size, w.channels);
    const unsigned per_y = values(w.out, w.channels);
    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {
        typename Wide<T>::type total = 0;
        each_window(w, p, [&](int tap, const Place& output) {
            const long long at = n * per_y + offset(w, output);
            if (static_cast<int>(index[at]) == tap) total += wide(g[at]);
        });
        dx[n * per_x + i] = rounded<T>(total);
    }
}

// y = the value of x at the tap that index names; 0 where that is padding.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    max_pool_pick(const T* __restrict__ x, const I* __restrict__ index, T* __restrict__ y, Window w) {
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, per_y = values(w.out, w.channels);
    if (i >= per_y) return;
    const Place p = place(i, w.out, w.channels);
    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {
        const T* image = x + n * values(w.size, w.channels);
        const int chosen = static_cast<int>(index[n * per_y + i]);
        T value = rounded<T>(0);
        each_tap(w, p, [&](int tap, long long at) {
            if (tap == chosen) value = image[at];
        });
        y[n * per_y + i] = value;
    }
}

// y = the window's mean.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    avg_pool(const T* __restrict__ x, T* __restrict__ y, Window w, bool count_padding) {
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, per_y = values(w.out, w.channels);
    if (i >= per_y) return;
    const Place p = place(i, w.out, w.channels);
    const auto count = static_cast<typename Wide<T>::type>(averaged(w, p, count_padding));
    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {
        const T* image = x + n * values(w.size, w.channels);
        typename Wide<T>::type total = 0;
        each_tap(w, p, [&](int, long long at) { total += wide(image[at]); });
        y[n * per_y + i] = rounded<T>(total / count);
    }
}

// dx = the sum of g / count over the windows that contain this input.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    avg_pool_grad(const T* __restrict__ g, T* __restrict__ dx, Window w, bool count_padding) {
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, per_x = values(w.size, w.channels);
    if (i >= per_x) return;
    const Place p = place(i, w.size, w.channels);
    const unsigned per_y = values(w.out, w.channels);
    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {
        typename Wide<T>::type total = 0;
        each_window(w, p, [&](int, const Place& output) {
            const int count = averaged(w, output, count_padding);
            total += wide(g[n * per_y + offset(w, output)]) / static_cast<typename Wide<T>::type>(count);
        });
        dx[n * per_x + i] = rounded<T>(total);
    }
}
