// Normalisation: of channels over a batch, and of each example by its own values.
//
// batch_norm: x is (rows, channels), a thread a channel along x, threads along y share the rows of a
// split. One pass finds each split's mean and sum of squared deviations, a small one adds them up in
// order (Chan, Golub & LeVeque, 1979), a third writes y: x is read twice and y written, 12 bytes a
// float32 value. Backward likewise: two sums over g and x, then dx; 20 bytes. x and y may have 16 bits (T)
// where the rest is float (S). axis_norm: a row of threads has one group of values and reads it three
// times, the second and third time from the cache: 8 bytes. Backward, axis_norm_grad has the same threads
// and reads g and x twice, the second time from the cache: 12 bytes; axis_grad_sums, a thread a column as
// in batch_grad_sums, reads them again for the gradients of weight and bias: 8 bytes.
#include "common.cuh"
#include "half.cuh"

// Count, mean, and sum of squared deviations from it, of values seen so far.
template <typename T>
struct Moments {
    T count, mean, square;
};

// Of both together.
template <typename T>
__device__ __forceinline__ Moments<T> merged(const Moments<T>& a, const Moments<T>& b) {
    if (b.count == T(0)) return a;
    if (a.count == T(0)) return b;
    const T count = a.count + b.count, apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.square + b.square + apart * apart * a.count * share};
}

// The mean (splits, channels) and the sum of squared deviations of each split of the rows.
template <typename T, typename S>
__global__ void __launch_bounds__(THREADS, 1)
    batch_moments(const T* __restrict__ x, S* __restrict__ mean, S* __restrict__ square, long long rows,
                  int channels, int splits) {
    __shared__ Moments<S> partial[THREADS];
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const long long each = (rows + splits - 1) / splits;
    const long long from = blockIdx.y * each, to = min(from + each, rows);
    Moments<S> mine = {0, 0, 0};
    const long long first = from + threadIdx.y;
    if (c < channels && first < to) {
        // Sums of distances from this thread's first value: it is near the mean, so little cancels.
        const S near = wide(x[first * channels + c]);
        S sum = 0, square_sum = 0;
        for (long long r = first; r < to; r += blockDim.y) {
            const S d = wide(x[r * channels + c]) - near;
            sum += d;
            square_sum += d * d;
        }
        const S count = static_cast<S>((to - first + blockDim.y - 1) / blockDim.y);
        mine = {count, near + sum / count, square_sum - sum * (sum / count)};
    }
    partial[threadIdx.y * blockDim.x + threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.y > 0 || c >= channels) return;
    for (int y = 1; y < static_cast<int>(blockDim.y); y++)
        mine = merged(mine, partial[y * blockDim.x + threadIdx.x]);
    mean[blockIdx.y * static_cast<long long>(channels) + c] = mine.mean;
    square[blockIdx.y * static_cast<long long>(channels) + c] = mine.square;
}

// The mean and the variance (channels) from those of the splits, in their order. A thread a channel.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    batch_merge(const T* __restrict__ means, const T* __restrict__ squares, T* __restrict__ mean,
                T* __restrict__ var, long long rows, int channels, int splits) {
    const int c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= channels) return;
    const long long each = (rows + splits - 1) / splits;
    Moments<T> all = {0, 0, 0};
    for (int s = 0; s < splits; s++) {
        const long long count = max(min(each, rows - s * each), 0LL);
        const long long at = s * static_cast<long long>(channels) + c;
        all = merged(all, {static_cast<T>(count), means[at], squares[at]});
    }
    mean[c] = all.mean;
    var[c] = max(all.square, T(0)) / static_cast<T>(rows);
}

// y = (x - mean) (weight / sqrt(var + eps)) + bias, or 0 where that is negative and `relu` is said
template <typename T, typename S>
__global__ void __launch_bounds__(THREADS, 1)
    batch_apply(const T* __restrict__ x, const S* __restrict__ weight, const S* __restrict__ bias,
                const S* __restrict__ mean, const S* __restrict__ var, T* __restrict__ y, S eps,
                bool relu, long long rows, int channels) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const S shift = mean[c], factor = weight[c] / sqrt(var[c] + eps), add = bias[c];
    long long r = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; r < rows; r += static_cast<long long>(gridDim.y) * blockDim.y) {
        const S out = (wide(x[r * channels + c]) - shift) * factor + add;
        y[r * channels + c] = rounded<T>(relu && out < S(0) ? S(0) : out);
    }
}

