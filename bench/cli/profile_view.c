// profile_view.c - prints a profile: fields, one table a phase, overhead, kernels, what would help.
#include "bench/cli/profile_view.h"

#include <math.h>
#include <stdio.h>

#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/view.h"
#include "results/basis.h"
#include "results/export.h"
#include "results/metric.h"

enum { KERNELS_SHOWN = 6, GAINS_SHOWN = 6 };

// ---- text -------------------------------------------------------------------------------------------------

static void value_cell(struct table *table, double value, const char *unit)
{
    char text[64];
    table_cell(table, "%s", isnan(value) ? "" : metric_format(value, unit, text, sizeof text));
}

static void share_cell(struct table *table, double share)
{
    if (isnan(share))
        table_cell(table, "%s", "");
    else
        table_cell(table, share > 0 && share < 0.0005 ? "<0.1 %%" : "%.1f %%", 100 * share);
}

// "memory, 57 % of the roof"; "inefficient, 6 % of what memory allows".
static const char *limit_words(const struct verdict_row *v, char *out, size_t out_bytes)
{
    char share[48] = "";
    bool inefficient = v && str_equal(v->finding, FINDING_INEFFICIENT);
    out[0] = '\0';
    if (!v)
        return out;
    metric_share(v->eta, v->eta_low, v->eta_high, share, sizeof share);
    if (isnan(v->eta))
        snprintf(out, out_bytes, "%s", v->bound);
    else if (inefficient)
        snprintf(out, out_bytes, "inefficient, %s of what %s", share, metric_allows(v->bound));
    else
        snprintf(out, out_bytes, "%s, %s of the roof%s", v->bound, share,
                 str_equal(v->finding, FINDING_WRONG) ? ": the model or a ceiling is wrong" : "");
    return out;
}

static void print_head(const struct profile *p)
{
    const struct cell_row *cell = p->cell;
    struct str status = {0};
    str_printf(&status, "%s%s%s", cell->status, cell->reason[0] ? ": " : "", cell->reason);
    cli_view_field("cell", cell->label);
    cli_view_field("status", str_text(&status));
    cli_view_field("arithmetic", cell->arithmetic[0] ? cell->arithmetic : "not reported");
    if (cell->step[0])
        cli_view_field("decode step", cell->step);
    if (cell->products[0])
        cli_view_parts("products", cell->products);
    str_fini(&status);
}

static enum status print_classes(const struct profile_phase *phase, struct error *err)
{
    static const char *const heads[] = {"class",          ">time",
                                        ">share",         "3>bytes",
                                        "4>operations",   "1>of the bandwidth",
                                        "2>of the peak",  "5>roof",
                                        "what limits it", NULL};
    struct table table;
    table_begin(&table, heads);
    for (size_t i = 0; i < phase->class_count; i++) {
        const struct profile_class *c = &phase->classes[i];
        char limit[128];
        table_cell(&table, "%s", c->op);
        value_cell(&table, c->time_ns, "ns");
        share_cell(&table, c->share);
        value_cell(&table, c->bytes, "bytes");
        value_cell(&table, c->flop, "FLOP");
        share_cell(&table, c->memory_share);
        share_cell(&table, c->compute_share);
        value_cell(&table, c->roof_ns, "ns");
        table_cell(&table, "%s", limit_words(c->verdict, limit, sizeof limit));
    }
    return cli_view_table(&table, err);
}

static enum status print_parts(const struct profile_phase *phase, struct error *err)
{
    static const char *const heads[] = {"overhead", ">time", ">share", "what it is", NULL};
    struct table table;
    table_begin(&table, heads);
    for (size_t i = 0; i < phase->part_count; i++) {
        const struct profile_part *part = &phase->parts[i];
        char text[64];
        table_cell(&table, "%s", part->name);
        table_cell(&table, "%s", metric_format(part->ns, "ns", text, sizeof text));
        share_cell(&table, part->ns / phase->time_ns);
        table_cell(&table, "%s", part->note);
    }
    return cli_view_table(&table, err);
}

static enum status print_kernels(const struct profile_phase *phase, struct error *err)
{
    static const char *const heads[] = {">time", ">share", "kernel", NULL};
    struct table table;
    if (phase->kernel_count == 0)
        return OK;
    printf("\n%.0f launches; the kernels that take most:\n", phase->launches);
    table_begin(&table, heads);
    for (size_t i = 0; i < phase->kernel_count && i < KERNELS_SHOWN; i++) {
        value_cell(&table, phase->kernels[i].ns, "ns");
        share_cell(&table, phase->kernels[i].ns / phase->time_ns);
        table_cell(&table, "%s", phase->kernels[i].name);
    }
    return cli_view_table(&table, err);
}

static enum status print_phase(const struct profile_phase *phase, struct error *err)
{
    char time[64], token[64];
    struct str head = {0}, sum = {0};
    str_printf(&head, "%s, %s: %s", phase->name, phase->unit,
               metric_format(phase->time_ns, "ns", time, sizeof time));
    if (phase->analytic)
        str_printf(&head, ". By counted bytes: %s. By analytic bytes: %s.", phase->verdict->text,
                   phase->analytic->text);
    else if (phase->verdict)
        str_printf(&head, "; %s", phase->verdict->text);
    printf("\n");
    table_text(stdout, 0, plain_columns(stdout), str_text(&head));
    str_fini(&head);
    if (!isnan(phase->energy.token_j))
        printf("energy: %s a token, %.1f W\n",
               metric_format(phase->energy.token_j, "J", token, sizeof token),
               phase->energy.power_w);
    TRY(print_classes(phase, err));
    report_profile_sum(phase, &sum);
    table_text(stdout, 0, plain_columns(stdout), str_text(&sum));
    str_fini(&sum);
    printf("\n");
    TRY(print_parts(phase, err));
    return print_kernels(phase, err);
}

