// Where a product's operands lie when one of them is gathered from images by a sliding window.
//
// Convolution, its two gradients and plain matrix products are the same three sums over one struct:
//
//   forward       y[row, n] = sum over (tap, c) of x[at(row, tap), c] * w[n, tap, c]
//   input grad    y[row, n] = sum over (tap, c) of x[at(row, tap), c] * w[c, tap, n]
//   weight grad   w[k, tap, c] = sum over row of y[row, k] * x[at(row, tap), c]
//
// A row is a position (image, p0, p1, p2); at() is position * step + first + tap * delta along each
// of three axes of space, and x is zero outside. One tap and one position an image make it a matrix
// product: A @ B.T, A @ B and A.T @ B. Axes that a convolution lacks have length 1.
//
// The input gradient of a strided convolution falls into phases: the places of x that are equal
// modulo the stride see the same taps, and one phase is a convolution of stride 1 over these taps.
// Along each axis a phase's taps are equally far apart in w, and so are the places in x they see.
//
// Offsets inside an image and numbers of rows fit 31 bits, or the launch is refused; offsets
// between images, groups and slices are 64 bits wide.
#ifndef FLAGSTONE_WINDOW_CUH
#define FLAGSTONE_WINDOW_CUH

#include "half.cuh"
#include "ptx.cuh"

// Division of 0 <= n < 2^31 by a constant: a multiplication and a shift, prepared on the host.
struct Divider {
    int divisor;
    unsigned multiplier;
    int shift;
};

struct Axis {
    int size;          // of x
    int step;          // in x, between neighbouring positions
    int delta;         // in x, between neighbouring taps; not 0
    int weight_delta;  // in w, between neighbouring taps
    int out_size;      // of y
    int out_step;      // in y, between neighbouring positions
};

struct Phase {
    Divider positions;  // how many
    Divider taps;       // how many
    int out_first;      // the first position's place in y
    int first;          // what the first position's first tap sees in x
    int end;            // what it would see one tap after the last
    int weight_first;   // the first tap's place in w
};

struct Product {
    long long x_group;  // from one group, or one matrix of a batch, to the next
    long long w_group;
    long long y_group;
    long long y_slice;  // from one slice of a sum that is split to the next
    int images;
    int groups;
    int splits;
    int channels;    // c of one group
    int columns;     // n of one group; in the weight gradient k
    int x_row;       // from one place of x to the next: all groups' channels
    int w_row;       // from one row of w to the next
    int y_row;       // from one place of y to the next
    int w_tap;       // from one tap of w to the next
    int steps;       // of DEPTH indices, that one split adds up
    int most_rows;   // of any phase
    int aligned;     // whether results may be written in vectors
    int activation;  // 0 none, 1 relu
    Divider by_channels;
    int phases[3];
    Axis axis[3];
    Phase phase[24];  // 8 for each axis; larger strides take several launches
};

__device__ __forceinline__ int quotient(const Divider& by, int n) {
    const unsigned long long product = static_cast<unsigned long long>(n) * by.multiplier;
    return by.divisor == 1 ? n : static_cast<int>(product >> 32 >> by.shift);
}

// What one block of the grid works on: a tile of rows and columns, and which of the products. The grid
// is one-dimensional, tiles of columns fastest, so that blocks that read the same rows of x run at the
// same time and find them in the L2 cache.
struct Place {
    int row, column;  // the tile's first
    int group, split, phase;

    __device__ __forceinline__ Place(const Product& p, int tile_rows, int tile_columns, int rows,
                                     int columns) {
        const int across = (columns + tile_columns - 1) / tile_columns;
        const int down = (rows + tile_rows - 1) / tile_rows;
        const int rest = blockIdx.x / across;
        int z = rest / down;
        column = (blockIdx.x - rest * across) * tile_columns;
        row = (rest - z * down) * tile_rows;
        split = z % p.splits, z /= p.splits;
        group = z % p.groups, phase = z / p.groups;
    }
};

// The rows of a product, and where they lie in x and in y; if PHASED, those of one phase.
template <bool PHASED>
struct Rows {
    const Product& p;
    int phase[3];

    __device__ __forceinline__ Rows(const Product& p, int z) : p(p) {
        if (!PHASED) return;
        phase[2] = z % p.phases[2], z /= p.phases[2];
        phase[1] = z % p.phases[1], phase[0] = z / p.phases[1];
    }

    __device__ __forceinline__ const Phase& of(int axis) const {
        return p.phase[8 * axis + (PHASED ? phase[axis] : 0)];
    }

    __device__ __forceinline__ int count() const {
        return p.images * of(0).positions.divisor * of(1).positions.divisor *
               of(2).positions.divisor;
    }

    // The length of the sum over (tap, c).
    __device__ __forceinline__ int depth() const {
        return of(0).taps.divisor * of(1).taps.divisor * of(2).taps.divisor * p.channels;
    }

    // The row's position along each axis; returns its image.
    __device__ __forceinline__ int locate(int row, int (&position)[3]) const {
#pragma unroll
        for (int a = 2; a >= 0; a--) {
            const int above = quotient(of(a).positions, row);
            position[a] = row - above * of(a).positions.divisor;
            row = above;
        }
        return row;
    }

    // The row's place in y.
    __device__ __forceinline__ long long place(int row) const {
        if (!PHASED) return row;
        int position[3];
        long long place = locate(row, position);
#pragma unroll
        for (int a = 0; a < 3; a++)
            place = place * p.axis[a].out_size + of(a).out_first + position[a] * p.axis[a].out_step;
        return place;
    }