// Two sums over the threads of a column of the block, in the first of them; the others keep their own.
template <typename T>
__device__ __forceinline__ void sum_down(T& first, T& second) {
    __shared__ T of_first[THREADS], of_second[THREADS];
    const int mine = threadIdx.y * blockDim.x + threadIdx.x;
    of_first[mine] = first;
    of_second[mine] = second;
    __syncthreads();
    if (threadIdx.y > 0) return;
    for (int y = 1; y < static_cast<int>(blockDim.y); y++) {
        first += of_first[mine + y * blockDim.x];
        second += of_second[mine + y * blockDim.x];
    }
}

// Of each split of the rows, (splits, channels): the sums of g and of g (x - mean).
template <typename T, typename S>
__global__ void __launch_bounds__(THREADS, 1)
    batch_grad_sums(const T* __restrict__ g, const T* __restrict__ x, const S* __restrict__ mean,
                    S* __restrict__ sums, S* __restrict__ products, long long rows, int channels,
                    int splits) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const long long each = (rows + splits - 1) / splits;
    const long long from = blockIdx.y * each, to = min(from + each, rows);
    S sum = 0, product = 0;
    if (c < channels) {
        const S centre = mean[c];
        for (long long r = from + threadIdx.y; r < to; r += blockDim.y) {
            const S here = wide(g[r * channels + c]);
            sum += here;
            product += here * (wide(x[r * channels + c]) - centre);
        }
    }
    sum_down(sum, product);
    if (threadIdx.y > 0 || c >= channels) return;
    sums[blockIdx.y * static_cast<long long>(channels) + c] = sum;
    products[blockIdx.y * static_cast<long long>(channels) + c] = product;
}

// d_bias = the sum of g, d_weight = the sum of g (x - mean) / sqrt(var + eps). A thread a channel.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    batch_grad_merge(const T* __restrict__ sums, const T* __restrict__ products,
                     const T* __restrict__ var, T* __restrict__ d_weight, T* __restrict__ d_bias, T eps,
                     int channels, int splits) {
    const int c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= channels) return;
    T sum = 0, product = 0;
    for (int s = 0; s < splits; s++) {
        sum += sums[s * static_cast<long long>(channels) + c];
        product += products[s * static_cast<long long>(channels) + c];
    }
    d_bias[c] = sum;
    d_weight[c] = product / sqrt(var[c] + eps);
}

// dx = weight / sqrt(var + eps) (g - d_bias / rows - (x - mean) / sqrt(var + eps) d_weight / rows)
template <typename T, typename S>
__global__ void __launch_bounds__(THREADS, 1)
    batch_grad_apply(const T* __restrict__ g, const T* __restrict__ x, const S* __restrict__ mean,
                     const S* __restrict__ var, const S* __restrict__ weight,
                     const S* __restrict__ d_weight, const S* __restrict__ d_bias, T* __restrict__ dx,
                     S eps, long long rows, int channels) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const S centre = mean[c], scale = S(1) / sqrt(var[c] + eps), factor = scale * weight[c];
    const S less = d_bias[c] / static_cast<S>(rows);
    const S slope = scale * d_weight[c] / static_cast<S>(rows);
    long long r = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; r < rows; r += static_cast<long long>(gridDim.y) * blockDim.y) {
        const long long at = r * channels + c;
        dx[at] = rounded<T>((wide(g[at]) - less - (wide(x[at]) - centre) * slope) * factor);
    }
}

// How far value i of a group of (s, c) values lies from its first one in (s, g, c).
__device__ __forceinline__ long long along(int i, int s, int g, int c) {
    return s == 1 ? i : static_cast<long long>(i / c) * g * c + i % c;
}

// x is (n, s, g, c); every (n, g) has its mean and variance over s and c, unless it is not CENTRED: then
// y = x / sqrt(mean(x^2) + eps) * weight, and var holds the mean of squares. weight and bias are (g, c),
// or the last axes of that and repeated, or null. A row of threads (threadIdx.y) has one (n, g). Where
// `relu` is said, y is 0 where it would be negative.
template <typename T, bool CENTRED>
__global__ void __launch_bounds__(THREADS, 1)
    axis_norm(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
              T* __restrict__ y, T* __restrict__ mean, T* __restrict__ var, T eps, bool relu,
              int weights, int biases, long long n, int s, int g, int c) {
    const int count = s * c;
    const long long groups = n * g, step = static_cast<long long>(gridDim.x) * blockDim.y;
    for (long long top = static_cast<long long>(blockIdx.x) * blockDim.y; top < groups; top += step) {
        const long long group = top + threadIdx.y;
        const bool mine = group < groups;
        const int which = static_cast<int>(group % g);
        const long long base = (group / g * s * g + which) * c;
        const int values = mine ? count : 0;
        const auto at = [&](int i) { return base + along(i, s, g, c); };
        T centre = 0;
        if (CENTRED) {
            T sum = 0;
            for (int i = threadIdx.x; i < values; i += blockDim.x) sum += x[at(i)];
            centre = row_sum(sum) / static_cast<T>(count);
        }
        T square = 0;
        for (int i = threadIdx.x; i < values; i += blockDim.x) {
            const T d = x[at(i)] - centre;
            square += d * d;
        }
        square = row_sum(square) / static_cast<T>(count);
        const T factor = T(1) / sqrt(square + eps);
        for (int i = threadIdx.x; i < values; i += blockDim.x) {
            const int place = which * c + i % c;
            T out = (x[at(i)] - centre) * factor;
            if (weight) out *= weight[place % weights];
            if (bias) out += bias[place % biases];
            y[at(i)] = relu && out < T(0) ? T(0) : out;
        }
        if (mine && threadIdx.x == 0) {
            if (CENTRED) mean[group] = centre;
            var[group] = square;
        }
    }
}

