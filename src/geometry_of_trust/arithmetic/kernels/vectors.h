/* Vectors of LANES numbers, one source for all forms. Lanes hold different outputs, so LANES changes no bit. */
#ifndef GOT_VECTORS_H
#define GOT_VECTORS_H
#include <string.h>

#include "forms.h"

#define INLINE static inline __attribute__((always_inline))

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));

INLINE vec splat(float number) {
    vec all;
    for (int i = 0; i < LANES; i++) all[i] = number;
    return all;
}

INLINE vec load(const float *at) { return *(const loose_vec *)at; }
INLINE void store(float *at, vec numbers) { *(loose_vec *)at = numbers; }

/* fma1 in every lane. */
INLINE vec fma_lanes(vec a, vec b, vec c) {
#if FUSED
    return __builtin_elementwise_fma(a, b, c);
#else
    typedef double doubles __attribute__((vector_size(LANES * 8)));
    typedef int64_t words __attribute__((vector_size(LANES * 8)));
    doubles product = __builtin_convertvector(a, doubles) * __builtin_convertvector(b, doubles);
    doubles addend = __builtin_convertvector(c, doubles), sum = product + addend;
    doubles back = sum - product, error = (product - (sum - back)) + (addend - back);
    words inexact = (error < 0) | (error > 0), inward = (error < 0) ^ (sum < 0); /* -1 where it is so */
    words odd = ((words)sum + (inexact & inward)) | (inexact & 1);
    return __builtin_convertvector((doubles)odd, vec);
#endif
}

/* The lanes of yes where mask is all ones, of no where it is 0. */
INLINE uvec where(ivec mask, uvec yes, uvec no) { return ((uvec)mask & yes) | (~(uvec)mask & no); }

/* float16, in the low half of each lane, to float32. */
INLINE vec widen_half(uvec half) {
#if defined(__F16C__) || defined(__aarch64__) /* an instruction */
    typedef uint16_t words __attribute__((vector_size(LANES * 2)));
    typedef _Float16 halves __attribute__((vector_size(LANES * 2)));
    return __builtin_convertvector((halves)__builtin_convertvector(half, words), vec);
#else
    uvec size = half & 0x7fff, exponent = half & 0x7c00, rebiased = (size << 13) + (112u << 23);
    uvec subnormal = (uvec)(__builtin_convertvector((ivec)size, vec) * 0x1p-24f);
    uvec wide = where(exponent == 0, subnormal, rebiased);
    wide = where(exponent == 0x7c00, rebiased + (112u << 23), wide);
    return (vec)(wide | ((half & 0x8000) << 16));
#endif
}

/* In each quarter (four lanes), lanes a, b, c, d of that quarter of x (0 .. 3) and y (4 .. 7). */
#define GOT_LANE(i, quarter) (((i) >> 2) * LANES + ((i) & 3) + 4 * (quarter))
#define GOT_QUARTER(q, a, b, c, d) GOT_LANE(a, q), GOT_LANE(b, q), GOT_LANE(c, q), GOT_LANE(d, q)
#if LANES == 16
#define MIX(x, y, ...)                                                                                       \
    __builtin_shufflevector(x, y, GOT_QUARTER(0, __VA_ARGS__), GOT_QUARTER(1, __VA_ARGS__),                  \
                            GOT_QUARTER(2, __VA_ARGS__), GOT_QUARTER(3, __VA_ARGS__))
#elif LANES == 8
#define MIX(x, y, ...) __builtin_shufflevector(x, y, GOT_QUARTER(0, __VA_ARGS__), GOT_QUARTER(1, __VA_ARGS__))
#else
#define MIX(x, y, ...) __builtin_shufflevector(x, y, GOT_QUARTER(0, __VA_ARGS__))
#endif

typedef uint32_t quarter __attribute__((vector_size(16)));
typedef uint32_t loose_quarter __attribute__((vector_size(16), aligned(1), may_alias));

INLINE quarter load_quarter(const unsigned char *at) { return *(const loose_quarter *)at; }

/* 16 bytes of each of the rows 0, 4, 8, ... (LANES / 4 of them), one a quarter. */
INLINE uvec load_quarters(const unsigned char *at, int64_t stride) {
#if LANES == 4
    (void)stride;
    return load_quarter(at);
#else
    typedef uint32_t half __attribute__((vector_size(32)));
    half low = __builtin_shufflevector(load_quarter(at), load_quarter(at + 4 * stride), 0, 1, 2, 3, 4, 5, 6, 7);
#if LANES == 8
    return low;
#else
    half high = __builtin_shufflevector(load_quarter(at + 8 * stride), load_quarter(at + 12 * stride), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#endif
}

/* 16 bytes of each of LANES rows, transposed: lane j of units[u] is the u-th 4 bytes of row j. */
INLINE void transpose(const unsigned char *at, int64_t stride, uvec units[4]) {
    uvec r0 = load_quarters(at, stride), r1 = load_quarters(at + stride, stride);
    uvec r2 = load_quarters(at + 2 * stride, stride), r3 = load_quarters(at + 3 * stride, stride);
    uvec low01 = MIX(r0, r1, 0, 4, 1, 5), high01 = MIX(r0, r1, 2, 6, 3, 7);
    uvec low23 = MIX(r2, r3, 0, 4, 1, 5), high23 = MIX(r2, r3, 2, 6, 3, 7);
    units[0] = MIX(low01, low23, 0, 1, 4, 5);
    units[1] = MIX(low01, low23, 2, 3, 6, 7);
    units[2] = MIX(high01, high23, 0, 1, 4, 5);
    units[3] = MIX(high01, high23, 2, 3, 6, 7);
}
#endif
