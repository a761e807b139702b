// The functions of kernels/ptx.cuh for the CPU, with its include guard, so that a kernel's
// #include "ptx.cuh" adds nothing. A copy's data lands at the wait and not before; until then its
// target holds NaN. ldmatrix counts the bank conflicts that a card would have.
#ifndef FLAGSTONE_PTX_CUH
#define FLAGSTONE_PTX_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda.h"

#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(cusim::dynamic_shared)

namespace cusim {

inline void check_shared(const void* p, int bytes, const char* what) {
    const char* start = static_cast<const char*>(p);
    const auto inside = [&](const char* from, size_t length) {
        return start >= from && start + bytes <= from + length;
    };
    if (!inside(dynamic_shared, dynamic_bytes) &&
        !inside(static_shared().start, static_shared().bytes))
        fail(std::string(what) + " outside shared memory");
    if (reinterpret_cast<uintptr_t>(p) % bytes) fail(std::string(what) + " at a misaligned address");
}

inline void start_copy(void* to, const void* from, int bytes, bool ok) {
    check_shared(to, bytes, "cp.async");
    if (reinterpret_cast<uintptr_t>(from) % bytes) fail("cp.async from a misaligned address");
    memset(to, 0xFF, bytes);
    current->open_group.push_back({to, from, bytes, ok});
}

// Registers of a lane that takes part in a collective.
struct Fragments {
    const void* row;
    unsigned* loaded;
    const unsigned* a;
    unsigned b0, b1;
    float* c;
};

inline Fragments& fragments(Warp& warp, int lane) { return *static_cast<Fragments*>(warp.pointer[lane]); }

template <bool TRANS>
inline void ldmatrix(unsigned* loaded, const void* row) {
    check_shared(row, 16, "ldmatrix");
    Fragments mine{row, loaded, nullptr, 0, 0, nullptr};
    current->warp->pointer[current->lane] = &mine;
    together(~0u, TRANS ? LDMATRIX_TRANS : LDMATRIX, [](Warp& warp) {
        for (int matrix = 0; matrix < 4; matrix++) {
            const uint16_t* rows[8];
            unsigned banks = 0;  // eight rows of 16 bytes are read at once if all lie in different banks
            for (int j = 0; j < 8; j++) {
                rows[j] = static_cast<const uint16_t*>(fragments(warp, matrix * 8 + j).row);
                banks |= 1u << ((reinterpret_cast<uintptr_t>(rows[j]) >> 4) & 7);
            }
            statistics.ldmatrix++;
            statistics.bank_conflicts += 8 - __builtin_popcount(banks);
            for (int lane = 0; lane < WARP; lane++) {
                const int i = lane / 4, j = lane % 4 * 2;
                const unsigned low = TRANS ? rows[j][i] : rows[i][j];
                const unsigned high = TRANS ? rows[j + 1][i] : rows[i][j + 1];
                fragments(warp, lane).loaded[matrix] = low | high << 16;
            }
        }
    });
}

template <class T>
inline float half_of(unsigned pair, int which) {
    const uint16_t bits = static_cast<uint16_t>(which ? pair >> 16 : pair);
    T value;
    memcpy(&value, &bits, 2);
    return static_cast<float>(value);
}

// c += a * b for one warp; `unpack` spreads the lanes' fragments over a (16 x K) and b (8 x K).
template <int K, class Unpack>
inline void multiply(Warp& warp, Unpack unpack) {
    statistics.mma++;
    float a[16][K], b[8][K];
    for (int lane = 0; lane < WARP; lane++) unpack(fragments(warp, lane), lane / 4, lane % 4, a, b);
    for (int lane = 0; lane < WARP; lane++)
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = 0;
            for (int k = 0; k < K; k++) sum += a[row][k] * b[column][k];
            fragments(warp, lane).c[i] += sum;
        }
}

inline void meet(Fragments& mine) { current->warp->pointer[current->lane] = &mine; }

}  // namespace cusim

inline unsigned shared_address(const void* p) {
    return static_cast<unsigned>(static_cast<const char*>(p) - cusim::dynamic_shared);
}

inline void cp_async_16(void* to, const void* from, bool ok) { cusim::start_copy(to, from, 16, ok); }
inline void cp_async_4(void* to, const void* from, bool ok) { cusim::start_copy(to, from, 4, ok); }

inline void cp_async_commit() {
    cusim::current->groups.push_back(std::move(cusim::current->open_group));
    cusim::current->open_group.clear();
}

template <int PENDING>
inline void cp_async_wait() {
    auto& groups = cusim::current->groups;
    while (static_cast<int>(groups.size()) > PENDING) {
        for (const cusim::Copy& copy : groups.front()) {
            if (copy.ok)
                memcpy(copy.to, copy.from, copy.bytes);
            else
                memset(copy.to, 0, copy.bytes);
        }
        groups.erase(groups.begin());
    }
}

inline void ldmatrix_x4(unsigned (&r)[4], const void* row) { cusim::ldmatrix<false>(r, row); }
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) { cusim::ldmatrix<true>(r, row); }

template <class T>
inline void mma_16816(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    constexpr bool HALF = std::is_same<T, __half>::value;
    cusim::Fragments mine{nullptr, nullptr, a, b0, b1, c};
    cusim::meet(mine);
    cusim::together(~0u, HALF ? cusim::MMA_HALF : cusim::MMA_BFLOAT16, [](cusim::Warp& warp) {
        cusim::multiply<16>(warp, [](const cusim::Fragments& f, int g, int t, auto& a, auto& b) {
            for (int e = 0; e < 2; e++) {
                const int k = t * 2 + e;
                a[g][k] = cusim::half_of<T>(f.a[0], e);
                a[g + 8][k] = cusim::half_of<T>(f.a[1], e);
                a[g][k + 8] = cusim::half_of<T>(f.a[2], e);
                a[g + 8][k + 8] = cusim::half_of<T>(f.a[3], e);
                b[g][k] = cusim::half_of<T>(f.b0, e);
                b[g][k + 8] = cusim::half_of<T>(f.b1, e);
            }
        });
    });
}

inline void mma_1688_tf32(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    cusim::Fragments mine{nullptr, nullptr, a, b0, b1, c};
    cusim::meet(mine);
    cusim::together(~0u, cusim::MMA_TF32, [](cusim::Warp& warp) {
        cusim::multiply<8>(warp, [](const cusim::Fragments& f, int g, int t, auto& a, auto& b) {
            const auto value = [](unsigned bits) { return __uint_as_float(bits & 0xFFFFE000u); };
            a[g][t] = value(f.a[0]);
            a[g + 8][t] = value(f.a[1]);
            a[g][t + 4] = value(f.a[2]);
            a[g + 8][t + 4] = value(f.a[3]);
            b[g][t] = value(f.b0);
            b[g][t + 4] = value(f.b1);
        });
    });
}

inline unsigned round_to_tf32(float x) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7F800000u) == 0x7F800000u) return bits & 0xFFFFE000u;  // infinities and NaN
    return (bits + 0x1000u) & 0xFFFFE000u;
}

#endif
