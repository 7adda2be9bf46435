/* Attention (rule 7), some queries of a head at a time: their scores stay in the second cache. */
#include <math.h>

#include "kernels.h"
#include "vectors.h"

enum { QUERIES = 64 };
enum { NO_MASK = 0, CAUSAL = 1, BYTES = 2, FLOATS = 3 };

/* Scratch: scores, then that of the products. */
static int64_t score_bytes(int64_t rows, int64_t keys) { return (least(rows, QUERIES) * keys * 4 + 63) / 64 * 64; }

int64_t FORM(attention_scratch)(int64_t rows, int64_t keys, int64_t d, int64_t e) {
    (void)e;
    return score_bytes(rows, keys) + FORM(product_scratch)(least(rows, QUERIES), most(d, keys));
}

/* One more than the last key that any of `rows` queries, from query i0, may attend to. */
static int64_t keys_seen(const struct attention *of, const uint8_t *mask, int64_t i0, int64_t rows) {
    if (of->mask_kind == CAUSAL) return least(of->keys, i0 + rows);
    if (of->mask_kind != BYTES) return of->keys;
    for (int64_t end = of->keys; end > 0; end--)
        for (int64_t i = i0; i < i0 + rows; i++)
            if (mask[i * of->mask_strides[2] + (end - 1) * of->mask_strides[3]]) return end;
    return 0;
}

/* Products with the keys to weights of query i, `end` of them. Whether it attends to nothing. */
static int weigh(const struct attention *of, const void *mask, int64_t i, int64_t end, float *scores) {
    const int64_t seen = of->mask_kind == CAUSAL ? least(end, i + 1) : end, stride = of->mask_strides[3];
    int something = 0;
    for (int64_t k = 0; k < seen; k++) scores[k] *= of->scale;
    if (of->mask_kind == BYTES) {
        const uint8_t *row = (const uint8_t *)mask + i * of->mask_strides[2];
        for (int64_t k = 0; k < seen; k++) scores[k] = row[k * stride] ? scores[k] : -INFINITY;
    } else if (of->mask_kind == FLOATS) {
        const float *row = (const float *)mask + i * of->mask_strides[2];
        for (int64_t k = 0; k < seen; k++) scores[k] += row[k * stride];
    }
    for (int64_t k = 0; k < seen; k++) something |= scores[k] != -INFINITY; /* NaN is something */
    memset(scores + seen, 0, (size_t)(end - seen) * 4);
    if (something)
        FORM(softmax)(scores, seen, 1, seen, scores, seen);
    else
        memset(scores, 0, (size_t)seen * 4);
    return !something;
}

void FORM(attention)(const struct attention *of, int64_t h0, int64_t h1, void *scratch) {
    float *scores = scratch;
    void *rest = (unsigned char *)scratch + score_bytes(of->rows, of->keys);
    for (int64_t h = h0; h < h1; h++) {
        const int64_t text = h / of->heads, head = h % of->heads, shared = head / of->group;
        const float *query = of->query + text * of->query_strides[0] + head * of->query_strides[1];
        const float *key = of->key + text * of->key_strides[0] + shared * of->key_strides[1];
        const float *value = of->value + text * of->value_strides[0] + shared * of->value_strides[1];
        float *out = of->out + text * of->out_strides[0] + head * of->out_strides[1];
        const void *mask = 0;
        if (of->mask_kind == BYTES)
            mask = (const uint8_t *)of->mask + text * of->mask_strides[0] + head * of->mask_strides[1];
        if (of->mask_kind == FLOATS)
            mask = (const float *)of->mask + text * of->mask_strides[0] + head * of->mask_strides[1];

        for (int64_t i0 = 0; i0 < of->rows; i0 += QUERIES) {
            const int64_t rows = least(QUERIES, of->rows - i0), end = keys_seen(of, mask, i0, rows);
            int nothing[QUERIES];
            FORM(product)(query + i0 * of->query_strides[2], of->query_strides[2], rows, of->d, key, WEIGHT_FLOAT32,
                          of->key_strides[2], 1, 0, 0, scores, end, 0, end, rest);
            for (int64_t i = 0; i < rows; i++) nothing[i] = weigh(of, mask, i0 + i, end, scores + i * end);
            FORM(product)(scores, end, rows, end, value, WEIGHT_FLOAT32, 1, of->value_strides[2], 0, 0,
                          out + i0 * of->out_strides[2], of->out_strides[2], 0, of->e, rest);
            for (int64_t i = 0; i < rows; i++)
                if (nothing[i]) memset(out + (i0 + i) * of->out_strides[2], 0, (size_t)of->e * 4);
        }
    }
}
