/* The arithmetic "fixed-order-float32-1": the contract of every kernel. docs/arithmetic.md has the rules.

   Each function exists once a form, with the form's name in front: portable_product, avx2_product,
   avx512_product, neon_product. All forms of a function give the same bits. They are pure functions of
   what they are given: no state, no threads, no allocation, no errors; sizes are not negative, pointers
   are to what the comment says, and outputs overlap with no input unless it says so. Strides count
   elements. A caller that wants threads calls for disjoint ranges.

   This file is included with FORM defined (see forms.h). */
#ifndef GOT_KERNELS_H
#define GOT_KERNELS_H
#include <stddef.h>
#include <stdint.h>

#include "forms.h"

/* What is declared here is all that the library shows. */
#pragma GCC visibility push(default)

/* Names of the forms that this processor can run, the fastest first, with a space between. */
const char *kernel_forms(void);

/* Types of weights; each is widened to float32, exactly, while it is packed. An int8 weight is
   RN32(integer * scale of its row). */
enum weight_type { WEIGHT_FLOAT32 = 0, WEIGHT_BFLOAT16 = 1, WEIGHT_FLOAT16 = 2, WEIGHT_INT8 = 3 };

/* Rule 2. y[i][j] = sum over k of a[i][k] * w[j][k], plus bias[j] if there is one (one rounding), for
   rows i = 0 .. m-1 and outputs j = j0 .. j1-1; others are not touched.
   a: m rows of kk numbers, row stride lda, neighbours in a row are neighbours in memory.
   w: element (j, k) at w[j * ldj + k * ldk], of `type`; scale: of each j, for int8, else null.
   bias: of each j, or null. y: row stride ldy.
   scratch: product_scratch(m, kk) bytes, aligned to 64; enough for fewer rows and a smaller kk, too. */
void FORM(product)(const float *a, int64_t lda, int64_t m, int64_t kk, const void *w, int type, int64_t ldj,
                   int64_t ldk, const float *scale, const float *bias, float *y, int64_t ldy, int64_t j0,
                   int64_t j1, void *scratch);
int64_t FORM(product_scratch)(int64_t m, int64_t kk);

/* Rule 7, for heads h = h0 .. h1-1 of `batch * heads` (text-major: h = text * heads + head).
   query: (batch, heads, rows, d), key: (batch, heads / group, keys, d), value: (batch, heads / group,
   keys, e), out: (batch, heads, rows, e); each with strides of text, head and row; a row's numbers are neighbours.
   Scores by rule 2, times scale (one rounding), plus the mask (one rounding); softmax by rule 6;
   product with the values by rule 2. A query that attends to nothing (all its scores are -inf) gives +0.
   A key that a query does not attend to contributes nothing if its value is finite; one that is not may make NaN of the
   row, the same in every form.
   mask_kind: 0 none, 1 causal (query i sees keys 0 .. i), 2 bytes (1: attend, 0: not; as -inf),
   3 floats to add. mask strides: text, head, row, key (0 where it is the same for all).
   scratch: attention_scratch(rows, keys, d, e) bytes, aligned to 64. */
struct attention {
    const float *query, *key, *value;
    const void *mask;
    float *out;
    int64_t heads, group, rows, keys, d, e;
    int64_t query_strides[3], key_strides[3], value_strides[3], out_strides[3], mask_strides[4];
    int mask_kind;
    float scale;
};
void FORM(attention)(const struct attention *of, int64_t h0, int64_t h1, void *scratch);
int64_t FORM(attention_scratch)(int64_t rows, int64_t keys, int64_t d, int64_t e);

/* Rule 9. A causal or other convolution along the last axis, after padding: out[c][t] = one chain from +0, without blocks: for taps p = 0 .. taps-1,
   within each for the input channels of c's group, both ascending, of x[channel][t * stride + p * dilation] * w[c][channel][p];
   then +0 (-0 becomes +0), then bias[c] (one rounding), or null.
   x: (in channels, length) contiguous, length > dilation * (taps - 1); w: (out channels, in channels / groups, taps) contiguous,
   y: (out channels, (length - dilation * (taps - 1) - 1) / stride + 1). Out channels c0 .. c1-1. */
void FORM(convolution)(const float *x, int64_t in_channels, int64_t length, const float *w, const float *bias,
                       int64_t out_channels, int64_t groups, int64_t taps, int64_t stride, int64_t dilation,
                       float *y, int64_t c0, int64_t c1);

/* Rule 3. y[i] = the sum (or, if `mean`, the mean) of x[i][0 .. n-1]; rows i = 0 .. m-1, row stride ldx. */
void FORM(sum)(const float *x, int64_t ldx, int64_t m, int64_t n, int mean, float *y);
/* Rule 3 of the squares: exact in float64. */
void FORM(sum_of_squares)(const float *x, int64_t ldx, int64_t m, int64_t n, int mean, float *y);

/* Rule 6, of rows of n, row stride ldx and ldy; y may be x. A row of nothing but -inf gives +0. */
void FORM(softmax)(const float *x, int64_t ldx, int64_t m, int64_t n, float *y, int64_t ldy);

/* Rule 8, in float64, one rounding at the end; weight and bias may be null. y may be x. Layer norm (torch's
   native_layer_norm): mean = sum / n, d_i = x_i - mean, variance = (sum of d_i * d_i) / n, sums by rule 3 and not
   rounded to float32; r = 1 / sqrt(variance + eps); d_i * r, then times the weight, then plus the bias. */
void FORM(layer_norm)(const float *x, int64_t m, int64_t n, const float *weight, const float *bias, double eps, float *y);
/* torch's fused rms_norm, likewise: r = 1 / sqrt((sum of squares) / n + eps); x_i * r, then times the weight. */
void FORM(rms_norm)(const float *x, int64_t m, int64_t n, const float *weight, double eps, float *y);
/* Rule 4: y[i] = the correctly rounded value of the function of x[i]; y may be x. At the infinities the limit, with the sign
   from which it is approached: silu(-inf) = -0. Every NaN that these and the functions of rows give is 0x7fc00000. */
#define GOT_FUNCTIONS(_) \
    _(exp) _(expm1) _(log) _(log1p) _(log2) _(tanh) _(erf) _(sin) _(cos) _(sigmoid) _(log_sigmoid) _(silu) _(softplus) _(gelu) _(gelu_tanh) _(rsqrt)
#define GOT_DECLARE(name) void FORM(name)(const float *x, float *y, int64_t n);
GOT_FUNCTIONS(GOT_DECLARE)
#undef GOT_DECLARE

#pragma GCC visibility pop
#endif
