// load_model.c - turns a checkpoint into a model on a device: calibrates it if the scheme needs that, then packs it.
//
// Only this file knows both formats and calibration. Below it, model/ knows neither.
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/source.h"
#include "engine/model/model.h"
#include "engine/quantize/awq_folder.h"

// The products inside the layers, and how many of them the checkpoint stores as codes in the format of the
// scheme's weights; the group of the first.
struct stored_products {
    int all, stored, group;
};

static struct stored_products count_stored(const struct checkpoint *ck, enum dtype type)
{
    struct stored_products count = {0};
    for (int role = 0; role < T_ROLE_COUNT && !ck->synthetic; role++) {
        enum tensor_role r = (enum tensor_role)role;
        if (!tensor_role_is_product(r) || !tensor_shape(&ck->config, r).rows)
            continue;
        for (int layer = 0; layer < ck->config.layers; layer++) {
            struct stored_quant q;
            count.all++;
            if (!ck->ops->quantization || !ck->ops->quantization(ck->self, r, layer, &q) ||
                q.type != type || (count.stored && q.group != count.group))
                continue;
            count.group = q.group;
            count.stored++;
        }
    }
    return count;
}

static bool is_gguf(const struct checkpoint *ck)
{
    return str_equal(ck->ops->format, "gguf");
}

// Whether int4-awq uses the checkpoint's own codes. (Codes of GGUF are not AWQ's.)
static bool has_awq_codes(const struct checkpoint *ck)
{
    return !is_gguf(ck) && count_stored(ck, DT_I4).stored;
}

// Whether a scheme runs only the codes of a GGUF file.
static bool needs_gguf(const struct scheme *row)
{
    return str_equal(row->name, "q4_0") || str_equal(row->name, "q8_0");
}

// Adds the source of the codes to the arithmetic, unless they are rounded to nearest.
static void tell_codes(const struct stored_products *count, const struct calibration *calibration,
                       bool random, struct scheme *s)
{
    size_t used = strlen(s->arithmetic), room = sizeof s->arithmetic - used;
    if (calibration->path[0])
        snprintf(s->arithmetic + used, room, "; codes by awq on text %.8s", calibration->text);
    else if (count->stored == count->all && count->stored)
        snprintf(s->arithmetic + used, room, "; codes as stored");
    else if (count->stored)
        snprintf(s->arithmetic + used, room,
                 "; codes of %d products as stored, of %d rounded to nearest", count->stored,
                 count->all - count->stored);
    else if (random && (str_equal(s->name, "int4-awq") || needs_gguf(s)))
        snprintf(s->arithmetic + used, room,
                 "; codes rounded to nearest: random weights are not calibrated");
}

static enum status scheme_of(const struct checkpoint *ck, const struct scheme *asked,
                             struct device_target target, const struct calibration *calibration,
                             struct scheme *out, struct error *err)
{
    struct scheme row = *asked;
    struct stored_products count = count_stored(ck, row.weights);
    if (needs_gguf(&row) && !(is_gguf(ck) && count.stored) && !ck->synthetic)
        return FAIL(
            err, ERR_UNSUPPORTED,
            "%s is not a GGUF file in %s, and this scheme only runs the codes of such a file",
            ck->config.name, row.name);
    if (str_equal(row.name, "int4-awq") && is_gguf(ck))
        count = (struct stored_products){0}; // the checkpoint is calibrated instead
    if (count.stored && dtype_is_grouped(row.weights))
        row.group = count.group;
    *out = scheme_resolve(&row, row.head, target);
    tell_codes(&count, calibration, ck->synthetic, out);
    return OK;
}

enum status checkpoint_scheme(const struct checkpoint *ck, const struct scheme *row,
                              struct device_target target, struct scheme *out, struct error *err)
{
    struct calibration none = {0};
    return scheme_of(ck, row, target, &none, out, err);
}

// Calibration runs on a host with all its tiers, so that codes depend on no flag. It uses the model's device if that is
// such a host, else a separate one.
static enum status calibration_device(struct device *model, struct device **out,
                                      struct device **own, struct error *err)
{
    struct device_target target = device_target(model);
    *out = model;
    if (target.where == DEVICE_HOST && target.isa == device_isa_host())
        return OK;
    struct device_options options = {
        .threads = device_pool(model) ? device_info(model)->units : 0, .pin = true, .isa = ISA_ALL};
    TRY(device_open(DEVICE_DEFAULT, &options, own, err));
    *out = *own;
    return OK;
}

static bool needs_calibration(const struct checkpoint *ck)
{
    return !ck->synthetic && !has_awq_codes(ck);
}

enum status checkpoint_calibration_check(const struct checkpoint *ck, const char *calib,
                                         struct error *err)
{
    struct calib_text text = {0};
    if (!needs_calibration(ck))
        return OK;
    awq_text_read(ck, calib, &text, err);
    calib_text_fini(&text);
    return err->code;
}

// The checkpoint that provides the codes: a calibrated one if the scheme needs AWQ codes and there are none.
static enum status calibrate(struct checkpoint *ck, const struct engine_options *options,
                             void *user, struct checkpoint **made, struct calibration *result,
                             struct error *err)
{
    struct quantize_options wanted = {.scheme = "int4-awq", .calib = options->calib};
    struct device *own = NULL;
    *made = NULL;
    if (!str_equal(options->scheme->name, "int4-awq") || !needs_calibration(ck))
        return OK;
    TRY(calibration_device(options->device, &wanted.device, &own, err));
    checkpoint_calibrated(ck, &wanted, options->calibrating, user, made, result, err);
    device_close(own);
    return err->code;
}

enum status model_load(struct checkpoint *ck, const struct engine_options *options,
                       engine_progress *progress, void *user, struct model **out, struct error *err)
{
    *out = NULL;
    struct checkpoint *made = NULL;
    struct calibration calibration = {0};
    struct scheme scheme;
    if (calibrate(ck, options, user, &made, &calibration, err) == OK) {
        struct checkpoint *from = made ? made : ck;
        struct engine_options resolved = *options;
        resolved.scheme = &scheme;
        if (scheme_of(from, options->scheme, device_target(options->device), &calibration, &scheme,
                      err) == OK)
            model_create(&from->config, from, &resolved, progress, user, out, err);
    }
    checkpoint_destroy(made);
    if (err->code != OK)
        return error_context(err, "%s in %s", ck->config.name, options->scheme->name);
    (*out)->calibration = calibration;
    return OK;
}
