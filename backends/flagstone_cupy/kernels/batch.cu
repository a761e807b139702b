// A batch made of the data in one pass: picked, cast, its pixels moved, standardised.
//
// Examples whose pixels are moved are pictures (h, w, channels), all others one row of values. A thread
// along x has a place of a row (its channel and its mean are found once), threads and blocks along y the
// rows, along z the examples. Traffic, of bytes to float32: 5 bytes a value (1 read, 4 written), and 8 a
// number of examples, rows and columns, which lie in the cache; the ops one by one take 43 with a
// mirroring and a move.
#include "common.cuh"

// y[e, i, j, k] = (x[index[e], rows[e, i], columns[e, j], k] - mean[k]) inverse_scale[k]. A null pointer to
// numbers stands for 0, 1, ...; a pixel that there is not is 0, and an example that there is not NaN, or 0
// where x holds integers. `period` values of mean lie below the last of a row's values.
template <typename S, typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    standardized(const S* __restrict__ x, const I* __restrict__ index, const long long* __restrict__ rows,
                 const long long* __restrict__ columns, const T* __restrict__ mean,
                 const T* __restrict__ inverse_scale, T* __restrict__ y, T missing, long long table, int n,
                 int h, int w, int channels, int new_h, int new_w, int period) {
    const int width = new_w * channels, place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= width) return;
    const int j = place / channels, channel = place - j * channels;
    const T shift = mean[place % period], factor = inverse_scale[place % period];
    for (int e = blockIdx.z * blockDim.z + threadIdx.z; e < n; e += gridDim.z * blockDim.z) {
        const long long from = index ? static_cast<long long>(index[e]) : e;
        const long long c = columns ? columns[static_cast<long long>(e) * new_w + j] : j;
        const bool known = from >= 0 && from < table, across = c >= 0 && c < w;
        for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < new_h; i += gridDim.y * blockDim.y) {
            const long long line = static_cast<long long>(e) * new_h + i, r = rows ? rows[line] : i;
            T value = T(0);
            if (across && r >= 0 && r < h)
                value = known ? static_cast<T>(x[((from * h + r) * w + c) * channels + channel]) : missing;
            y[line * width + place] = (value - shift) * factor;
        }
    }
}
