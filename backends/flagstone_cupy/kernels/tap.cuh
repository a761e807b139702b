// What one index (tap, c) of a product's sum adds to a row's place in x, kept in shared memory by kernels
// that go through all taps for each row.
#ifndef FLAGSTONE_TAP_CUH
#define FLAGSTONE_TAP_CUH

#include "window.cuh"

struct Tap {
    int at[3];   // along each axis
    int source;  // to the offset in x
};

#endif