// The gradient of axis_norm's x, (n, s, groups, c), from that of y: with u = (x - mean) / sqrt(var + eps)
// and h = g weight, dx = (h - the mean of h - u times the mean of h u) / sqrt(var + eps), the means over
// s and c; without the first of them, and mean 0, unless it is CENTRED. weight is the last axes of x, of
// `weights` values, or null. A row of threads has one (n, group).
template <typename T, bool CENTRED>
__global__ void __launch_bounds__(THREADS, 1)
    axis_norm_grad(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ mean,
                   const T* __restrict__ var, const T* __restrict__ weight, T* __restrict__ dx, T eps,
                   int weights, long long n, int s, int groups, int c) {
    const int count = s * c;
    const long long all = n * groups, step = static_cast<long long>(gridDim.x) * blockDim.y;
    for (long long top = static_cast<long long>(blockIdx.x) * blockDim.y; top < all; top += step) {
        const long long group = top + threadIdx.y;
        const bool mine = group < all;
        const long long base = (group / groups * s * groups + group % groups) * c;
        const unsigned first = weight ? static_cast<unsigned>(base % weights) : 0;
        const int values = mine ? count : 0;
        const T centre = CENTRED && mine ? mean[group] : T(0);
        const T scale = mine ? T(1) / sqrt(var[group] + eps) : T(0);
        const auto through = [&](long long apart) {  // h
            if (!weight) return g[base + apart];
            const unsigned place = first + static_cast<unsigned>(apart);
            return g[base + apart] * weight[place < static_cast<unsigned>(weights) ? place : place % weights];
        };
        T level = 0, slope = 0;
        for (int i = threadIdx.x; i < values; i += blockDim.x) {
            const long long apart = along(i, s, groups, c);
            const T h = through(apart);
            if (CENTRED) level += h;
            slope += h * ((x[base + apart] - centre) * scale);
        }
        if (CENTRED) level = row_sum(level) / static_cast<T>(count);
        slope = row_sum(slope) / static_cast<T>(count);
        for (int i = threadIdx.x; i < values; i += blockDim.x) {
            const long long apart = along(i, s, groups, c);
            const T u = (x[base + apart] - centre) * scale;
            dx[base + apart] = (through(apart) - level - u * slope) * scale;
        }
    }
}

// Of each split of the rows, (splits, columns): the sums of g u, and if CENTRED those of g. x is taken as
// (rows, columns); `image` is s groups c, and columns a multiple or a part of it that has whole groups c.
template <typename T, bool CENTRED>
__global__ void __launch_bounds__(THREADS, 1)
    axis_grad_sums(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ mean,
                   const T* __restrict__ var, T* __restrict__ products, T* __restrict__ sums, T eps,
                   long long rows, int columns, int splits, long long image, int groups, int c) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    const long long each = (rows + splits - 1) / splits;
    const long long from = blockIdx.y * each, to = min(from + each, rows);
    T sum = 0, product = 0;
    if (column < columns) {
        const int which = column / c % groups;
        const long long at = (from + threadIdx.y) * columns + column;
        const long long step = static_cast<long long>(blockDim.y) * columns;
        const long long examples = step / image, rest = step % image;
        long long example = at / image, inside = at % image;  // divided once, then counted on
        for (long long r = from + threadIdx.y; r < to; r += blockDim.y) {
            const long long group = example * groups + which;
            const T here = g[r * columns + column];
            const T centred = x[r * columns + column] - (CENTRED ? mean[group] : T(0));
            product += here * (centred * (T(1) / sqrt(var[group] + eps)));
            if (CENTRED) sum += here;
            example += examples;
            inside += rest;
            if (inside >= image) {
                inside -= image;
                example++;
            }
        }
    }
    sum_down(sum, product);
    if (threadIdx.y > 0 || column >= columns) return;
    products[blockIdx.y * static_cast<long long>(columns) + column] = product;
    if (CENTRED) sums[blockIdx.y * static_cast<long long>(columns) + column] = sum;
}