    // Where one index (tap, c) of the sum lies in w[c, tap, n], the weights of an input gradient.
    __device__ __forceinline__ int weight_offset(int index) const {
        int tap = quotient(p.by_channels, index);
        const int channel = index - tap * p.channels;
        if (PHASED) {  // only some of the taps
            int place = 0;
#pragma unroll
            for (int a = 2; a >= 0; a--) {
                const int above = a ? quotient(of(a).taps, tap) : 0;
                place += of(a).weight_first +
                         (tap - above * of(a).taps.divisor) * p.axis[a].weight_delta;
                tap = above;
            }
            tap = place;
        }
        return channel * p.w_row + tap * p.w_tap;
    }
};

// A row of the product in x: where the window lies, without what a tap adds.
template <typename T>
struct Window {
    const T* base;
    int at[3];

    template <bool PHASED>
    __device__ __forceinline__ void move(const Rows<PHASED>& rows, const T* x, int row) {
        const Axis(&axis)[3] = rows.p.axis;
        const bool exists = row < rows.count();
        long long place = rows.locate(exists ? row : 0, at);
#pragma unroll
        for (int a = 0; a < 3; a++) {
            at[a] *= axis[a].step;
            place = place * axis[a].size + at[a];
        }
        base = x + place * rows.p.x_row;
        if (!exists) at[0] = -(1 << 30);  // outside under every tap
    }

    __device__ __forceinline__ bool sees(const Product& p, const int (&tap)[3]) const {
        bool inside = true;
#pragma unroll
        for (int a = 0; a < 3; a++)
            inside &= static_cast<unsigned>(at[a] + tap[a]) < static_cast<unsigned>(p.axis[a].size);
        return inside;
    }
};

// A walk along the sum's index (tap, c): what it adds to a row's place in x, and where it is in w.
template <bool PHASED>
struct Cursor {
    int channel;
    int at[3];   // what the tap adds to the place along each axis
    int source;  // and to the offset in x, with channel
    int weight;  // offset in w[n, tap, c] of the tap, with channel

    __device__ __forceinline__ Cursor(const Rows<PHASED>& rows, int index) {
        int tap = quotient(rows.p.by_channels, index), flat = 0;
        channel = index - tap * rows.p.channels;
#pragma unroll
        for (int a = 2; a >= 0; a--) {
            const Phase& phase = rows.of(a);
            const int above = a && phase.taps.divisor ? quotient(phase.taps, tap) : 0;
            const int t = tap - above * phase.taps.divisor;
            at[a] = phase.first + t * rows.p.axis[a].delta;
            flat += phase.weight_first + t * rows.p.axis[a].weight_delta;
            tap = above;
        }
        weight = flat * rows.p.w_tap + channel;
        look(rows);
    }

    __device__ __forceinline__ void look(const Rows<PHASED>& rows) {
        source = (at[0] * rows.p.axis[1].size + at[1]) * rows.p.axis[2].size + at[2];
        source = source * rows.p.x_row + channel;
    }

    // One tap further along an axis; whether that was its last, and the next axis' turn comes.
    template <int A>
    __device__ __forceinline__ bool turn(const Rows<PHASED>& rows) {
        const Phase& phase = rows.of(A);
        const int weight_delta = rows.p.axis[A].weight_delta * rows.p.w_tap;
        at[A] += rows.p.axis[A].delta;
        weight += weight_delta;
        if (A == 0 || at[A] != phase.end) return false;
        at[A] = phase.first;
        weight -= phase.taps.divisor * weight_delta;
        return true;
    }

    __device__ __forceinline__ void advance(const Rows<PHASED>& rows, int by) {
        channel += by, source += by, weight += by;
        if (channel < rows.p.channels) return;
        weight -= channel;
        do {
            channel -= rows.p.channels;
            if (turn<2>(rows) && turn<1>(rows)) turn<0>(rows);
        } while (channel >= rows.p.channels);
        weight += channel;
        look(rows);
    }
};

// Neighbouring values that are read and written together.
template <typename T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Vector {
    T at[N];
};

// Write neighbouring results, as one vector where that is allowed; `left` of them exist.
template <typename T, int N, typename S>
__device__ __forceinline__ void write(T* to, const S (&values)[N], int left, bool aligned) {
    Vector<T, N> narrowed;
#pragma unroll
    for (int j = 0; j < N; j++) narrowed.at[j] = rounded<T>(values[j]);
    if (aligned && left >= N) {
        *reinterpret_cast<Vector<T, N>*>(to) = narrowed;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < left) to[j] = narrowed.at[j];
    }
}

template <typename S>
__device__ __forceinline__ S activate(S v, int activation) {
    return activation == 1 && v < S(0) ? S(0) : v;  // NaN stays
}

// Write neighbouring results of a row: to a split's slice, or to y with bias and activation.
template <typename T, int N, typename S>
__device__ __forceinline__ void finish(const Product& p, int group, int split, long long place,
                                       int column, S (&values)[N], T* y, S* slices, const T* bias) {
    const int left = p.columns - column;
    const long long to = group * p.y_group + place * p.y_row + column;
    if (p.splits > 1) {
        write(slices + split * p.y_slice + to, values, left, p.aligned);
        return;
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        if (bias && j < left) values[j] += wide(bias[group * p.columns + column + j]);
        values[j] = activate(values[j], p.activation);
    }
    write(y + to, values, left, p.aligned);
}

#endif
