/* Which forms this processor can run. Compiled once, for any processor. */
#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* The bits of CPUID and XCR0, by Intel's manual (volume 2A, CPUID; volume 1, 13.3), that -mcpu=x86_64_v3
   and x86_64_v4 take for granted: a form may use any of them. */
enum {
    LEAF1_ECX = bit_SSE3 | bit_SSSE3 | bit_FMA | bit_CMPXCHG16B | bit_SSE4_1 | bit_SSE4_2 | bit_MOVBE | bit_POPCNT |
                bit_OSXSAVE | bit_AVX | bit_F16C,
    LEAF7_AVX2 = bit_BMI | bit_AVX2 | bit_BMI2,
    EXTENDED_ECX = bit_LAHF_LM | bit_LZCNT,
    STATE_AVX2 = 0x06,   /* the system saves XMM and YMM */
    STATE_AVX512 = 0xe6, /* and the masks, the upper halves of ZMM, and ZMM16 to 31 */
};
static const unsigned LEAF7_AVX512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;

static int has(unsigned found, unsigned wanted) { return (found & wanted) == wanted; }

const char *kernel_forms(void) {
    unsigned a, b, c, d, extended, state;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, LEAF1_ECX)) return "portable";
    if (!__get_cpuid(0x80000001, &a, &b, &extended, &d) || !has(extended, EXTENDED_ECX)) return "portable";
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, LEAF7_AVX2)) return "portable";
    __asm__("xgetbv" : "=a"(state), "=d"(d) : "c"(0)); /* bit_OSXSAVE says that it is there */
    if (!has(state, STATE_AVX2)) return "portable";
    return has(b, LEAF7_AVX512) && has(state, STATE_AVX512) ? "avx512 avx2 portable" : "avx2 portable";
}

#elif defined(__aarch64__)
const char *kernel_forms(void) { return "neon portable"; } /* which every such processor has */
#else
const char *kernel_forms(void) { return "portable"; }
#endif