static enum status print_gains(const struct profile *p, struct error *err)
{
    static const char *const heads[] = {"change",     "in",           ">saves",
                                        ">the phase", ">the request", NULL};
    struct table table;
    if (p->gain_count == 0)
        return OK;
    const struct profile_gain *g = &p->gains[0];
    struct str most = {0};
    str_printf(&most, "%s, in %s. %s", g->what, g->phase->name, g->words);
    printf("\n");
    cli_view_field("helps most", str_text(&most));
    str_fini(&most);
    table_begin(&table, heads);
    for (size_t i = 0; i < p->gain_count && i < GAINS_SHOWN; i++) {
        table_cell(&table, "%s", p->gains[i].what);
        table_cell(&table, "%s", p->gains[i].phase->name);
        value_cell(&table, p->gains[i].saved_ns, "ns");
        table_cell(&table, "%.2f x", p->gains[i].phase_gain);
        table_cell(&table, "%.2f x", p->gains[i].request_gain);
    }
    return cli_view_table(&table, err);
}

static void print_missing(const struct profile *p)
{
    printf("\n");
    cli_view_field("verdicts", p->counted ? "from hardware counters, next to the analytic ones"
                                          : "analytic: bytes and operations are computed from the "
                                            "shapes, not counted");
    for (size_t i = 0; i < p->missing_count; i++) {
        struct str text = {0};
        str_printf(&text, "%s: %s", p->missing[i].instrument, p->missing[i].reason);
        cli_view_field(i ? "" : "not measured", str_text(&text));
        str_fini(&text);
    }
}

enum status cli_profile_print(const struct profile *p, struct error *err)
{
    print_head(p);
    for (size_t i = p->phase_count; i-- > 0;)
        TRY(print_phase(&p->phases[i], err));
    TRY(print_gains(p, err));
    print_missing(p);
    return OK;
}

// ---- JSON -------------------------------------------------------------------------------------------------

static json_t *class_json(const struct profile_class *c)
{
    return json_pack("{ss so so so so so so so so}", "op", c->op, "time_ns",
                     export_json_number(c->time_ns), "share", export_json_number(c->share), "bytes",
                     export_json_number(c->bytes), "flop", export_json_number(c->flop),
                     "memory_share", export_json_number(c->memory_share), "compute_share",
                     export_json_number(c->compute_share), "roof_ns",
                     export_json_number(c->roof_ns), "verdict",
                     c->verdict ? export_verdict(c->verdict) : json_null());
}

static json_t *phase_json(const struct profile_phase *phase)
{
    json_t *classes = json_array(), *parts = json_array(), *kernels = json_array();
    for (size_t i = 0; i < phase->class_count; i++)
        json_array_append_new(classes, class_json(&phase->classes[i]));
    for (size_t i = 0; i < phase->part_count; i++)
        json_array_append_new(parts,
                              json_pack("{ss so sb ss}", "name", phase->parts[i].name, "time_ns",
                                        export_json_number(phase->parts[i].ns), "within_classes",
                                        (int)phase->parts[i].within, "note", phase->parts[i].note));
    for (size_t i = 0; i < phase->kernel_count; i++)
        json_array_append_new(kernels,
                              json_pack("{so so}", "name", export_json_text(phase->kernels[i].name),
                                        "time_ns", export_json_number(phase->kernels[i].ns)));
    return json_pack("{ss so so so so so so so so so so so so so}", "phase", phase->name, "time_ns",
                     export_json_number(phase->time_ns), "times", export_json_number(phase->times),
                     "accounted", export_json_number(report_profile_accounted(phase)),
                     "energy_token_j", export_json_number(phase->energy.token_j), "power_w",
                     export_json_number(phase->energy.power_w), "classes", classes, "overhead",
                     parts, "kernels", kernels, "verdict",
                     phase->verdict ? export_verdict(phase->verdict) : json_null(), "layer_time_ns",
                     export_json_number(phase->layer_ns), "layer_time_most_ns",
                     export_json_number(phase->layer_most_ns), "slowest_layer",
                     export_json_text(phase->layer_most), "verdict_analytic",
                     phase->analytic ? export_verdict(phase->analytic) : json_null());
}

json_t *cli_profile_json(const struct profile *p)
{
    json_t *root = export_cell(p->cell), *phases = json_array(), *gains = json_array(),
           *missing = json_array();
    for (size_t i = 0; i < p->phase_count; i++)
        json_array_append_new(phases, phase_json(&p->phases[i]));
    for (size_t i = 0; i < p->gain_count; i++)
        json_array_append_new(
            gains, json_pack("{ss ss ss so so so}", "what", p->gains[i].what, "phase",
                             p->gains[i].phase->name, "words", p->gains[i].words, "saved_ns",
                             export_json_number(p->gains[i].saved_ns), "phase_gain",
                             export_json_number(p->gains[i].phase_gain), "request_gain",
                             export_json_number(p->gains[i].request_gain)));
    for (size_t i = 0; i < p->missing_count; i++)
        json_array_append_new(missing, json_pack("{ss so}", "instrument", p->missing[i].instrument,
                                                 "reason", export_json_text(p->missing[i].reason)));
    json_object_set_new(root, "run", json_integer(p->cell->run));
    json_object_set_new(root, "phases", phases);
    json_object_set_new(root, "gains", gains);
    json_object_set_new(root, "not_measured", missing);
    return root;
}
