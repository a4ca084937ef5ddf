// quantize.c - the public call: chooses the method for each scheme.
#include "base/str.h"
#include "base/words.h"
#include "engine/quantize/awq_folder.h"
#include "engine/quantize/quantizer.h"
#include "kernels/quant.h"

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
    if (str_equal(options->scheme, "int4-awq")) {
        struct quant_output output = awq_output(options->group, false);
        return quantize_awq(ck, options, &output, out, progress, user, err);
    }
    static const struct {
        const char *scheme;
        enum dtype type;
    } kinds[] = {{"int8", DT_I8}, {"fp8", DT_F8E4M3}, {"int4-rtn", DT_I4}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_equal(kinds[i].scheme, options->scheme)) {
            struct quant_output output = {.type = kinds[i].type,
                                          .group = options->group ? options->group : QUANT_GROUP,
                                          .plain = plain_type(ck),
                                          .made_by = options->scheme};
            return quantizer_rtn(ck, &output, device_pool(options->device), out, progress, user,
                                 err);
        }
    static const char *const known[] = {"int8", "fp8", "int4-rtn", "int4-awq"};
    char hint[WORDS_HINT_BYTES];
    return FAIL(
        err, ERR_UNSUPPORTED, "--scheme: no layout to write '%s' in%s", options->scheme,
        words_hint(options->scheme, known, sizeof known / sizeof *known, hint, sizeof hint));
}
