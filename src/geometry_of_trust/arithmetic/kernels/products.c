/* Products (rule 2). Weights are taken in panels of COLUMNS outputs and BLOCK numbers, widened and transposed so that
   the lanes of a vector are outputs; a tile multiplies a panel with up to TILE_ROWS rows. Every output is one chain in one lane,
   so panels, tiles, and the order in which they come change no bit. */
#include "kernels.h"
#include "vectors.h"

enum { BLOCK = 256 }; /* rule 2: numbers in a chain */
/* A tile's chains, TILE_ROWS * VECTORS, fill the registers. Few rows are bound by reading the weights: NARROW vectors of them
   at a time, as more rows of weights than about 16 are more than a processor fetches ahead. */
#if LANES == 16
enum { TILE_ROWS = 14, VECTORS = 2, NARROW = 1 };
#elif LANES == 8
enum { TILE_ROWS = 6, VECTORS = 2, NARROW = 2 };
#elif FUSED
enum { TILE_ROWS = 6, VECTORS = 4, NARROW = 4 };
#else
enum { TILE_ROWS = 4, VECTORS = 2, NARROW = 2 };
#endif
enum { COLUMNS = VECTORS * LANES };
enum { FEW_ROWS = 4 }; /* use a panel once, as it leaves the transpose, unpacked */
enum { MOST_ROWS = 768 }; /* share a packed panel: their numbers of one block stay in the second cache */

static const int64_t SIZES[] = {4, 2, 2, 1}; /* of an enum weight_type */

static int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Where a tile's sums go. */
struct target {
    float *y;
    int64_t ldy, columns;
    const float *bias;
    int first, last; /* block of its outputs? */
};

/* As `finish`, for fewer columns than vectors have. */
static __attribute__((noinline)) void finish_edge(int rows, const float *sums, const struct target *to) {
    for (int i = 0; i < rows; i++)
        for (int64_t j = 0; j < to->columns; j++) {
            float *y = to->y + i * to->ldy + j, sum = sums[i * COLUMNS + j];
            if (!to->first) sum = *y + sum;
            if (to->last) sum += 0;
            if (to->last && to->bias) sum += to->bias[j];
            *y = sum;
        }
}

/* A block's sums, added to those of the blocks before; after the last block +0 (-0 becomes +0) and the bias. */
INLINE void finish(const int rows, const int vectors, vec sums[TILE_ROWS][VECTORS], const struct target *to) {
    const struct target here = *to;
    if (here.columns < vectors * LANES) {
        float kept[TILE_ROWS * COLUMNS];
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++)
#pragma clang loop unroll(full)
            for (int t = 0; t < vectors; t++) store(kept + i * COLUMNS + t * LANES, sums[i][t]);
        finish_edge(rows, kept, to);
        return;
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++)
#pragma clang loop unroll(full)
        for (int t = 0; t < vectors; t++) {
            float *y = here.y + i * here.ldy + t * LANES;
            vec sum = sums[i][t];
            if (!here.first) sum = load(y) + sum;
            if (here.last) sum += splat(0);
            if (here.last && here.bias) sum += load(here.bias + t * LANES);
            store(y, sum);
        }
}

INLINE void chain(const int rows, const int vectors, const float *a, const vec *b, vec sums[TILE_ROWS][VECTORS]) {
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
        vec number = splat(a[i * BLOCK]);
        for (int t = 0; t < vectors; t++) sums[i][t] = fma_lanes(number, b[t], sums[i][t]);
    }
}

/* The type's numbers in unit, 4 bytes a lane, as float32: the one at `part`. */
INLINE vec widen(const int type, uvec unit, int part, vec scale) {
    switch (type) {
    case WEIGHT_FLOAT32: return (vec)unit;
    case WEIGHT_BFLOAT16: return (vec)(part ? unit & 0xffff0000u : unit << 16);
    case WEIGHT_FLOAT16: return widen_half(part ? unit >> 16 : unit & 0xffff);
    default: return __builtin_convertvector((ivec)(unit << (24 - 8 * part)) >> 24, vec) * scale;
    }
}

/* Numbers in 16 bytes: what a transpose gives. */
#define STEP(type) ((type) == WEIGHT_FLOAT32 ? 4 : (type) == WEIGHT_INT8 ? 16 : 8)

/* STEP numbers of vectors * LANES rows that are `stride` bytes apart. */
INLINE void widen_step(const int type, const int vectors, const unsigned char *w, int64_t stride, const vec *scale, vec *b) {
    const int parts = STEP(type) / 4;
    for (int t = 0; t < vectors; t++) {
        uvec units[4];
        transpose(w + t * LANES * stride, stride, units);
        for (int k = 0; k < STEP(type); k++) b[k * vectors + t] = widen(type, units[k / parts], k % parts, scale[t]);
    }
}

