/* Every float32 argument of a function of rule 4, against the C library's float64 function: part of
   correct_rounding.py, which compiles it and settles what it leaves open.

   The reference has a relative error below 2^-40 (thousands of float64's units, for functions that the C library gives
   within a few). Where all of that interval rounds to one float32, this is the right value. Where a boundary between
   two of them lies inside, the argument is written to standard output for the exact arithmetic: about one in 2^15.
   The forms have to agree in every bit, too.

   usage: correct_rounding function stride offset; writes (argument, value) pairs of uint32, and on standard error
   how many were compared and how many were wrong. Exit status 1 if any was. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 1 << 14 };

#define FUNCTIONS(_) \
    _(exp) _(expm1) _(log) _(log1p) _(log2) _(tanh) _(erf) _(sin) _(cos) _(sigmoid) _(log_sigmoid) _(silu) _(softplus) _(gelu) _(gelu_tanh) _(rsqrt)

/* x -> x/2 + c x^2, c > 0, near 0: there the interval is the open one above x/2. */
static int above_half(double x) { return x != 0 && fabs(x) < 0x1p-41; }

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double log_sigmoid(double x) { return -softplus(-x); }
static double silu(double x) { return x < -700 ? -0.0 : x / (1 + exp(-x)); }
static double gelu(double x) { return x < -50 ? -0.0 : x * (0.5 * erfc(x * -0.70710678118654752440)); }
static double gelu_tanh(double x) {
    double twice = 2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x);
    return twice < -700 ? -0.0 : x / (1 + exp(-twice));
}
static double rsqrt(double x) { return 1 / sqrt(x); }

typedef void kernel(const float *, float *, int64_t);
#define DECLARE(name) kernel portable_##name, FUSED(name);
FUNCTIONS(DECLARE)
#define ENTRY(name) {#name, name, {portable_##name, FUSED(name)}},
static const struct {
    const char *name;
    double (*reference)(double);
    kernel *forms[2];
} TABLE[] = {FUNCTIONS(ENTRY)};

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

int main(int count, char **words) {
    if (count != 4) return 2;
    uint64_t stride = strtoull(words[2], 0, 10), next = strtoull(words[3], 0, 10), compared = 0, wrong = 0;
    size_t which = 0;
    while (which < sizeof TABLE / sizeof *TABLE && strcmp(TABLE[which].name, words[1])) which++;
    if (which == sizeof TABLE / sizeof *TABLE || !stride) return 2;
    int half = !strcmp(words[1], "silu") || !strncmp(words[1], "gelu", 4);
    static float x[BATCH], y[2][BATCH];
    while (next < UINT64_C(1) << 32) {
        int n = 0;
        for (; n < BATCH && next < UINT64_C(1) << 32; n++, next += stride) {
            uint32_t argument = (uint32_t)next;
            memcpy(x + n, &argument, 4);
        }
        for (int form = 0; form < 2; form++) TABLE[which].forms[form](x, y[form], n);
        for (int i = 0; i < n; i++) {
            double value = TABLE[which].reference((double)x[i]), error = fabs(value) * 0x1p-40;
            float low = (float)(value - error), high = (float)(value + error);
            if (half && above_half((double)x[i])) {
                low = (float)nextafter(0.5 * x[i], INFINITY);
                high = (float)(0.5 * x[i] + 0x1p-42 * fabs((double)x[i]));
            }
            if (value == 0 || isinf(value)) low = high = (float)value;
            uint32_t expected = isnan(value) ? 0x7fc00000 : bits(low);
            int decided = isnan(value) || bits(low) == bits(high);
            for (int form = 0; form < 2; form++) {
                uint32_t result = bits(y[form][i]), pair[] = {bits(x[i]), result};
                if (!decided && (form == 0 || result != bits(y[0][i])))
                    fwrite(pair, 4, 2, stdout);
                else if (decided && result != expected && wrong++ < 100)
                    fprintf(stderr, "%08x: %08x, not %08x\n", bits(x[i]), result, expected);
            }
        }
        compared += (uint64_t)n;
    }
    fprintf(stderr, "%s: %" PRIu64 " compared, %" PRIu64 " wrong\n", words[1], compared, wrong);
    return wrong != 0;
}
