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
    {0, 0},
};
static const struct hard_argument log1p_hard[] = {
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
    {0, 0},
};
static const struct hard_argument cos_hard[] = {
    {0, 0},
};
static const struct hard_argument sigmoid_hard[] = {
    {0, 0},
};
static const struct hard_argument log_sigmoid_hard[] = {
    {0, 0},
};
static const struct hard_argument silu_hard[] = {
    {0, 0},
};
static const struct hard_argument softplus_hard[] = {
    {0, 0},
};
static const struct hard_argument gelu_hard[] = {
    {0, 0},
};
static const struct hard_argument gelu_tanh_hard[] = {
    {0, 0},
};
static const struct hard_argument rsqrt_hard[] = {
    {0, 0},
};
#endif
