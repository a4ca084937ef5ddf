// awq_folder.c - AWQ: reads the text, searches layer by layer, writes each layer when its search ends.
#include <stdlib.h>

#include "base/home.h"
#include "engine/quantize/awq.h"
#include "engine/quantize/awq_folder.h"
#include "engine/quantize/quantizer.h"

enum status calib_default(char **path, struct error *err)
{
    *path = home_find("models/reference/calib.txt");
    return *path ? OK
                 : FAIL(err, ERR_IO,
                        "models/reference/calib.txt, the text to calibrate on, is not among the "
                        "program's files: name another one with --calib");
}

struct writing {
    struct quantizer *quantizer;
    const struct checkpoint *ck;
    const struct awq_options *options;
};

static enum status take_layer(void *user, const struct awq_layer *layer, struct error *err)
{
    const struct writing *w = user;
    quantizer_watch(w->quantizer, w->options->progress, w->options->user,
                    (layer->layer + 1) / (double)w->ck->config.layers);
    return quantizer_layer(w->quantizer, layer->layer, layer->state, err);
}

struct quant_output awq_output(int group, bool by_role)
{
    return (struct quant_output){.type = DT_I4,
                                 .group = group ? group : AWQ_GROUP,
                                 .plain = by_role ? DT_F32 : DT_F16,
                                 .by_role = by_role,
                                 .made_by = "int4-awq"};
}

static enum status write_folder(const struct checkpoint *ck, const struct calib_text *text,
                                const struct awq_options *options,
                                const struct quant_output *output, const char *out,
                                struct error *err)
{
    struct quantizer *q = NULL;
    TRY(quantizer_open(ck, output, device_pool(options->device), out, &q, err));
    struct writing writing = {q, ck, options};
    quantizer_watch(q, options->progress, options->user, 0);
    if (!output->by_role)
        quantizer_layer(q, -1, NULL, err);
    if (err->code != OK || awq_search(ck, text, options, take_layer, &writing, err) != OK) {
        quantizer_destroy(q);
        return err->code;
    }
    return quantizer_finish(q, err);
}

enum status awq_text_read(const struct checkpoint *ck, const char *path, struct calib_text *out,
                          struct error *err)
{
    int length = ck->config.max_positions < AWQ_WINDOW ? ck->config.max_positions : AWQ_WINDOW;
    return calib_text_read(path, ck, awq_windows(&ck->config), length, out, err);
}

enum status quantize_awq(const struct checkpoint *ck, const struct quantize_options *options,
                         const struct quant_output *output, const char *out,
                         engine_progress *progress, void *user, struct error *err)
{
    struct awq_options search = {
        .group = output->group, .device = options->device, .progress = progress, .user = user};
    struct calib_text text = {0};
    char *shipped = NULL;
    if (search.group > MOMENTS_GROUP_MAX)
        return FAIL(err, ERR_UNSUPPORTED, "int4-awq: groups of %d inputs (at most %d)",
                    search.group, MOMENTS_GROUP_MAX);
    if (!options->calib)
        TRY(calib_default(&shipped, err));
    if (awq_text_read(ck, options->calib ? options->calib : shipped, &text, err) == OK)
        write_folder(ck, &text, &search, output, out, err);
    calib_text_fini(&text);
    free(shipped);
    return err->code;
}
