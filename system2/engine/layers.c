/* The layers of a small float32 model over tokens and a cache, on one core, in one call.

   The arithmetic is `model.run_layer`'s, and tested against it. Why it is here: a step of a small
   model is a hundred products of a few microseconds each, and what calls them costs more than they
   do. Every number is summed in one order whatever the batch, so a row's states do not depend on
   what is run beside it.

   Vectors of eight floats are the compiler's own (GCC, Clang): AVX2, NEON or plain code. Weights
   come packed, sixteen outputs side by side: [output / 16][input][16], zeros behind the last. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define WIDE 8
#define PANEL 16
#define BLOCK 48 /* tokens that go through a layer together */

typedef float vec __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef int64_t longs __attribute__((vector_size(4 * WIDE), aligned(4)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec x) { *(vec *)to = x; }
INLINE vec all(float x) { return (vec){x, x, x, x, x, x, x, x}; }

INLINE float total(vec x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

INLINE vec larger(vec a, vec b) {
    ints is_a = a > b;
    return (vec)(((ints)a & is_a) | ((ints)b & ~is_a));
}

INLINE vec smaller(vec a, vec b) {
    ints is_a = a < b;
    return (vec)(((ints)a & is_a) | ((ints)b & ~is_a));
}

/* e^x to 2 units in the last place, for x clamped to [-87, 88]; no number stays none. */
INLINE vec exponential(vec x) {
    vec y = smaller(larger(x, all(-87.0f)), all(88.0f));
    vec n = y * all(1.44269504f) + all(12582912.0f); /* rounds to a whole number */
    ints power = (ints)n - (ints)all(12582912.0f);
    n = n - all(12582912.0f);
    vec r = y - n * all(0.693359375f);
    r = r - n * all(-2.12194440e-4f);
    vec p = all(1.9875691500e-4f);
    p = p * r + all(1.3981999507e-3f);
    p = p * r + all(8.3334519073e-3f);
    p = p * r + all(4.1665795894e-2f);
    p = p * r + all(1.6666665459e-1f);
    p = p * r + all(5.0000001201e-1f);
    p = p * r * r + r + all(1.0f);
    ints is_number = x == x;
    vec found = p * (vec)((power + 127) << 23);
    return (vec)(((ints)found & is_number) | ((ints)x & ~is_number));
}

/* Products */

/* y = x w + bias (y += where `is_added`): ROWS rows of x by PANELS panels of w, in registers. Each
   output is one sum, in the order of the inputs. */
#define DEFINE_TILE(ROWS, PANELS)                                                                 \
    static void tile_##ROWS##_##PANELS(const float *x, int inputs, const float *w, float *y,      \
                                       int stride, int outputs, const float *bias, int is_added) { \
        vec sum[ROWS][2 * PANELS];                                                                \
        UNROLLED for (int r = 0; r < ROWS; r++)                                                   \
            UNROLLED for (int p = 0; p < 2 * PANELS; p++) sum[r][p] = all(0.0f);                  \
        for (int i = 0; i < inputs; i++) {                                                        \
            vec part[2 * PANELS];                                                                 \
            UNROLLED for (int p = 0; p < 2 * PANELS; p++)                                         \
                part[p] = load(w + ((int64_t)(p / 2) * inputs + i) * PANEL + p % 2 * WIDE);       \
            UNROLLED for (int r = 0; r < ROWS; r++) {                                             \
                vec one = all(x[(int64_t)r * inputs + i]);                                        \
                UNROLLED for (int p = 0; p < 2 * PANELS; p++) sum[r][p] += one * part[p];         \
            }                                                                                     \
        }                                                                                         \
        UNROLLED for (int r = 0; r < ROWS; r++)                                                   \
            UNROLLED for (int p = 0; p < 2 * PANELS; p++)                                         \
                put(sum[r][p], y + (int64_t)r * stride + p * WIDE, outputs - p * WIDE,            \
                    bias ? bias + p * WIDE : bias, is_added);                                     \
    }

#define UNROLLED _Pragma("GCC unroll 8")

/* Write the first `left` of eight sums, or add them. */
INLINE void put(vec sum, float *to, int left, const float *bias, int is_added) {
    if (left >= WIDE) {
        if (bias) sum += load(bias);
        if (is_added) sum += load(to);
        store(to, sum);
    } else
        for (int i = 0; i < left; i++)
            to[i] = sum[i] + (bias ? bias[i] : 0.0f) + (is_added ? to[i] : 0.0f);
}

DEFINE_TILE(1, 4)
DEFINE_TILE(1, 1)
DEFINE_TILE(1, 2)
DEFINE_TILE(2, 2)
DEFINE_TILE(2, 1)
DEFINE_TILE(4, 1)
DEFINE_TILE(6, 1)

/* y = x w + bias, or y += x w + bias; x [rows inputs], y [rows stride], w packed. */
static void product(const float *x, int rows, int inputs, const float *w, int outputs, float *y,
                    int stride, const float *bias, int is_added) {
    int most = rows == 1 ? 4 : rows <= 3 ? 2 : 1; /* few rows: more panels hide a sum's latency */
    for (int first = 0, panels; first < outputs; first += panels * PANEL) {
        int left = outputs - first;
        panels = left >= most * PANEL ? most : 1;
        const float *part = w + (int64_t)first * inputs, *b = bias ? bias + first : bias;
        for (int r = 0, done; r < rows; r += done) {
            const float *from = x + (int64_t)r * inputs;
            float *to = y + (int64_t)r * stride + first;
#define RUN(ROWS, PANELS) \
    (done = ROWS, tile_##ROWS##_##PANELS(from, inputs, part, to, stride, left, b, is_added))
            if (panels == 4) RUN(1, 4);
            else if (rows - r >= 6) RUN(6, 1);
            else if (rows - r >= 4) RUN(4, 1);
            else if (rows - r >= 2 && panels == 2) RUN(2, 2);
            else if (rows - r >= 2) RUN(2, 1);
            else if (panels == 2) RUN(1, 2);
            else RUN(1, 1);
#undef RUN
        }
    }
}

/* Parts of a layer */

/* y = x / rms(x) * weight over `size` numbers; y may be x. */
INLINE void norm(const float *x, int size, const float *weight, float eps, float *y) {
    vec sum = all(0.0f);
    for (int i = 0; i < size; i += WIDE) sum += load(x + i) * load(x + i);
    vec scale = all(1.0f / sqrtf(total(sum) / (float)size + eps));
    for (int i = 0; i < size; i += WIDE) store(y + i, load(x + i) * scale * load(weight + i));
}

/* Turn the pairs (x[j], x[j + dim/2]) of one head; sin is negative in its first half. */
INLINE void turn(float *x, int dim, const float *cos, const float *sin) {
    int half = dim / 2;
    for (int j = 0; j < half; j++) {
        float low = x[j], high = x[j + half];
        x[j] = low * cos[j] + high * sin[j];
        x[j + half] = high * cos[j + half] + low * sin[j + half];
    }
}

/* y = silu(gate) * up */
INLINE void gated(const float *gate, const float *up, int size, float *y) {
    for (int i = 0; i < size; i += WIDE) {
        vec x = load(gate + i);
        store(y + i, x / (all(1.0f) + exponential(-x)) * load(up + i));
    }
}

typedef struct {
    int32_t heads, kv_heads, head_dim, inner;
    int32_t has_rope;
    float eps;
    const float *attention_norm, *qkv, *qkv_bias, *query_norm, *key_norm, *out, *out_bias;
    const float *mlp_norm, *gate_up, *gate_up_bias, *down, *down_bias;
} Layer;

/* A layer's part of the cache: a row's keys of one head lie column by column; so do the trunks'. */
typedef struct {
    float *keys, *values;
    int64_t row_stride, head_stride;
    const float *trunk_keys, *trunk_values;
    int64_t trunk_stride, trunk_head_stride;
} Store;

/* Where each token stands, and what it sees: columns firsts[n] to ends[n] (exclusive) of row
   rows[n], and its own column; with trunks, also places trunk_firsts[n] to `places` of its trunk,
   where that is not -1. */
typedef struct {
    const int64_t *rows, *columns, *firsts, *ends, *trunks, *trunk_firsts;
    int64_t places;
} Places;

/* Each token's position, and the turns of each position: [position head_dim]. */
typedef struct {
    const float *cos, *sin;
    const int64_t *positions;
} Turns;

/* Scores of `count` keys for one query; returns their maximum and `top`'s. */
INLINE float scored(const float *query, const float *keys, int64_t count, int dim, float *scores,
                    float top) {
    for (int64_t c = 0; c < count; c++) {
        vec sum = all(0.0f);
        for (int i = 0; i < dim; i += WIDE) sum += load(query + i) * load(keys + c * dim + i);
        scores[c] = total(sum);
        top = scores[c] > top ? scores[c] : top;
    }
    return top;
}

/* Add `count` values, weighted, to `dim` numbers. */
INLINE void weighted(const float *weights, const float *values, int64_t count, int dim,
                     float *sums) {
    for (int i = 0; i < dim; i += 4 * WIDE) {
        int parts = (dim - i) / WIDE < 4 ? (dim - i) / WIDE : 4;
        if (parts == 4) {
            vec sum[4];
            for (int p = 0; p < 4; p++) sum[p] = load(sums + i + p * WIDE);
            for (int64_t c = 0; c < count; c++)
                for (int p = 0; p < 4; p++)
                    sum[p] += all(weights[c]) * load(values + c * dim + i + p * WIDE);
            for (int p = 0; p < 4; p++) store(sums + i + p * WIDE, sum[p]);
        } else
            for (int p = 0; p < parts; p++) {
                vec sum = load(sums + i + p * WIDE);
                for (int64_t c = 0; c < count; c++)
                    sum += all(weights[c]) * load(values + c * dim + i + p * WIDE);
                store(sums + i + p * WIDE, sum);
            }
    }
}

/* One token's attention, head by head, over trunk, row and itself; `scores` has room for all. */
static void attend(const Layer *w, const Store *kept, const Places *at, int64_t n,
                   const float *query, float *out, float *scores) {
    int dim = w->head_dim, group = w->heads / w->kv_heads;
    int64_t trunk = at->trunks ? at->trunks[n] : -1;
    int64_t skipped = trunk < 0 ? 0 : at->trunk_firsts[n];
    int64_t shared = trunk < 0 ? 0 : at->places - skipped;
    int64_t first = at->firsts[n], count = at->ends[n] - first, column = at->columns[n];
    if (column == at->ends[n]) count++; /* its own is the next: one run of columns */
    int64_t alone = column == at->ends[n] ? 0 : 1, seen = shared + count + alone;
    for (int h = 0; h < w->heads; h++) {
        int64_t base = at->rows[n] * kept->row_stride + (h / group) * kept->head_stride;
        int64_t own = base + column * dim, past = base + first * dim;
        int64_t before = trunk * kept->trunk_stride + (h / group) * kept->trunk_head_stride + skipped * dim;
        const float *q = query + (int64_t)h * dim;
        float top = -INFINITY, scale = 1.0f / sqrtf((float)dim);
        if (shared) top = scored(q, kept->trunk_keys + before, shared, dim, scores, top);
        top = scored(q, kept->keys + past, count, dim, scores + shared, top);
        if (alone) top = scored(q, kept->keys + own, 1, dim, scores + shared + count, top);
        vec sum = all(0.0f);
        for (int64_t c = seen; c < seen + WIDE; c++) scores[c] = -INFINITY;
        for (int64_t c = 0; c < seen; c += WIDE) {
            vec weight = exponential((load(scores + c) - all(top)) * all(scale));
            store(scores + c, weight);
            if (c + WIDE > seen)
                for (int64_t i = seen - c; i < WIDE; i++) weight[i] = 0.0f;
            sum += weight;
        }
        float *to = out + (int64_t)h * dim;
        memset(to, 0, sizeof(float) * (size_t)dim);
        if (shared) weighted(scores, kept->trunk_values + before, shared, dim, to);
        weighted(scores + shared, kept->values + past, count, dim, to);
        if (alone) weighted(scores + shared + count, kept->values + own, 1, dim, to);
        vec part = all(1.0f / total(sum));
        for (int i = 0; i < dim; i += WIDE) store(to + i, load(to + i) * part);
    }
}

/* Norm and turn `count` heads of a token at a position. */
INLINE void turned(const Layer *w, float *heads, int count, const float *weight, const Turns *turns,
                   int64_t position) {
    int dim = w->head_dim;
    for (int h = 0; h < count; h++) {
        if (weight) norm(heads + h * dim, dim, weight, w->eps, heads + h * dim);
        if (w->has_rope)
            turn(heads + h * dim, dim, turns->cos + position * dim, turns->sin + position * dim);
    }
}

/* Put a token's keys and values, one after the other, into its column. */
static void placed(const Layer *w, const Store *kept, const Places *at, int64_t n,
                   const float *keys) {
    int64_t dim = w->head_dim;
    for (int h = 0; h < w->kv_heads; h++) {
        int64_t to = at->rows[n] * kept->row_stride + h * kept->head_stride + at->columns[n] * dim;
        memcpy(kept->keys + to, keys + h * dim, sizeof(float) * (size_t)dim);
        memcpy(kept->values + to, keys + (w->kv_heads + h) * dim, sizeof(float) * (size_t)dim);
    }
}

/* Floats of scratch that `run_layers` needs for a layer whose tokens see at most `columns` keys. */
int64_t scratch_floats(const Layer *w, int32_t size, int64_t columns) {
    int64_t both = w->heads * w->head_dim, two = 2 * w->kv_heads * w->head_dim;
    int64_t most = two > 2 * w->inner ? two : 2 * w->inner;
    return BLOCK * ((size > w->inner ? size : w->inner) + size + 2 * both + most) + columns + 2 * WIDE;
}

/* Run a layer over at most BLOCK tokens: states [tokens size] in place. Where `needed` is given, the
   others have their keys and values put into the cache, and their states are left as they are. */
static void run_block(const Layer *w, const Store *kept, int tokens, int size, float *states,
                      const Turns *turns, const Places *at, int64_t first, const uint8_t *needed,
                      float *scratch) {
    int dim = w->head_dim, inner = w->inner, both = w->heads * dim, two = 2 * w->kv_heads * dim;
    float *narrow = scratch, *some = narrow + BLOCK * (size > inner ? size : inner);
    float *query = some + BLOCK * size, *mixed = query + BLOCK * both;
    float *wide = mixed + BLOCK * both, *scores = wide + BLOCK * (two > 2 * inner ? two : 2 * inner);
    for (int n = 0; n < tokens; n++)
        norm(states + n * size, size, w->attention_norm, w->eps, narrow + n * size);
    product(narrow, tokens, size, w->qkv + (int64_t)both * size, two, wide, two,
            w->qkv_bias ? w->qkv_bias + both : 0, 0);
    for (int n = 0; n < tokens; n++) {
        turned(w, wide + n * two, w->kv_heads, w->key_norm, turns, turns->positions[first + n]);
        placed(w, kept, at, first + n, wide + n * two);
    }
    int which[BLOCK], count = 0;
    for (int n = 0; n < tokens; n++) {
        if (needed && !needed[first + n]) continue;
        if (needed) {
            memcpy(some + count * size, states + n * size, sizeof(float) * (size_t)size);
            memmove(narrow + count * size, narrow + n * size, sizeof(float) * (size_t)size);
        }
        which[count++] = n;
    }
    float *x = needed ? some : states;
    product(narrow, count, size, w->qkv, both, query, both, w->qkv_bias, 0);
    for (int i = 0; i < count; i++) {
        int64_t n = first + which[i];
        turned(w, query + i * both, w->heads, w->query_norm, turns, turns->positions[n]);
        attend(w, kept, at, n, query + i * both, mixed + i * both, scores);
    }
    product(mixed, count, both, w->out, size, x, size, w->out_bias, 1);
    for (int i = 0; i < count; i++)
        norm(x + i * size, size, w->mlp_norm, w->eps, narrow + i * size);
    product(narrow, count, size, w->gate_up, 2 * inner, wide, 2 * inner, w->gate_up_bias, 0);
    for (int i = 0; i < count; i++)
        gated(wide + i * 2 * inner, wide + (i * 2 + 1) * inner, inner, narrow + i * inner);
    product(narrow, count, inner, w->down, size, x, size, w->down_bias, 1);
    for (int i = 0; needed && i < count; i++)
        memcpy(states + which[i] * size, x + i * size, sizeof(float) * (size_t)size);
}

/* Run `count` layers over x [tokens size], in place; what layer `tap` is given goes to `tapped`, where
   that is not null. A token may see what an earlier one of the same call puts into the cache. Where
   `needed` is given, only those tokens' states are: the others' stop before the last layer. */
void run_layers(const Layer *layers, const Store *stores, int32_t count, int64_t tokens,
                int32_t size, float *x, int32_t tap, float *tapped, const Turns *turns,
                const Places *at, const uint8_t *needed, float *scratch) {
    for (int32_t l = 0; l < count; l++) {
        if (tapped && l == tap) memcpy(tapped, x, sizeof(float) * (size_t)(tokens * size));
        for (int64_t first = 0; first < tokens; first += BLOCK) {
            int here = (int)(tokens - first < BLOCK ? tokens - first : BLOCK);
            run_block(layers + l, stores + l, here, size, x + first * size, turns, at, first,
                      l == count - 1 ? needed : 0, scratch);
        }
    }
}

/* y = rms norm of x [rows size] */
void normed(const float *x, int64_t rows, int32_t size, const float *weight, float eps, float *y) {
    for (int64_t n = 0; n < rows; n++) norm(x + n * size, size, weight, eps, y + n * size);
}

/* y [rows outputs] = x [rows inputs] by packed weights */
void linear(const float *x, int32_t rows, int32_t inputs, const float *w, int32_t outputs,
            float *y) {
    product(x, rows, inputs, w, outputs, y, outputs, 0, 0);
}

/* The largest of some numbers; no number where one is none. */
static float largest(const float *z, int64_t count) {
    int64_t whole = count - count % WIDE;
    vec tops = all(-INFINITY);
    ints are_numbers = tops == tops;
    for (int64_t v = 0; v < whole; v += WIDE) {
        are_numbers &= load(z + v) == load(z + v);
        tops = larger(load(z + v), tops);
    }
    float top = -INFINITY;
    for (int i = 0; i < WIDE; i++) {
        if (!are_numbers[i]) return NAN;
        top = tops[i] > top ? tops[i] : top;
    }
    for (int64_t v = whole; v < count; v++) {
        if (z[v] != z[v]) return NAN;
        top = z[v] > top ? z[v] : top;
    }
    return top;
}

/* Whether more than one logit reaches `limit`, and the best is less probable than `gate`. */
static uint8_t is_choice(const float *z, int64_t vocab, float top, float limit, float gate) {
    ints counts = {0};
    int64_t whole = vocab - vocab % WIDE, count = 0;
    for (int64_t v = 0; v < whole; v += WIDE) counts -= load(z + v) >= all(limit);
    for (int i = 0; i < WIDE; i++) count += counts[i];
    for (int64_t v = whole; v < vocab; v++) count += z[v] >= limit;
    if (count < 2 || gate >= 1.0f) return count > 1;
    vec sum = all(0.0f), rest = all(-INFINITY);
    for (int64_t v = 0; v < whole; v += WIDE) sum += exponential(load(z + v) - all(top));
    for (int64_t v = whole; v < vocab; v++) rest[v - whole] = z[v] - top;
    rest = exponential(rest);
    for (int64_t v = whole; v < vocab; v++) sum[0] += rest[v - whole];
    return 1.0f / total(sum) < gate;
}

/* Keep each row's plausible tokens, those of logits >= its largest + `least`, and set the others of
   `logits` [rows vocab] to -inf. The first `room` are listed as (row, token, number within the row):
   each row's first, then all others, row by row; `counts` says how many a row has (where a logit is
   no number, none, though token 0 is listed). `is_open` is said where it is not null: whether a row
   has several, and the best is less probable than `gate`. Returns how many there are to list. */
int64_t cut(float *logits, int64_t rows, int64_t vocab, float least, float gate, int64_t room,
            int64_t *of, int64_t *tokens, int64_t *ranks, int64_t *counts, uint8_t *is_open) {
    int64_t listed = rows;
    for (int64_t n = 0; n < rows; n++) {
        float *z = logits + n * vocab, top = largest(z, vocab), limit = top + least;
        int64_t count = 0;
        if (is_open) is_open[n] = is_choice(z, vocab, top, limit, gate);
        of[n] = n, tokens[n] = ranks[n] = 0;
        for (int64_t v = 0; v < vocab; v += WIDE) {
            if (v + WIDE <= vocab) {
                longs is_kept = (longs)(load(z + v) >= all(limit));
                if (!(is_kept[0] | is_kept[1] | is_kept[2] | is_kept[3])) {
                    store(z + v, all(-INFINITY));
                    continue;
                }
            }
            for (int64_t u = v; u < v + WIDE && u < vocab; u++) {
                int is_kept = z[u] >= limit;
                if (!is_kept) {
                    z[u] = -INFINITY;
                    continue;
                }
                int64_t at = count ? listed++ : n;
                if (at < room) of[at] = n, tokens[at] = u, ranks[at] = count;
                count++;
            }
        }
        counts[n] = count;
    }
    return listed;
}

/* Where is_open[rows[n]]: kept[rows[n]][ids[n]] += beta * (own[rows[n]] . head[ids[n]] - itself);
   kept [.. vocab], own [.. size], head [vocab size] as it is, not packed. */
void judge(float *kept, int64_t vocab, int64_t count, const int64_t *rows, const int64_t *ids,
           const uint8_t *is_open, const float *own, const float *head, int32_t size, float beta) {
    for (int64_t n = 0; n < count; n++) {
        if (!is_open[rows[n]]) continue;
        const float *state = own + rows[n] * size, *weight = head + ids[n] * size;
        float *logit = kept + rows[n] * vocab + ids[n];
        vec sum = all(0.0f);
        for (int i = 0; i < size; i += WIDE) sum += load(state + i) * load(weight + i);
        *logit += beta * (total(sum) - *logit);
    }
}

/* Draw from rows of logits, or take the most probable where a row's temperature is 0 (its lowest id
   among equals, its log-probability at temperature 1). Draw d of row n is the token where the
   cumulative distribution passes uniforms[n][d]; what is e^-80 times as probable as the best is
   never drawn. `scratch` has room for vocab + SPAN floats, `sums` for a double a span. */
#define SPAN 64
void choose(const float *logits, int64_t rows, int64_t vocab, const float *temperatures,
            const double *uniforms, int64_t draws, int64_t *tokens, float *logprobs, float *scratch,
            double *sums) {
    int64_t spans = (vocab + SPAN - 1) / SPAN;
    for (int64_t n = 0; n < rows; n++) {
        const float *z = logits + n * vocab;
        float top = largest(z, vocab), warmth = temperatures[n] > 0.0f ? temperatures[n] : 1.0f;
        memcpy(scratch, z, sizeof(float) * (size_t)vocab);
        for (int64_t v = vocab; v < spans * SPAN; v++) scratch[v] = -INFINITY;
        double whole = 0.0;
        for (int64_t s = 0; s < spans; s++) {
            vec sum = all(0.0f), tops = all(-INFINITY);
            for (int64_t v = s * SPAN; v < (s + 1) * SPAN; v += WIDE)
                tops = larger(load(scratch + v), tops);
            longs is_far = (longs)(tops - all(top) < all(-80.0f * warmth)); /* all of the span */
            if ((is_far[0] & is_far[1] & is_far[2] & is_far[3]) == -1) {
                memset(scratch + s * SPAN, 0, sizeof(float) * SPAN);
                sums[s] = whole;
                continue;
            }
            for (int64_t v = s * SPAN; v < (s + 1) * SPAN; v += WIDE) {
                vec warm = (load(scratch + v) - all(top)) / all(warmth);
                ints is_out = warm < all(-80.0f);
                vec weight = (vec)((ints)exponential(warm) & ~is_out);
                store(scratch + v, weight);
                sum += weight;
            }
            whole += (double)total(sum);
            sums[s] = whole;
        }
        for (int64_t d = 0; d < draws; d++) {
            int64_t chosen = 0;
            if (!(temperatures[n] > 0.0f)) {
                while (chosen < vocab - 1 && !(z[chosen] == top)) chosen++;
            } else {
                double target = uniforms[n * draws + d] * whole;
                int64_t s = 0;
                while (s < spans - 1 && !(sums[s] > target)) s++;
                double passed = s ? sums[s - 1] : 0.0;
                for (int64_t v = s * SPAN; v < (s + 1) * SPAN && v < vocab; v++) {
                    if (!(scratch[v] > 0.0f)) continue;
                    chosen = v;
                    passed += (double)scratch[v];
                    if (passed > target) break;
                }
            }
            tokens[n * draws + d] = chosen;
            logprobs[n * draws + d] = (float)((double)((z[chosen] - top) / warmth) - log(whole));
        }
    }
}

/* Whether it was built for processors with AVX2 alone. */
int needs_avx2(void) {
#ifdef __AVX2__
    return 1;
#else
    return 0;
#endif
}

#ifndef SOURCE
#define SOURCE ""
#endif

/* What it was built from: setup.py says the hash of this file. */
const char *source(void) { return SOURCE; }
