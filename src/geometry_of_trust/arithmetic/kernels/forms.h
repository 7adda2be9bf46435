/* What the forms differ in. A source file is compiled once a form, with GOT_FORM naming it and the
   compiler told of the instructions that it may use. */
#ifndef GOT_FORMS_H
#define GOT_FORMS_H
#include <stdint.h>
#define GOT_JOIN_(form, name) form##_##name
#define GOT_JOIN(form, name) GOT_JOIN_(form, name)
#define FORM(name) GOT_JOIN(GOT_FORM, name)

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose_vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* Whether the processor of this form has RN32(a * b + c), one rounding, as an instruction. */
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
#define FUSED 1
#else
#define FUSED 0
#endif

/* RN32(a * b + c). Without the instruction: a * b is exact in float64; its sum with c is rounded to odd there, so that
   the rounding to float32 is the only one that counts. */
static inline float fma1(float a, float b, float c) {
#if FUSED
    return __builtin_fmaf(a, b, c);
#else
    double product = (double)a * (double)b, addend = (double)c, sum = product + addend;
    double back = sum - product, error = (product - (sum - back)) + (addend - back);
    union {
        double d;
        uint64_t u;
    } bits = {sum};
    /* Of the two numbers around an inexact sum, the odd one: towards zero by a step if the error is, then the last bit. */
    if (error < 0 || error > 0) bits.u = (bits.u - ((error < 0) != (sum < 0))) | 1;
    return (float)bits.d;
#endif
}
#endif
