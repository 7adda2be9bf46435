/* Rule 4: functions of one number, correctly rounded.

   Each is computed in float64 with an error of a few units of its last place, without a branch, so that the
   compiler makes vectors of the loops; rounding that to float32 gives the correctly rounded value unless the
   float64 value lies about as close to a tie of float32. Such neighbours are noticed, and looked up among the
   hard arguments: the few for which rounding would go wrong, found by computing all 2^32
   (benchmarks/correct_rounding.py, which shows also that no other is wrong).

   At the infinities: the limit, with the sign from which it is approached (silu(-inf) = -0). */
#include <string.h>

#include "kernels.h"

#include "hard_arguments.h"

#define NOT_A_NUMBER __builtin_nan("")
#define INFINITE __builtin_inf()
#define SIGN 0x8000000000000000u

/* a * b + c. The forms with a fused operation differ in its last bit from those without; the hard arguments are
   those of both. */
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
static inline double mul_add(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
static inline double mul_add(double a, double b, double c) { return a * b + c; }
#endif

static inline uint64_t bits_of(double a) {
    union { double d; uint64_t u; } both = {a};
    return both.u;
}
static inline double of_bits(uint64_t u) {
    union { uint64_t u; double d; } both = {u};
    return both.d;
}
static inline uint32_t float_bits(float a) {
    union { float f; uint32_t u; } both = {a};
    return both.u;
}
static inline float of_float_bits(uint32_t u) {
    union { uint32_t u; float f; } both = {u};
    return both.f;
}
static inline double magnitude(double a) { return of_bits(bits_of(a) & ~SIGN); }
static inline double with_sign_of(double a, double sign) { return of_bits((bits_of(a) & ~SIGN) | (bits_of(sign) & SIGN)); }
/* Not-a-number stays what it is. */
static inline double at_most(double a, double limit) { return a > limit ? limit : a; }
static inline double at_least(double a, double limit) { return a < limit ? limit : a; }

/* The coefficients are those of near-minimax polynomials (interpolation at Chebyshev nodes), rounded. */

/* e^z = scale * (1 + part), |part| < 0.42, for |z| < 700: z = k ln 2 + r, |r| <= (ln 2) / 2. */
struct power {
    double scale, part;
};
static inline struct power power_of_e(double z) {
    /* Adding 1.5 * 2^52 rounds to an integer, and leaves it in the last bits. */
    double shifted = mul_add(z, 0x1.71547652b82fep+0, 0x1.8p52), k = shifted - 0x1.8p52;
    /* The first part of ln 2 has 40 bits: its product with k is exact. */
    double r = mul_add(k, 0x1.8432a1b0e2634p-43, mul_add(k, -0x1.62e42fefa4000p-1, z)), r2 = r * r, r3 = r2 * r;
    double low = mul_add(mul_add(r, 0x1.1111111110e65p-7, 0x1.5555555554ca7p-5), r, 0x1.5555555555555p-3);
    double middle = mul_add(mul_add(r, 0x1.a019c971b4d98p-16, 0x1.a01a01a4b9826p-13), r, 0x1.6c16c1739a511p-10);
    double high = mul_add(mul_add(r, 0x1.af23c2d42b84dp-26, 0x1.288088c0e67a5p-22), r, 0x1.71de17c442068p-19);
    double cubic = mul_add(mul_add(high, r3, middle), r3, low); /* (e^r - 1 - r - r^2 / 2) / r^3 */
    struct power power = {of_bits((bits_of(shifted) + 1023) << 52), mul_add(r2, mul_add(r, cubic, 0.5), r)};
    return power;
}
static inline double e_to(double z) {
    struct power power = power_of_e(z);
    return mul_add(power.scale, power.part, power.scale);
}
static inline double e_to_less_one(double z) {
    struct power power = power_of_e(z);
    return mul_add(power.scale, power.part, power.scale - 1);
}

/* (2 atanh(s) / s - 2) / z of z = s^2, for s up to 0.1716 and up to 1/3. */
static inline double atanh_near(double z) {
    double p = 0x1.2b5b5fb2eac92p-3;
    p = mul_add(p, z, 0x1.39fe208c33457p-3);
    p = mul_add(p, z, 0x1.7462b69705382p-3);
    p = mul_add(p, z, 0x1.c71c62debf86bp-3);
    p = mul_add(p, z, 0x1.2492492df6947p-2);
    p = mul_add(p, z, 0x1.99999999952b2p-2);
    return mul_add(p, z, 0x1.5555555555558p-1);
}
static inline double atanh_far(double z) {
    double p = 0x1.401d3e65cdc48p-3;
    p = mul_add(p, z, 0x1.32e0d25c9c761p-4);
    p = mul_add(p, z, 0x1.bc37f0140c19ep-4);
    p = mul_add(p, z, 0x1.e0a2d581ab68fp-4);
    p = mul_add(p, z, 0x1.111abdc8abe16p-3);
    p = mul_add(p, z, 0x1.3b13515f6f9efp-3);
    p = mul_add(p, z, 0x1.745d19937b1fcp-3);
    p = mul_add(p, z, 0x1.c71c71bedea97p-3);
    p = mul_add(p, z, 0x1.2492492499d46p-2);
    p = mul_add(p, z, 0x1.9999999999944p-2);
    return mul_add(p, z, 0x1.5555555555555p-1);
}
/* u = 2^k (1 + f), 1 + f between sqrt(1/2) and sqrt(2), u positive and normal; tail: log(1 + f) = f - tail. */
struct logarithm {
    double k, f, tail;
};
static inline struct logarithm logarithm_of(double u) {
    uint64_t root_half = 0x3fe6a09e667f3bcd, from_root = bits_of(u) + (0x3ff0000000000000 - root_half);
    struct logarithm log;
    log.k = of_bits((from_root >> 52) | 0x4330000000000000) - (0x1p52 + 1023);
    log.f = of_bits((from_root & 0x000fffffffffffff) + root_half) - 1;
    double half_square = 0.5 * log.f * log.f, s = log.f / (2 + log.f), z = s * s;
    log.tail = half_square - s * mul_add(z, atanh_near(z), half_square);
    return log;
}
static inline double log_of(double u) {
    struct logarithm log = logarithm_of(u);
    return mul_add(log.k, 0x1.62e42fefa4000p-1, log.f - mul_add(log.k, 0x1.8432a1b0e2634p-43, log.tail));
}
static inline double at_edges_of_log(double x, double value) {
    value = x == 0 ? -INFINITE : value;
    value = x == INFINITE ? INFINITE : value;
    return x < 0 ? NOT_A_NUMBER : value;
}

/* The upper tail of the normal distribution at t from 0 to 14.5: e^(-t^2 / 2) times a ratio of polynomials,
   relative error 2^-51.9. half_square: t^2 / 2, given apart because it has to be more exact than t. */
static inline double normal_tail(double t, double half_square) {
    double p = 0x1.6b7acfbbad8f6p-18;
    p = mul_add(p, t, 0x1.17d1d5b111329p-13);
    p = mul_add(p, t, 0x1.9ebbcb43362eep-10);
    p = mul_add(p, t, 0x1.7de549b78df0bp-7);
    p = mul_add(p, t, 0x1.db65d0de8ce8cp-5);
    p = mul_add(p, t, 0x1.99664ff648d09p-3);
    p = mul_add(p, t, 0x1.de951b30b87fap-2);
    p = mul_add(p, t, 0x1.5f6035ea8b2c2p-1);
    p = mul_add(p, t, 0x1.0000000000000p-1);
    double q = 0x1.c78de5b2c4986p-17;
    q = mul_add(q, t, 0x1.5eb3b2d55788ep-12);
    q = mul_add(q, t, 0x1.04c9146f12df1p-8);
    q = mul_add(q, t, 0x1.e41d720ac3b55p-6);
    q = mul_add(q, t, 0x1.31fa2d25df9cep-3);
    q = mul_add(q, t, 0x1.0f2b42a332828p-1);
    q = mul_add(q, t, 0x1.4f24ece59c490p+0);
    q = mul_add(q, t, 0x1.154fc5f5cd95ap+1);
    q = mul_add(q, t, 0x1.15d12fc496720p+1);
    q = mul_add(q, t, 0x1.0000000000000p+0);
    return e_to(-half_square) * p / q;
}

static inline double exp_value(double x) {
    /* e^-104 is below half of the least float32. */
    double value = e_to(at_least(at_most(x, 90), -110));
    return x < -104 ? 0 : value;
}
static inline double expm1_value(double x) { return with_sign_of(e_to_less_one(at_least(at_most(x, 90), -40)), x); }
static inline double log_value(double x) { return at_edges_of_log(x, log_of(x)); }
static inline double log2_value(double x) {
    struct logarithm log = logarithm_of(x);
    return at_edges_of_log(x, mul_add(log.f - log.tail, 0x1.71547652b82fep+0, log.k));
}
static inline double log1p_value(double x) {
    /* 1 + x is exact from 2^-20 on, as far as it matters. */
    double tiny = x - x * x * (0.5 - x * (1.0 / 3));
    double value = with_sign_of(magnitude(x) < 0x1p-20 ? tiny : log_of(1 + x), x);
    return at_edges_of_log(1 + x, value);
}
static inline double tanh_value(double x) {
    double less_one = e_to_less_one(at_most(2 * magnitude(x), 40));
    return with_sign_of(less_one / (less_one + 2), x);
}
static inline double erf_value(double x) {
    double a = at_most(magnitude(x), 4), z = a * a;
    double p = 0x1.05ffd737fb32ep-34;
    p = mul_add(p, z, -0x1.389d4f2641625p-30);
    p = mul_add(p, z, 0x1.f7b4bf3b13964p-27);
    p = mul_add(p, z, -0x1.5f1ecb6f0764cp-23);
    p = mul_add(p, z, 0x1.b9df224ca4b97p-20);
    p = mul_add(p, z, -0x1.f4d1e3183f7aep-17);
    p = mul_add(p, z, 0x1.f9a321d5b8e1ep-14);
    p = mul_add(p, z, -0x1.c02db3dac435fp-11);
    p = mul_add(p, z, 0x1.565bcd0dbaa38p-8);
    p = mul_add(p, z, -0x1.b82ce31284e00p-6);
    p = mul_add(p, z, 0x1.ce2f21a042b30p-4);
    p = mul_add(p, z, -0x1.812746b0379e6p-2);
    p = mul_add(p, z, 0x1.20dd750429b6dp+0);
    double far = 1 - 2 * normal_tail(a * 0x1.6a09e667f3bcdp+0, z);
    return with_sign_of(a < 1 ? a * p : far, x);
}
static inline double sigmoid_value(double x) {
    double value = 1 / (1 + e_to(at_least(at_most(-x, 110), -60)));
    /* 1/2 + x/4 can be a tie exactly; the next term, -x^3 / 48, decides, and is too small to be seen.
       2^-27 is less than the distance of x to another float32, so that it changes nothing else. */
    return magnitude(x) < 0x1p-12 ? 0.5 + x * (0.25 - 0x1p-29) : value;
}
/* silu and the gelus are x/2 + c x^2, c > 0, near 0. Where x/2 is subnormal it can be a tie exactly: one unit
   upwards decides. */
static inline double above_half(double x, double value) {
    double tiny = x * (x > 0 ? 0.5 + 0x1p-53 : 0.5 - 0x1p-54);
    return magnitude(x) < 0x1p-60 ? tiny : value;
}
static inline double silu_value(double x) {
    double value = x / (1 + e_to(at_least(at_most(-x, 130), -60)));
    return x < -130 ? -0.0 : above_half(x, value);
}
static inline double gelu_tanh_value(double x) {
    /* tanh(u) = 2 sigmoid(2 u) - 1; here 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
    double twice = x * mul_add(x * x, 0x1.2444f2a4d8b4bp-4, 0x1.9884533d43651p+0);
    double value = x / (1 + e_to(at_least(at_most(-twice, 180), -60)));
    return x < -13 ? -0.0 : above_half(x, value);
}
static inline double gelu_value(double x) {
    double t = at_most(magnitude(x), 14.5), tail = normal_tail(t, 0.5 * t * t);
    double value = x * (x < 0 ? tail : 1 - tail);
    return x < -14.5 ? -0.0 : above_half(x, value);
}
/* log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|; log(1 + e) = 2 atanh(e / (2 + e)). */
static inline double softplus_value(double x) {
    double e = e_to(at_least(-magnitude(x), -110)), s = e / (2 + e), z = s * s;
    double rest = mul_add(s * z, atanh_far(z), 2 * s);
    return (x > 0 ? x : 0) + rest;
}
static inline double log_sigmoid_value(double x) { return -softplus_value(-x); }
static inline double rsqrt_value(double x) {
    double value = 1 / __builtin_elementwise_sqrt(x);
    return x < 0 ? NOT_A_NUMBER : value;
}

/* |x| = (quadrant + 4 n) pi / 2 + r, |r| <= pi / 4. */
struct angle {
    double r;
    uint64_t quadrant;
};
enum { FAR_ANGLE = 0x49800000 }; /* 2^20 as float32 */
static inline struct angle near_angle(double x) {
    double a = magnitude(x), shifted = mul_add(a, 0x1.45f306dc9c883p-1, 0x1.8p52), k = shifted - 0x1.8p52;
    /* pi / 2 in parts of 32 bits; k has 20. */
    double r = mul_add(k, -0x1.921fb54400000p+0, a);
    r = mul_add(k, -0x1.3198a2e037073p-69, mul_add(k, -0x1.0b4611a600000p-34, r));
    struct angle angle = {r, bits_of(shifted)};
    return angle;
}
/* From 2^20 on: |x| = m 2^e times those 128 bits of 2 / pi that matter modulo 4. */
static struct angle far_angle(float x) {
    static const uint32_t two_over_pi[] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                           0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561};
    uint32_t bits = float_bits(x) & 0x7fffffff, m = (bits & 0x7fffff) | 0x800000, from = (bits >> 23) - 150 - 2 + 32;
    const uint32_t *word = two_over_pi + from / 32;
    unsigned __int128 window = 0;
    for (int i = 0; i < 4; i++) window = window << 32 | word[i];
    if (from % 32) window = window << from % 32 | word[4] >> (32 - from % 32);
    unsigned __int128 product = window * m, fraction = product << 2;
    struct angle angle = {0, (uint64_t)(product >> 126) + (uint64_t)(fraction >> 127)};
    int negative = (int)(fraction >> 127), shift = 0;
    if (negative) fraction = -fraction;
    while (!(fraction >> 127) && shift < 100) fraction <<= 1, shift++;
    angle.r = (double)(uint64_t)(fraction >> 64) * of_bits((uint64_t)(1023 - 64 - shift) << 52) * 0x1.921fb54442d18p+0;
    if (negative) angle.r = -angle.r;
    return angle;
}
static inline double sine(struct angle angle) {
    double r = angle.r, z = r * r;
    double p = 0x1.5e0af186af739p-33;
    p = mul_add(p, z, -0x1.ae600a926c89ap-26);
    p = mul_add(p, z, 0x1.71de37961e4c6p-19);
    p = mul_add(p, z, -0x1.a01a019e8357dp-13);
    p = mul_add(p, z, 0x1.1111111110bb1p-7);
    p = mul_add(p, z, -0x1.5555555555555p-3);
    double sin = mul_add(r * z, p, r);
    p = -0x1.907d7aebd5e3dp-37;
    p = mul_add(p, z, 0x1.1eeb68b109173p-29);
    p = mul_add(p, z, -0x1.27e4fa17a41b4p-22);
    p = mul_add(p, z, 0x1.a01a019f4e867p-16);
    p = mul_add(p, z, -0x1.6c16c16c16966p-10);
    p = mul_add(p, z, 0x1.5555555555555p-5);
    double cos = mul_add(z * z, p, 1 - 0.5 * z);
    return of_bits(bits_of(angle.quadrant & 1 ? cos : sin) ^ (angle.quadrant & 2) << 62);
}
static inline double sin_of(struct angle angle, double x) { return of_bits(bits_of(sine(angle)) ^ (bits_of(x) & SIGN)); }
static inline double cos_of(struct angle angle) {
    angle.quadrant++;
    return sine(angle);
}
static inline double sin_value(double x) { return sin_of(near_angle(x), x); }
static inline double cos_value(double x) { return cos_of(near_angle(x)); }

/* A value of float64 within 2^7 of its units of a tie of float32: the first bit is set. */
static inline uint64_t near_tie(double value) {
    return ((bits_of(value) + 0x10000000 + 0x80) & 0x1fffffff) - 0x100;
}
static inline float rounded(float x, double value) { return x == x ? (float)value : __builtin_nanf(""); }

/* A call goes by blocks: short enough that a vector of them costs little where there are fewer, and copied, so that
   y may be x. */
enum { BLOCK = 32 };

static void look_up(const struct hard_argument *hard, const float *x, float *y) {
    for (; hard->argument; hard++)
        for (int i = 0; i < BLOCK; i++)
            if (float_bits(x[i]) == hard->argument) y[i] = of_float_bits(hard->value);
}
/* `more` is what else to do where some value is near a tie or `else_near` has its first bit set. */
#define BLOCK_OF(name, else_near, more)                                                              \
    static __attribute__((noinline)) void name##_block(const float *restrict x, float *restrict y) { \
        uint64_t near = 0;                                                                           \
        _Pragma("clang loop vectorize_width(8) interleave_count(1)")                                 \
        for (int i = 0; i < BLOCK; i++) {                                                            \
            double value = name##_value((double)x[i]);                                               \
            y[i] = rounded(x[i], value);                                                             \
            near |= near_tie(value) | else_near(x[i]);                                               \
        }                                                                                            \
        if (near >> 63) {                                                                            \
            more(x, y);                                                                              \
            look_up(name##_hard, x, y);                                                              \
        }                                                                                            \
    }

static inline uint64_t never(float x) {
    (void)x;
    return 0;
}
static inline void nothing(const float *x, float *y) { (void)x, (void)y; }
static inline uint64_t far(float x) { return (uint64_t)FAR_ANGLE - 1 - (float_bits(x) & 0x7fffffff); }
static void far_sin(const float *x, float *y) {
    for (int i = 0; i < BLOCK; i++)
        if (far(x[i]) >> 63) y[i] = x[i] - x[i] == 0 ? (float)sin_of(far_angle(x[i]), x[i]) : __builtin_nanf("");
}
static void far_cos(const float *x, float *y) {
    for (int i = 0; i < BLOCK; i++)
        if (far(x[i]) >> 63) y[i] = x[i] - x[i] == 0 ? (float)cos_of(far_angle(x[i])) : __builtin_nanf("");
}

BLOCK_OF(exp, never, nothing)
BLOCK_OF(expm1, never, nothing)
BLOCK_OF(log, never, nothing)
BLOCK_OF(log1p, never, nothing)
BLOCK_OF(log2, never, nothing)
BLOCK_OF(tanh, never, nothing)
BLOCK_OF(erf, never, nothing)
BLOCK_OF(sin, far, far_sin)
BLOCK_OF(cos, far, far_cos)
BLOCK_OF(sigmoid, never, nothing)
BLOCK_OF(log_sigmoid, never, nothing)
BLOCK_OF(silu, never, nothing)
BLOCK_OF(softplus, never, nothing)
BLOCK_OF(gelu, never, nothing)
BLOCK_OF(gelu_tanh, never, nothing)
BLOCK_OF(rsqrt, never, nothing)

/* The next block of x: a copy, so that y may be x. */
static inline void take(float *in, const float *x, int64_t left) {
    if (left >= BLOCK)
        memcpy(in, x, sizeof(float) * BLOCK); /* a few instructions */
    else
        memset(in, 0, sizeof(float) * BLOCK), memcpy(in, x, sizeof(float) * (size_t)left);
}

#define ALL_OF(name)                                                 \
    void FORM(name)(const float *x, float *y, int64_t n) {           \
        float in[BLOCK], out[BLOCK];                                 \
        int64_t start = 0;                                           \
        for (; start + BLOCK <= n; start += BLOCK) {                 \
            take(in, x + start, BLOCK);                              \
            name##_block(in, y + start);                             \
        }                                                            \
        if (start == n) return;                                      \
        take(in, x + start, n - start);                              \
        name##_block(in, out);                                       \
        memcpy(y + start, out, sizeof(float) * (size_t)(n - start)); \
    }
GOT_FUNCTIONS(ALL_OF)
