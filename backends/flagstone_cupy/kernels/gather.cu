// Rows by number, and sums by number in a fixed order; no atomics.
//
// take_rows: a thread a column of the result, 2 x the result's bytes. add_rows: a warp a row of the
// result and 32 of its columns, which looks through all numbers 32 at a time and adds the rows that
// match in their order; it reads the numbers once a row of the result (from the second-level cache)
// and each row of g once. scatter_add: a thread a value of the result looks through the numbers of its
// line.
#include "common.cuh"

// y[i] = x[index[i]]; a row whose number is out of range is filled with `fill`. T is any type of the
// elements' size: only bits are moved.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    take_rows(const T* __restrict__ x, const I* __restrict__ index, T* __restrict__ y, T fill,
              long long table_rows, long long rows, long long width) {
    const long long column = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (column >= width) return;
    long long row = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; row < rows; row += static_cast<long long>(gridDim.y) * blockDim.y) {
        const long long from = index[row];
        y[row * width + column] = from >= 0 && from < table_rows ? x[from * width + column] : fill;
    }
}

// number += 1, for the next row of the tables of a sweep. One thread.
__global__ void count_row(long long* __restrict__ number) {
    ++*number;
}

// y[r] = sum of g[i] over the i with index[i] = r, in the order of i. Blocks of 32 x 8.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    add_rows(const T* __restrict__ g, const I* __restrict__ index, T* __restrict__ y, long long rows,
             long long m, long long width) {
    const long long r = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (r >= rows) return;  // whole warps
    const int lane = threadIdx.x;
    const long long column = static_cast<long long>(blockIdx.y) * WARP + lane;
    T total = 0;
    for (long long first = 0; first < m; first += WARP) {
        const long long i = first + lane;
        unsigned matches = __ballot_sync(ALL_LANES, i < m && index[i] == r);
        while (matches) {
            const long long from = first + __ffs(matches) - 1;
            matches &= matches - 1;
            if (column < width) total += g[from * width + column];
        }
    }
    if (column < width) y[r * width + column] = total;
}

// y[o, r, i] = sum of g[o, j, i] over the j with index[o, j, i] = r, in the order of j.
template <typename T, typename I>
__global__ void __launch_bounds__(THREADS, 1)
    scatter_add(const T* __restrict__ g, const I* __restrict__ index, T* __restrict__ y, long long n,
                long long m, long long size, long long inner) {
    const long long number = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (number >= n) return;
    const long long i = number % inner, r = number / inner % size, o = number / inner / size;
    T total = 0;
    for (long long j = 0; j < m; j++) {
        const long long at = (o * m + j) * inner + i;
        if (index[at] == r) total += g[at];
    }
    y[number] = total;
}
