/* Rules 3, 6 and 8: sums along rows, softmax, norms. Sixteen lanes whatever the width of the vectors: the compiler
   splits them. No operation is fused here. */
#include <string.h>

#include "kernels.h"

enum { SUM_LANES = 16 };
typedef float floats __attribute__((vector_size(SUM_LANES * 4)));
typedef double doubles __attribute__((vector_size(SUM_LANES * 8)));
typedef int32_t ints __attribute__((vector_size(SUM_LANES * 4)));
typedef floats loose_floats __attribute__((aligned(4)));

/* Vectors go by address: how they are passed as values depends on the form. */
static inline void load(const float *x, int64_t left, floats *to) {
    if (left >= SUM_LANES) {
        *to = *(const loose_floats *)x;
    } else {
        *to = (floats){0};
        memcpy(to, x, sizeof(float) * (size_t)left);
    }
}
static inline void widen(const float *x, int64_t left, doubles *to) {
    floats narrow;
    load(x, left, &narrow);
    *to = __builtin_convertvector(narrow, doubles);
}
/* Every not-a-number is the same one: its sign and payload differ between processors. */
static inline void store(const floats *from, int64_t left, float *y) {
    ints number = *from == *from;
    floats one_nan = (floats)(((ints)*from & number) | (0x7fc00000 & ~number));
    if (left >= SUM_LANES)
        *(loose_floats *)y = one_nan;
    else
        memcpy(y, &one_nan, sizeof(float) * (size_t)left);
}
static inline void round_and_store(const doubles *from, int64_t left, float *y) {
    floats narrow = __builtin_convertvector(*from, floats);
    store(&narrow, left, y);
}
static inline void store_one(float value, float *y) { *y = value == value ? value : __builtin_nanf(""); }

static inline double folded(const doubles *lanes) {
    double lane[SUM_LANES];
    memcpy(lane, lanes, sizeof lane);
    for (int half = SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}
/* The zeros after the end of a row change no lane: none is ever -0. */
static inline double sum_of(const float *x, int64_t n) {
    doubles lanes = {0}, next;
    for (int64_t i = 0; i < n; i += SUM_LANES) {
        widen(x + i, n - i, &next);
        lanes += next;
    }
    return folded(&lanes);
}
static inline double squares_of(const float *x, int64_t n) {
    doubles lanes = {0}, next;
    for (int64_t i = 0; i < n; i += SUM_LANES) {
        widen(x + i, n - i, &next);
        lanes += next * next;
    }
    return folded(&lanes);
}
static inline double squares_around(const float *x, int64_t n, double mean) {
    doubles lanes = {0}, next;
    for (int64_t i = 0; i < n; i += SUM_LANES) {
        widen(x + i, n - i, &next);
        next -= mean;
        for (int64_t l = n - i; l < SUM_LANES; l++) next[l] = 0;
        lanes += next * next;
    }
    return folded(&lanes);
}

void FORM(sum)(const float *x, int64_t ldx, int64_t m, int64_t n, int mean, float *y) {
    for (int64_t i = 0; i < m; i++) {
        double sum = sum_of(x + i * ldx, n);
        store_one((float)(mean ? sum / (double)n : sum), y + i);
    }
}
void FORM(sum_of_squares)(const float *x, int64_t ldx, int64_t m, int64_t n, int mean, float *y) {
    for (int64_t i = 0; i < m; i++) {
        double sum = squares_of(x + i * ldx, n);
        store_one((float)(mean ? sum / (double)n : sum), y + i);
    }
}

/* Not-a-numbers are passed over: they come out by themselves. */
static inline float greatest(const float *x, int64_t n) {
    floats lanes, next;
    for (int l = 0; l < SUM_LANES; l++) lanes[l] = -__builtin_inff();
    int64_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES) {
        load(x + i, SUM_LANES, &next);
        ints more = next > lanes;
        lanes = (floats)(((ints)next & more) | ((ints)lanes & ~more));
    }
    float most = -__builtin_inff();
    for (; i < n; i++) most = x[i] > most ? x[i] : most;
    for (int l = 0; l < SUM_LANES; l++) most = lanes[l] > most ? lanes[l] : most;
    return most;
}
static inline int all_masked(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] != -__builtin_inff()) return 0;
    return 1;
}

void FORM(softmax)(const float *x, int64_t ldx, int64_t m, int64_t n, float *y, int64_t ldy) {
    floats narrow;
    doubles next;
    for (int64_t row = 0; row < m; row++, x += ldx, y += ldy) {
        float most = greatest(x, n);
        if (most == -__builtin_inff() && all_masked(x, n)) {
            memset(y, 0, sizeof(float) * (size_t)n);
            continue;
        }
        for (int64_t i = 0; i < n; i += SUM_LANES) {
            load(x + i, n - i, &narrow);
            narrow -= most;
            store(&narrow, n - i, y + i);
        }
        FORM(exp)(y, y, n);
        double sum = sum_of(y, n);
        for (int64_t i = 0; i < n; i += SUM_LANES) {
            widen(y + i, n - i, &next);
            next /= sum;
            round_and_store(&next, n - i, y + i);
        }
    }
}

/* y = (x - mean) * scale, then times weight, then plus bias, each operation in float64. */
static inline void scaled(const float *x, int64_t n, double mean, double scale, const float *weight, const float *bias,
                          float *y) {
    doubles next, other;
    for (int64_t i = 0; i < n; i += SUM_LANES) {
        widen(x + i, n - i, &next);
        next = (next - mean) * scale;
        if (weight) {
            widen(weight + i, n - i, &other);
            next *= other;
        }
        if (bias) {
            widen(bias + i, n - i, &other);
            next += other;
        }
        round_and_store(&next, n - i, y + i);
    }
}

void FORM(layer_norm)(const float *x, int64_t m, int64_t n, const float *weight, const float *bias, double eps, float *y) {
    for (int64_t row = 0; row < m; row++, x += n, y += n) {
        double mean = sum_of(x, n) / (double)n, variance = squares_around(x, n, mean) / (double)n;
        scaled(x, n, mean, 1 / __builtin_elementwise_sqrt(variance + eps), weight, bias, y);
    }
}
void FORM(rms_norm)(const float *x, int64_t m, int64_t n, const float *weight, double eps, float *y) {
    for (int64_t row = 0; row < m; row++, x += n, y += n)
        scaled(x, n, 0, 1 / __builtin_elementwise_sqrt(squares_of(x, n) / (double)n + eps), weight, 0, y);
}
