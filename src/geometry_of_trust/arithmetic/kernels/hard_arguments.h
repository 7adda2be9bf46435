/* Made by benchmarks/correct_rounding.py: float32 arguments (their bits) for which the value in
   float64 misleads, and the correctly rounded values. Each list ends with a zero. */
#ifndef GOT_HARD_ARGUMENTS_H
#define GOT_HARD_ARGUMENTS_H
#include <stdint.h>

struct hard_argument {
    uint32_t argument, value;
};
static const struct hard_argument exp_hard[] = {
    {0, 0},
};
static const struct hard_argument expm1_hard[] = {
    {0, 0},
};
static const struct hard_argument log_hard[] = {
    {0x3c413d3a, 0xc08e158f}, {0x41178feb, 0x400fe5e7}, {0x4c5d65a5, 0x418f034b}, {0x65d890d3, 0x4254d1f9},
    {0x6f31a8ec, 0x42845a89},
    {0, 0},
};
static const struct hard_argument log1p_hard[] = {
    {0x35400003, 0x353fffff}, {0x3710001b, 0x370ffff3}, {0x3efd81ad, 0x3ecdeee1}, {0x41078feb, 0x400fe5e7},
    {0x65d890d3, 0x4254d1f9}, {0x6f31a8ec, 0x42845a89}, {0xb53ffffd, 0xb5400001}, {0xb70fffe5, 0xb710000d},
    {0xbb0ec8c4, 0xbb0ef0a5},
    {0, 0},
};
static const struct hard_argument log2_hard[] = {
    {0, 0},
};
static const struct hard_argument tanh_hard[] = {
    {0, 0},
};
static const struct hard_argument erf_hard[] = {
    {0, 0},
};
static const struct hard_argument sin_hard[] = {
    {0x46199998, 0xbeb1fa5d}, {0xc6199998, 0x3eb1fa5d},
    {0, 0},
};
static const struct hard_argument cos_hard[] = {
    {0x5922aa80, 0x3f08aebf}, {0x5f18b878, 0x3f7f14bb}, {0x6115cb11, 0x3f78142f}, {0xd922aa80, 0x3f08aebf},
    {0xdf18b878, 0x3f7f14bb}, {0xe115cb11, 0x3f78142f},
    {0, 0},
};
static const struct hard_argument sigmoid_hard[] = {
    {0xba928601, 0x3effdb5f},
    {0, 0},
};
static const struct hard_argument log_sigmoid_hard[] = {
    {0xb9ea41d0, 0xbf3180bd},
    {0, 0},
};
static const struct hard_argument silu_hard[] = {
    {0, 0},
};
static const struct hard_argument softplus_hard[] = {
    {0x39ea41d0, 0x3f3180bd},
    {0, 0},
};
static const struct hard_argument gelu_hard[] = {
    {0, 0},
};
static const struct hard_argument gelu_tanh_hard[] = {
    {0xb7b0a46f, 0xb730a3ad},
    {0, 0},
};
static const struct hard_argument rsqrt_hard[] = {
    {0, 0},
};
#endif
