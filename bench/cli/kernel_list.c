// kernel_list.c - `bench kernel list`: the rows of the registry, with what each needs and whether it runs here.
#include <stdio.h>

#include <jansson.h>

#include "base/str.h"
#include "base/words.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/view.h"
#include "kernels/kernels.h"

static void print_row(const struct kernel *k, const char *tiers, bool runs)
{
    printf("%-34s %-10s %-7s %-7s %-24s %s\n", k->name, kernel_op_name(k->op), dtype_name(k->w),
           dtype_name(k->x), tiers, runs ? "yes" : "no");
}

static json_t *json_row(const struct kernel *k, const char *tiers, bool runs)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "kernel", k->name, "op",
                     kernel_op_name(k->op), "weights", dtype_name(k->w), "activations",
                     dtype_name(k->x), "tiers", tiers, "runs", runs);
}

// Lists the rows of the device's kind, whether or not the device is available. A column says which rows it can run.
static enum status list_rows(const char *pattern, const struct device_info *info, json_t *rows,
                             struct error *err)
{
    size_t count, matched = 0;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        char tiers[128];
        if (table[i].where != info->kind || !str_glob(pattern, table[i].name))
            continue;
        bool runs = info->available && kernel_runs_on(&table[i], device_info_target(info));
        device_isa_text(info->kind, table[i].isa, tiers, sizeof tiers);
        if (rows)
            json_array_append_new(rows, json_row(&table[i], tiers, runs));
        else if (matched == 0)
            printf("%-34s %-10s %-7s %-7s %-24s %s\n", "kernel", "op", "weights", "inputs", "tiers",
                   "runs here");
        if (!rows)
            print_row(&table[i], tiers, runs);
        matched++;
    }
    if (matched)
        return OK;
    char hint[WORDS_HINT_BYTES];
    if (!info->available && str_equal(pattern, "*")) // this build has no rows of that kind
        return FAIL(err, ERR_UNSUPPORTED, "--device %s: %s", info->name, info->reason);
    return FAIL(err, ERR_USAGE, "no kernel for %s matches '%s'%s", info->name, pattern,
                kernel_hint(pattern, info->kind, hint, sizeof hint));
}

static enum exit_code run_list(const struct arguments *args, struct error *err)
{
    struct device_info info;
    const char *pattern;
    json_t *rows = cli_flag_bool(args, "json") ? json_array() : NULL;
    if (cli_kernel_pattern(args, &pattern, err) == OK &&
        device_find(cli_flag_string(args, "device"), &info, err) != OK)
        error_context(err, "--device");
    if (err->code == OK && list_rows(pattern, &info, rows, err) == OK && rows)
        cli_view_json(json_incref(rows), err);
    json_decref(rows);
    return cli_exit_code(err);
}

static const struct flag list_flags[] = {
    DEVICE_FLAG,
    {.name = "json", .type = FLAG_BOOL, .help = "print JSON"},
    {0},
};

const struct command command_kernel_list = {
    .name = "kernel list",
    .positional = "[PATTERN]",
    .max_positional = 1,
    .summary = "list the kernels of a kind of device",
    .details =
        "PATTERN is matched against the names of the variants (k_gemm_*). Rows of one operation\n"
        "and types are in rising order of speed: the last that runs here is the one in use.",
    .flags = list_flags,
    .run = run_list,
};
