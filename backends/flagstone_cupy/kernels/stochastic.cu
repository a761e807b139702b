// The random stream and dropout: Philox4x64-10 (Salmon et al., SC 2011), bit for bit NumPy's.
//
// random_bits: one thread makes one block of four words, 32 bytes written and none read. It is bound
// by ten rounds of two 64 x 64 -> 128-bit products. dropout_mask: a thread a value, half a word read
// and a byte written for 4 of them. random_integers and keep: a thread takes EACH values, 16 bytes each,
// and 9 in float32.
#include "common.cuh"
#include "half.cuh"

// Words 4 i to 4 i + 3 are Philox of the counter (start + i + 1, step, epoch, 0); `counter` holds step
// and epoch.
__global__ void __launch_bounds__(THREADS, 1)
    random_bits(const unsigned long long* __restrict__ counter,
                unsigned long long* __restrict__ words,
                unsigned long long key0, unsigned long long key1, unsigned long long start,
                long long blocks) {
    const long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= blocks) return;
    unsigned long long c0 = start + static_cast<unsigned long long>(i) + 1;
    unsigned long long c1 = counter[0], c2 = counter[1], c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned long long low0 = 0xD2E7470EE14C6C93ull * c0;
        const unsigned long long high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0);
        const unsigned long long low1 = 0xCA5A826395121157ull * c2;
        const unsigned long long high1 = __umul64hi(0xCA5A826395121157ull, c2);
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    ulonglong2* out = reinterpret_cast<ulonglong2*>(words);
    out[2 * i] = {c0, c1};
    out[2 * i + 1] = {c2, c3};
}

// mask[row, column] = lane `column` of the row's words < threshold. A row has `words_a_row` words of
// four 16-bit lanes, the lowest first; threads along x are columns, along y rows.
__global__ void __launch_bounds__(THREADS, 1)
    dropout_mask(const unsigned long long* __restrict__ words, bool* __restrict__ mask,
                 unsigned threshold, long long rows, long long width, long long words_a_row) {
    const long long column = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (column >= width) return;
    long long row = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; row < rows; row += static_cast<long long>(gridDim.y) * blockDim.y) {
        const unsigned long long word = words[row * words_a_row + column / 4];
        mask[row * width + column] = (word >> (16 * (column % 4)) & 0xFFFF) < threshold;
    }
}

// y = floor(high top / 2^32) with top the upper 32 bits of a word; high is at most 2^32.
__global__ void __launch_bounds__(THREADS, 1)
    random_integers(const unsigned long long* __restrict__ words, long long* __restrict__ y,
                    unsigned long long high, long long n) {
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) y[i] = static_cast<long long>((words[i] >> 32) * high >> 32);
    }
}

// y = scale x where the mask holds, else 0
template <typename T>
__global__ void __launch_bounds__(THREADS, 1)
    keep(const T* __restrict__ x, const bool* __restrict__ mask, T* __restrict__ y, double scale,
         long long n) {
    const auto factor = static_cast<typename Wide<T>::type>(scale);
    const long long first = first_value();
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        const long long i = first + j * THREADS;
        if (i < n) y[i] = rounded<T>(mask[i] ? wide(x[i]) * factor : 0);
    }
}
