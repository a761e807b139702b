// Pictures read by pixel numbers that differ from picture to picture, and boxes in them.
//
// Pictures are (n, h, w, channels). A thread along x has a place of a picture's row, threads along y and
// blocks along y the rows, blocks along z the pictures, so that nothing is divided but once a thread.
// pick_pixels reads and writes each value once, 8 bytes in float32; place_pixels likewise, and its threads
// look through the numbers of their picture, which lie in the cache. shifted reads 0 or 8 and writes 8
// bytes a number, box_mask a byte a pixel.
#include "common.cuh"
#include "half.cuh"

// y[n, i, j] = x[n, rows[n, i], columns[n, j]], 0 where there is no such pixel. T is any type of the
// elements' size: only bits are moved.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    pick_pixels(const T* __restrict__ x, const long long* __restrict__ rows,
                const long long* __restrict__ columns, T* __restrict__ y, long long n, int h, int w,
                int channels, int new_h, int new_w) {
    const long long width = static_cast<long long>(new_w) * channels;
    const long long place = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (place >= width) return;
    const long long j = place / channels, channel = place % channels;
    for (long long image = blockIdx.z; image < n; image += gridDim.z) {
        const long long c = columns[image * new_w + j];
        for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < new_h; i += gridDim.y * blockDim.y) {
            const long long r = rows[image * new_h + i];
            const bool inside = r >= 0 && r < h && c >= 0 && c < w;
            y[(image * new_h + i) * width + place] =
                inside ? x[((image * h + r) * w + c) * channels + channel] : T(0);
        }
    }
}

// y[n, r, c] = the sum of g[n, i, j] over the i with rows[n, i] = r and the j with columns[n, j] = c, in
// the order of i, then j.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    place_pixels(const T* __restrict__ g, const long long* __restrict__ rows,
                 const long long* __restrict__ columns, T* __restrict__ y, long long n, int h, int w,
                 int channels, int given_h, int given_w) {
    const long long width = static_cast<long long>(w) * channels;
    const long long place = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (place >= width) return;
    const long long c = place / channels, channel = place % channels;
    for (long long image = blockIdx.z; image < n; image += gridDim.z) {
        const long long* of_row = rows + image * given_h;
        const long long* of_column = columns + image * given_w;
        for (int r = blockIdx.y * blockDim.y + threadIdx.y; r < h; r += gridDim.y * blockDim.y) {
            typename Wide<T>::type total = 0;
            for (int i = 0; i < given_h; i++) {
                if (of_row[i] != r) continue;
                const T* line = g + (image * given_h + i) * given_w * channels + channel;
                for (int j = 0; j < given_w; j++)
                    if (of_column[j] == c) total += wide(line[static_cast<long long>(j) * channels]);
            }
            y[(image * h + r) * width + place] = rounded<T>(total);
        }
    }
}

// Place i of a row of y reads place i + offset. Beyond the ends that is: 0, left as it is; 1, mirrored at
// the last place; 2, the last place. With 3, place i reads last - i where offset is not 0. What a place
// reads already is in `before`, unless that is null; -1 is no place.
__global__ void __launch_bounds__(THREADS, 1)
    shifted(const long long* __restrict__ offset, const long long* __restrict__ before,
            long long* __restrict__ y, int mode, long long n, long long length) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= length) return;
    const long long last = length - 1;
    long long row = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; row < n; row += static_cast<long long>(gridDim.y) * blockDim.y) {
        long long from = mode == 3 ? (offset[row] != 0 ? last - i : i) : offset[row] + i;
        if (mode == 1) {
            from = last - (from < 0 ? -from : from);
            from = last - (from < 0 ? -from : from);
        }
        if (mode == 2) from = min(max(from, 0LL), last);
        if (before) from = from >= 0 && from <= last ? before[row * length + from] : -1;
        y[row * length + i] = from;
    }
}

// y[n, i, j]: whether pixel (i, j) lies in the box of that middle, height and width. A null pointer to
// heights or widths stands for one of all.
__global__ void __launch_bounds__(THREADS, 1)
    box_mask(const long long* __restrict__ row, const long long* __restrict__ column,
             const long long* __restrict__ heights, const long long* __restrict__ widths,
             bool* __restrict__ y, long long height, long long width, long long n, int h, int w) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= w) return;
    for (long long image = blockIdx.z; image < n; image += gridDim.z) {
        const long long tall = heights ? heights[image] : height;
        const long long broad = widths ? widths[image] : width;
        const long long top = row[image] - tall / 2, left = column[image] - broad / 2;
        const bool across = j >= left && j < left + broad;
        for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < h; i += gridDim.y * blockDim.y)
            y[(image * h + i) * w + j] = across && i >= top && i < top + tall;
    }
}
