// quantize.c - the public call: chooses the method for each scheme.
#include "base/str.h"
#include "base/words.h"
#include "engine/quantize/awq_folder.h"
#include "engine/quantize/quantizer.h"
#include "kernels/quant.h"

// The schemes that round each weight by itself, and the one that calibrates.
static const struct {
    const char *scheme;
    enum dtype type;
} rounded[] = {{"int8", DT_I8}, {"fp8", DT_F8E4M3}, {"int4-rtn", DT_I4}};
enum { ROUNDED = sizeof rounded / sizeof *rounded };
#define AWQ "int4-awq"

size_t checkpoint_quantize_schemes(const char **out, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < ROUNDED && count < max; i++)
        out[count++] = rounded[i].scheme;
    if (count < max)
        out[count++] = AWQ;
    return count;
}

// Plain tensors are written in the type of the embedding, which most of them have.
static enum dtype plain_type(const struct checkpoint *ck)
{
    enum dtype type = ck->ops->stored_type(ck->self, T_EMBEDDING, -1);
    return type == DT_F16 || type == DT_F32 ? type : DT_BF16;
}

enum status checkpoint_quantize(const struct checkpoint *ck, const struct quantize_options *options,
                                const char *out, engine_progress *progress, void *user,
                                struct error *err)
{
    if (str_equal(options->scheme, AWQ)) {
        struct quant_output output = awq_output(options->group, false);
        return quantize_awq(ck, options, &output, out, progress, user, err);
    }
    for (size_t i = 0; i < ROUNDED; i++)
        if (str_equal(rounded[i].scheme, options->scheme)) {
            struct quant_output output = {.type = rounded[i].type,
                                          .group = options->group ? options->group : QUANT_GROUP,
                                          .plain = plain_type(ck),
                                          .made_by = options->scheme};
            return quantizer_rtn(ck, &output, device_pool(options->device), out, progress, user,
                                 err);
        }
    const char *known[ROUNDED + 1];
    char hint[WORDS_HINT_BYTES];
    size_t count = checkpoint_quantize_schemes(known, ROUNDED + 1);
    return FAIL(err, ERR_UNSUPPORTED, "--scheme: no layout to write '%s' in%s", options->scheme,
                words_hint(options->scheme, known, count, hint, sizeof hint));
}
