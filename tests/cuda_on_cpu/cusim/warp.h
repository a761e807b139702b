// What the lanes of a warp do together. Each lane waits until all lanes of the mask have come; the
// last one to come does the work for all.
#pragma once
#include "block.h"

namespace cusim {

enum Kind { SHUFFLE = 1, VOTE, SYNC, LDMATRIX, LDMATRIX_TRANS, MMA_HALF, MMA_BFLOAT16, MMA_TF32 };

template <class Finish>
inline void together(unsigned mask, int kind, Finish finish) {
    Warp& warp = *current->warp;
    const unsigned me = 1u << current->lane;
    mask &= warp.live;
    if (!(mask & me)) fail("a lane calls a collective whose mask leaves it out");
    if (!warp.arrived) {
        warp.mask = mask;
        warp.kind = kind;
    } else if (warp.mask != mask || warp.kind != kind) {
        fail("lanes of one warp meet in different collectives");
    }
    warp.arrived |= me;
    if (warp.arrived == mask) {
        warp.arrived = 0;
        finish(warp);
        ++warp.generation;
    } else {
        wait_for_change(warp.generation);
    }
}

// The value of lane `source`; a value of no sense where that lane takes no part.
template <class T>
inline T shuffle_from(unsigned mask, T value, int source) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    Warp& warp = *current->warp;
    const int lane = current->lane;
    memcpy(&warp.in[lane], &value, sizeof(T));
    warp.source[lane] = source;
    together(mask, SHUFFLE, [](Warp& w) {
        for (int i = 0; i < WARP; i++) {
            if (!(w.mask >> i & 1)) continue;
            const int from = w.source[i];
            w.out[i] = w.mask >> from & 1 ? w.in[from] : 0xBADBADBADBADBADBull;
        }
    });
    T result;
    memcpy(&result, &warp.out[lane], sizeof(T));
    return result;
}

inline unsigned ballot(unsigned mask, bool vote) {
    Warp& warp = *current->warp;
    const int lane = current->lane;
    warp.in[lane] = vote;
    together(mask, VOTE, [](Warp& w) {
        unsigned all = 0;
        for (int i = 0; i < WARP; i++)
            if (w.mask >> i & 1) all |= static_cast<unsigned>(w.in[i]) << i;
        for (int i = 0; i < WARP; i++) w.out[i] = all;
    });
    return static_cast<unsigned>(warp.out[lane]);
}

inline int first_lane(int lane, int width) { return lane & ~(width - 1); }

}  // namespace cusim

inline void __syncwarp(unsigned mask = ~0u) {
    cusim::together(mask, cusim::SYNC, [](cusim::Warp&) {});
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = cusim::WARP) {
    const int base = cusim::first_lane(cusim::current->lane, width);
    return cusim::shuffle_from(mask, value, base | (source & (width - 1)));
}

template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = cusim::WARP) {
    const int lane = cusim::current->lane, source = lane + static_cast<int>(by);
    const bool inside = cusim::first_lane(source, width) == cusim::first_lane(lane, width);
    return cusim::shuffle_from(mask, value, inside ? source : lane);
}

template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = cusim::WARP) {
    const int lane = cusim::current->lane, source = lane - static_cast<int>(by);
    const bool inside = source >= cusim::first_lane(lane, width);
    return cusim::shuffle_from(mask, value, inside ? source : lane);
}

template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = cusim::WARP) {
    const int lane = cusim::current->lane, source = lane ^ with;
    const bool inside = source < cusim::first_lane(lane, width) + width;
    return cusim::shuffle_from(mask, value, inside ? source : lane);
}

inline unsigned __ballot_sync(unsigned mask, int vote) { return cusim::ballot(mask, vote != 0); }
inline int __any_sync(unsigned mask, int vote) { return cusim::ballot(mask, vote != 0) != 0; }
inline int __all_sync(unsigned mask, int vote) { return cusim::ballot(mask, vote == 0) == 0; }