/* One function a number of rows, from a packed panel. */
#define TILE(rows)                                                                                \
    static void tile##rows(const float *a, const vec *b, int64_t kc, const struct target *to) {   \
        vec sums[TILE_ROWS][VECTORS] = {0};                                                       \
        for (int i = 0; i < rows; i++) __builtin_prefetch(to->y + i * to->ldy, 1);                \
        for (int64_t k = 0; k < kc; k++) chain(rows, VECTORS, a + k, b + k * VECTORS, sums);      \
        finish(rows, VECTORS, sums, to);                                                          \
    }
TILE(1) TILE(2) TILE(3) TILE(4)
#if LANES == 4 && !FUSED
#define TILES 0, tile1, tile2, tile3, tile4
#else
TILE(5) TILE(6)
#if LANES == 16
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)
#define TILES 0, tile1, tile2, tile3, tile4, tile5, tile6, tile7, tile8, tile9, tile10, tile11, tile12, tile13, tile14
#else
#define TILES 0, tile1, tile2, tile3, tile4, tile5, tile6
#endif
#endif
static void (*const tiles[])(const float *, const vec *, int64_t, const struct target *) = {TILES};

/* One function a number of rows and a type, from the weights as they lie. */
INLINE void unpacked(const int rows, const int type, const float *a, const unsigned char *w, int64_t stride,
                     const vec *scale, int64_t kc, const struct target *to) {
    vec sums[TILE_ROWS][VECTORS] = {0}, b[16 * NARROW];
    int64_t k = 0;
    for (; k + STEP(type) <= kc; k += STEP(type)) {
        widen_step(type, NARROW, w + k * (16 / STEP(type)), stride, scale, b);
        for (int each = 0; each < STEP(type); each++) chain(rows, NARROW, a + k + each, b + each * NARROW, sums);
    }
    if (k < kc) {
        widen_step(type, NARROW, w + k * (16 / STEP(type)), stride, scale, b);
        for (int each = 0; each < kc - k; each++) chain(rows, NARROW, a + k + each, b + each * NARROW, sums);
    }
    finish(rows, NARROW, sums, to);
}
typedef void unpacked_tile(const float *, const unsigned char *, int64_t, const vec *, int64_t, const struct target *);
#define UNPACKED(rows, type)                                                                                            \
    static void unpacked##rows##_##type(const float *a, const unsigned char *w, int64_t stride, const vec *scale,       \
                                        int64_t kc, const struct target *to) {                                          \
        unpacked(rows, type, a, w, stride, scale, kc, to);                                                              \
    }
#define UNPACKED_TYPES(rows) UNPACKED(rows, 0) UNPACKED(rows, 1) UNPACKED(rows, 2) UNPACKED(rows, 3)
UNPACKED_TYPES(1) UNPACKED_TYPES(2) UNPACKED_TYPES(3) UNPACKED_TYPES(4)
#define UNPACKED_NAMES(rows) {unpacked##rows##_0, unpacked##rows##_1, unpacked##rows##_2, unpacked##rows##_3}
static unpacked_tile *const unpacked_tiles[][4] = {{0}, UNPACKED_NAMES(1), UNPACKED_NAMES(2), UNPACKED_NAMES(3), UNPACKED_NAMES(4)};

/* A panel from rows whose numbers are neighbours. kc may be rounded up to a whole step. */
INLINE void pack_rows(const int type, const unsigned char *w, int64_t stride, const vec *scale, int64_t kc, vec *b) {
    for (int64_t k = 0; k < kc; k += STEP(type))
        widen_step(type, VECTORS, w + k * (16 / STEP(type)), stride, scale, b + k * VECTORS);
}

/* A panel from weights that lie in any other way. */
INLINE void pack_any(const int type, const unsigned char *w, int64_t ldj, int64_t ldk, int64_t columns, const vec *scale,
                     int64_t kc, vec *b) {
    const int64_t size = SIZES[type];
    for (int64_t k = 0; k < kc; k++)
        for (int t = 0; t < VECTORS; t++) {
            const unsigned char *at = w + (k * ldk + t * LANES * ldj) * size;
            const int64_t lanes = most(0, least(LANES, columns - t * LANES));
            uvec unit = {0};
            if (ldj == 1 && lanes == LANES && type == WEIGHT_FLOAT32) {
                memcpy(&unit, at, sizeof unit);
            } else if (ldj == 1 && lanes == LANES && type != WEIGHT_INT8) {
                uint16_t numbers __attribute__((vector_size(LANES * 2)));
                memcpy(&numbers, at, sizeof numbers);
                unit = __builtin_convertvector(numbers, uvec);
            } else {
                uint32_t numbers[LANES] = {0};
                for (int64_t j = 0; j < lanes; j++) memcpy(&numbers[j], at + j * ldj * size, (size_t)size);
                memcpy(&unit, numbers, sizeof unit);
            }
            b[k * VECTORS + t] = widen(type, unit, 0, scale[t]);
        }
}

