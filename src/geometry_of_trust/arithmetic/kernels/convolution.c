/* Convolution (rule 9): lanes are neighbours in time, each one chain. */
#include "kernels.h"
#include "vectors.h"

enum { CHAINS = 4 }; /* vectors at once: one alone would wait for each addition */

/* The first `count` of LANES numbers that lie `stride` apart; the others 0. */
INLINE vec gather(const float *x, int64_t stride, int64_t count) {
    if (stride == 1 && count >= LANES) return load(x);
    float numbers[LANES] = {0};
    for (int64_t lane = 0; lane < least(LANES, count); lane++) numbers[lane] = x[lane * stride];
    return load(numbers);
}

/* chains * LANES outputs from time t on, or as many as are left; x and w: of the group and the output channel. */
INLINE void convolve(const int chains, const float *x, int64_t inputs, int64_t length, const float *w, const float *bias,
                     int64_t taps, int64_t stride, int64_t dilation, float *y, int64_t left) {
    vec sums[CHAINS] = {0};
    for (int64_t p = 0; p < taps; p++)
        for (int64_t channel = 0; channel < inputs; channel++) {
            const float *at = x + channel * length + p * dilation;
            const vec weight = splat(w[channel * taps + p]);
            for (int n = 0; n < chains; n++)
                sums[n] = fma_lanes(gather(at + n * LANES * stride, stride, left - n * LANES), weight, sums[n]);
        }
    for (int n = 0; n < chains; n++) {
        vec sum = sums[n] + splat(0); /* -0 becomes +0 */
        if (bias) sum += splat(*bias);
        memcpy(y + n * LANES, &sum, (size_t)least(LANES, left - n * LANES) * 4);
    }
}

void FORM(convolution)(const float *x, int64_t in_channels, int64_t length, const float *w, const float *bias,
                       int64_t out_channels, int64_t groups, int64_t taps, int64_t stride, int64_t dilation,
                       float *y, int64_t c0, int64_t c1) {
    const int64_t outputs = (length - dilation * (taps - 1) - 1) / stride + 1, inputs = in_channels / groups;
    for (int64_t c = c0; c < c1; c++) {
        const float *from = x + c / (out_channels / groups) * inputs * length, *of = w + c * inputs * taps;
        const float *plus = bias ? bias + c : 0;
        int64_t t = 0;
        for (; t + CHAINS * LANES <= outputs; t += CHAINS * LANES)
            convolve(CHAINS, from + t * stride, inputs, length, of, plus, taps, stride, dilation, y + c * outputs + t, outputs - t);
        for (; t < outputs; t += LANES)
            convolve(1, from + t * stride, inputs, length, of, plus, taps, stride, dilation, y + c * outputs + t, outputs - t);
    }
}
