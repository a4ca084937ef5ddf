// awq_folder.c - AWQ from a checkpoint to an AutoAWQ folder: text in, layers out as they are found.
#include <stdlib.h>
#include <string.h>

#include "base/home.h"
#include "engine/quantize/awq.h"
#include "engine/quantize/quantize.h"

enum status calib_default(char **path, struct error *err)
{
    *path = home_find("models/reference/calib.txt");
    return *path ? OK
                 : FAIL(err, ERR_IO,
                        "models/reference/calib.txt, the text to calibrate on, is not among the "
                        "program's files: name another one with --calib");
}

static enum status take_layer(void *user, const struct awq_layer *layer, struct error *err)
{
    return quantizer_layer(user, layer->layer, layer->state, err);
}

// Scales and what is folded into norms are f16, as AutoAWQ has them.
static enum status write_folder(const struct checkpoint *ck, const struct calib_text *text,
                                const struct awq_options *options, const char *out,
                                struct error *err)
{
    struct quant_output output = {
        .type = DT_I4, .group = options->group, .plain = DT_F16, .made_by = "int4-awq"};
    struct quantizer *q = NULL;
    TRY(quantizer_open(ck, &output, options->pool, out, &q, err));
    if (quantizer_layer(q, -1, NULL, err) != OK ||
        awq_search(ck, text, options, take_layer, q, err) != OK) {
        quantizer_destroy(q);
        return err->code;
    }
    return quantizer_finish(q, err);
}

enum status quantize_awq(const struct checkpoint *ck, const struct quantize_options *options,
                         const char *out, engine_progress *progress, void *user, char text_hash[65],
                         struct error *err)
{
    struct awq_options search = {.group = options->group ? options->group : AWQ_GROUP,
                                 .pool = options->pool,
                                 .isa = ISA_ALL,
                                 .progress = progress,
                                 .user = user};
    struct calib_text text = {0};
    char *shipped = NULL;
    if (search.group > MOMENTS_GROUP_MAX)
        return FAIL(err, ERR_UNSUPPORTED, "int4-awq: groups of %d inputs (at most %d)",
                    search.group, MOMENTS_GROUP_MAX);
    if (!options->calib)
        TRY(calib_default(&shipped, err));
    int length = ck->config.max_positions < AWQ_WINDOW ? ck->config.max_positions : AWQ_WINDOW;
    if (calib_text_read(options->calib ? options->calib : shipped, ck, awq_windows(&ck->config),
                        length, &text, err) == OK)
        write_folder(ck, &text, &search, out, err);
    if (text_hash)
        memcpy(text_hash, text.hash, sizeof text.hash);
    calib_text_fini(&text);
    free(shipped);
    return err->code;
}