static void pack(int type, const unsigned char *w, int64_t ldj, int64_t ldk, int64_t columns, const vec *scale, int64_t kc,
                 vec *b) {
#define PACK(type) (ldk == 1 ? pack_rows(type, w, ldj * SIZES[type], scale, kc, b) : pack_any(type, w, ldj, ldk, columns, scale, kc, b))
    switch (type) {
    case WEIGHT_FLOAT32: PACK(WEIGHT_FLOAT32); break;
    case WEIGHT_BFLOAT16: PACK(WEIGHT_BFLOAT16); break;
    case WEIGHT_FLOAT16: PACK(WEIGHT_FLOAT16); break;
    default: PACK(WEIGHT_INT8); break;
    }
}

/* Scratch: the panel, rows at the edge of the weights, then the states of the rows, tile by tile. */
struct plan {
    int64_t parts, tiles, deep; /* parts of the rows; the most tiles of a part; blocks whose states are copied at once */
};

static struct plan planned(int64_t m, int64_t kk) {
    struct plan plan;
    plan.parts = ceiling(m, MOST_ROWS);
    plan.tiles = plan.parts ? ceiling(ceiling(m, plan.parts), TILE_ROWS) : 0;
    plan.deep = most(1, least(ceiling(kk, BLOCK), MOST_ROWS / most(1, plan.tiles * TILE_ROWS)));
    return plan;
}

int64_t FORM(product_scratch)(int64_t m, int64_t kk) {
    const int64_t rows = ceiling(least(m, MOST_ROWS), TILE_ROWS) * TILE_ROWS;
    return BLOCK * 4 * (2 * COLUMNS + least(rows * ceiling(kk, BLOCK), most(rows, MOST_ROWS)));
}

void FORM(product)(const float *a, int64_t lda, int64_t m, int64_t kk, const void *w, int type, int64_t ldj,
                   int64_t ldk, const float *scale, const float *bias, float *y, int64_t ldy, int64_t j0,
                   int64_t j1, void *scratch) {
    const struct plan plan = planned(m, kk);
    const int64_t size = SIZES[type], blocks = ceiling(kk, BLOCK);
    vec *panel = scratch;
    unsigned char *edge = (unsigned char *)(panel + BLOCK * VECTORS);
    float *states = (float *)(edge + BLOCK * COLUMNS * 4);

    if (blocks == 0)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = j0; j < j1; j++) y[i * ldy + j] = bias ? 0 + bias[j] : 0;

    for (int64_t part = 0; part < plan.parts; part++) {
        const int64_t i0 = part * m / plan.parts, rows = (part + 1) * m / plan.parts - i0;
        const int64_t count = ceiling(rows, TILE_ROWS); /* tiles, as equal as can be: a low one waits for its chains */
        const int packed = rows > FEW_ROWS || ldk != 1;
        const int64_t wide = packed ? COLUMNS : NARROW * LANES;
        for (int64_t block0 = 0; block0 < blocks; block0 += plan.deep) {
            const int64_t block1 = least(blocks, block0 + plan.deep);
            float *copy = states;
            for (int64_t block = block0; block < block1; block++)
                for (int64_t q = 0; q < count; q++, copy += TILE_ROWS * BLOCK)
                    for (int64_t i = q * rows / count, row = 0; i < (q + 1) * rows / count; i++, row++)
                        memcpy(copy + row * BLOCK, a + (i0 + i) * lda + block * BLOCK, (size_t)least(BLOCK, kk - block * BLOCK) * 4);
            for (int64_t j = j0; j < j1; j += wide) {
                struct target to = {y + i0 * ldy + j, ldy, least(wide, j1 - j), bias ? bias + j : 0, 0, 0};
                vec scales[VECTORS] = {0};
                if (type == WEIGHT_INT8) memcpy(scales, scale + j, (size_t)to.columns * 4);
                for (int64_t block = block0; block < block1; block++) {
                    const int64_t kc = least(BLOCK, kk - block * BLOCK);
                    const float *of = states + (block - block0) * count * TILE_ROWS * BLOCK;
                    const unsigned char *weights = (const unsigned char *)w + (j * ldj + block * BLOCK * ldk) * size;
                    int64_t stride = ldj;
                    to.first = block == 0;
                    to.last = block == blocks - 1;
                    /* Where a transpose would read past the weights, it reads a copy. */
                    if (ldk == 1 && (to.columns < wide || kc * size % 16)) {
                        memset(edge, 0, (size_t)(wide * BLOCK * size));
                        for (int64_t c = 0; c < to.columns; c++)
                            memcpy(edge + c * BLOCK * size, weights + c * ldj * size, (size_t)(kc * size));
                        weights = edge;
                        stride = BLOCK;
                    }
                    if (!packed) {
                        unpacked_tiles[rows][type](of, weights, stride * size, scales, kc, &to);
                        continue;
                    }
                    pack(type, weights, stride, ldk, to.columns, scales, kc, panel);
                    for (int64_t q = 0; q < count; q++) {
                        const int64_t i = q * rows / count;
                        to.y = y + (i0 + i) * ldy + j;
                        tiles[(q + 1) * rows / count - i](of + q * TILE_ROWS * BLOCK, panel, kc, &to);
                    }
                }
            }
        }
    }
}
