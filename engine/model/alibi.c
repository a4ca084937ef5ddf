// alibi.c - the slopes of each family, and tables of biases from them.
#include "engine/model/alibi.h"

#include <math.h>

#include "base/fp.h"

static int power_of_two_below(int n)
{
    int power = 1;
    while (power * 2 <= n)
        power *= 2;
    return power;
}

// bloom, falcon: 2^(-8 i / p) for the first p heads, where p is the largest power of two not above their number. The
// other heads take every other slope of 2 p heads.
static float slope_by_halves(int heads, int head)
{
    int power = power_of_two_below(heads);
    bool more = head >= power;
    double bits = log2(more ? 2.0 * power : power);
    float base = (float)exp2(-exp2(-(bits - 3)));
    return powf(base, (float)(more ? 1 + 2 * (head - power) : 1 + head));
}

// mpt: the slopes of p heads, where p is the next power of two. If p is not the number of heads, every other one comes
// first.
static float slope_of_more(const struct model_config *c, int head)
{
    int power = power_of_two_below(c->heads);
    if (power < c->heads)
        power *= 2;
    int at = head;
    if (power != c->heads)
        at = head < power / 2 ? 2 * head + 1 : 2 * (head - power / 2);
    return 1.0f / powf(2.0f, (float)(at + 1) * (c->alibi_max / (float)power));
}

// Falcon's biases are products of two bf16 numbers, in bf16.
static float rounded(float value)
{
    return bf16_to_f32(bf16_from_f32(value));
}

void alibi_fill(const struct model_config *c, int begin, int end, int positions, float *bias)
{
    float scale = 1.0f / sqrtf((float)c->head_dim);
    for (int head = begin; head < end; head++) {
        float *row = bias + (size_t)head * (size_t)positions;
        float slope =
            c->alibi == ALIBI_MPT ? slope_of_more(c, head) : slope_by_halves(c->heads, head);
        for (int p = 0; p < positions; p++)
            row[p] = c->alibi == ALIBI_FALCON ? rounded(rounded(slope) * rounded((float)p)) * scale
                                              : slope * (float)p;
    }
}
