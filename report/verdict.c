// verdict.c - the first screen: the best figures, what limits them, and what failed.
//
// It has one card per model, in plain sentences. "Best" is the best median among undisturbed cells. If every cell was
// disturbed, it is the best of those, and the card says so. A sentence about a bound describes one cell.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "report/html.h"
#include "report/page.h"
#include "results/basis.h"
#include "results/metric.h"

// ---- the best cell of a model -------------------------------------------------------------------

// Whether a cell's figure beats that of `best` (NULL: it is the first): first by whether it was disturbed.
static bool beats(const struct cell_row *cell, double v, const struct cell_row *best, double value,
                  bool lowest)
{
    bool ok = str_equal(cell->status, "ok"), best_ok = best && str_equal(best->status, "ok");
    if (!best || ok != best_ok)
        return !best || ok;
    return lowest ? v < value : v > value;
}

// The model's measured cell with the best median; if `single`, only batch 1. Disturbed cells are used only if all are
// disturbed.
static const struct cell_row *best_cell(const struct report_data *data, const char *model,
                                        const char *metric, const char *phase, bool single,
                                        bool lowest)
{
    const struct cell_row *best = NULL;
    double value = NAN;
    for (size_t i = 0; i < data->cell_count; i++) {
        const struct cell_row *cell = &data->cells[i];
        double v = report_data_value(data, cell, metric, phase); // NaN: it failed
        if (!str_equal(cell->model, model) || isnan(v) || (single && cell->batch != 1))
            continue;
        if (beats(cell, v, best, value, lowest)) {
            best = cell;
            value = v;
        }
    }
    return best;
}

static void where_text(struct str *out, const struct cell_row *cell, const char *phase)
{
    html_textf(out, "%s on %s, batch %d, context %d", cell->scheme, cell->device, cell->batch,
               cell->context);
    if (cell->caveat[0])
        html_textf(out, "; %s", cell->caveat);
    if (cell->step[0] && str_equal(phase, "decode"))
        html_textf(out, "; decode step: %s", cell->step);
}

static void big_number(struct str *out, const struct report_data *data, const struct cell_row *cell,
                       const char *metric, const char *phase, const char *unit, const char *what)
{
    str_append(out, "<div><b>");
    html_figure(out, cell ? report_data_figure(data, cell, metric, phase) : NULL, unit);
    str_append(out, "</b><span>");
    str_append(out, what);
    if (cell) {
        str_append(out, "<br>");
        where_text(out, cell, phase);
        if (!str_equal(cell->status, "ok")) {
            str_append(out, "<br>");
            html_status(out, cell->status);
        }
    }
    str_append(out, "</span></div>");
}

// ---- what limits a phase ------------------------------------------------------------------------

static bool is_inefficient(const struct verdict_row *v)
{
    return str_equal(v->finding, FINDING_INEFFICIENT);
}

const char *page_limit_word(const struct verdict_row *v)
{
    return is_inefficient(v) ? "inefficient" : v->bound;
}

// "15 % of what memory allows", "88 % of the roof".
static bool share_words(struct str *out, const struct verdict_row *v)
{
    char share[64];
    bool range = metric_share(v->eta, v->eta_low, v->eta_high, share, sizeof share);
    if (is_inefficient(v))
        html_textf(out, "%s of what %s", share, metric_allows(v->bound));
    else
        html_textf(out, "%s of the roof", share);
    return range;
}

// The same in a sentence, with what made it a range.
static void share_sentence(struct str *out, const struct verdict_row *v)
{
    if (!share_words(out, v))
        return;
    str_append(out, " (");
    page_term(out, "bandwidth-moved", "bandwidth moved");
    html_textf(out, " by %.0f %% while it ran)", 100 * v->bandwidth_moved);
}

void page_limit(struct str *out, const struct verdict_row *v)
{
    if (!v)
        return;
    html_text(out, page_limit_word(v));
    str_append(out, " <small>");
    if (!isnan(v->eta))
        share_words(out, v);
    str_append(out, "</small>");
}

// "Decode is inefficient here: 15 % of what memory allows; down loses most, 60 % of what is lost."
static void inefficient_sentence(struct str *out, const struct verdict_row *v)
{
    str_append(out, "is inefficient here: ");
    share_sentence(out, v);
    if (v->loss_op)
        html_textf(out, "; %s loses most, %.0f %% of what is lost", v->loss_op,
                   100 * v->loss_share);
    str_append(out, ".</p>");
}

// What limits the phase, without its share.
static void bound_words(struct str *out, const struct verdict_row *v)
{
    bool open = str_equal(v->bound, "undetermined"), disagree = open && v->agree < v->trials;
    if (!open)
        html_textf(out, "is limited by %s",
                   str_equal(v->bound, "balanced") ? "memory and compute alike" : v->bound);
    else if (disagree)
        html_textf(out, "has no clear limit: its %d trials disagree", v->trials);
    else
        str_append(out, "has no clear limit");
    if (v->reason)
        html_textf(out, "%s %s", disagree ? ";" : ":", v->reason);
}

// How far a phase with a clear limit got.
static void reached_words(struct str *out, const struct verdict_row *v)
{
    char share[64];
    bool range = metric_share(v->eta, v->eta_low, v->eta_high, share, sizeof share);
    if (str_equal(v->finding, FINDING_WRONG)) {
        html_textf(out,
                   ": it is at %.0f %% of the measured roof, which cannot be, so the model of its "
                   "work or a ceiling is wrong",
                   100 * v->eta);
        return;
    }
    str_append(out, ": it reaches ");
    if (range) {
        share_sentence(out, v);
        return;
    }
    html_textf(out, "%s of the measured ", share);
    page_term(out, "roof", "roof");
    html_textf(out, ", so perfect kernels would be %.1f times as fast", fmax(1, 1 / v->eta));
}

// "Decode is limited by memory: it reaches 88 % of the measured roof, ..."
void page_phase_limit(struct str *out, const struct report_data *data, const struct cell_row *cell,
                      const char *phase, const char *name)
{
    const struct verdict_row *v = cell ? report_data_verdict(data, cell, phase) : NULL;
    if (v == NULL)
        return;
    str_printf(out, "<p><b>%s</b> ", name);
    if (is_inefficient(v)) {
        inefficient_sentence(out, v);
        return;
    }
    bound_words(out, v);
    if (str_equal(v->bound, "undetermined") || str_equal(v->bound, "overhead")) {
        if (!isnan(v->eta)) {
            str_append(out, ", ");
            share_sentence(out, v);
        }
    } else if (!isnan(v->eta)) {
        reached_words(out, v);
    }
    str_append(out, ".</p>");
}

// Why a model has no figure at all.
static void no_speed(struct str *out, const struct report_data *data, const char *model)
{
    size_t pending = 0;
    for (size_t i = 0; i < data->cell_count; i++)
        pending +=
            str_equal(data->cells[i].model, model) && str_equal(data->cells[i].status, "pending");
    if (pending)
        str_printf(out, "<p>No speed was measured: %zu of its cells %s not run yet.</p></section>",
                   pending, pending == 1 ? "has" : "have");
    else
        str_append(out, "<p>No speed was measured: every cell failed or was skipped.</p>"
                        "</section>");
}

// Adds a remark if a figure of the card comes from a disturbed cell, which means that no undisturbed cell has it.
static void only_disturbed(struct str *out, const struct cell_row *const *cells, size_t count)
{
    bool disturbed = false;
    for (size_t i = 0; i < count; i++)
        disturbed |= cells[i] && !str_equal(cells[i]->status, "ok");
    if (disturbed)
        str_append(out,
                   "<p class=doubt>Figures marked noisy or throttled come from disturbed cells: "
                   "no undisturbed cell has them.</p>");
}

static void model_card(struct str *out, const struct report_data *data, const char *model)
{
    const struct cell_row *one = best_cell(data, model, METRIC_TPOT, "decode", true, true);
    const struct cell_row *all = best_cell(data, model, METRIC_DECODE_TPS, "decode", false, false);
    const struct cell_row *prefill =
        best_cell(data, model, METRIC_PREFILL_TPS, "prefill", false, false);
    const struct cell_row *ttft = best_cell(data, model, METRIC_TTFT, "prefill", true, true);
    str_append(out, "<section class=model><h3>");
    html_text(out, model[0] ? model : "(no name)");
    str_append(out, "</h3>");
    if (!one && !all && !prefill && !ttft) {
        no_speed(out, data, model);
        return;
    }
    str_append(out, "<div class=big>");
    big_number(out, data, one, METRIC_DECODE_TPS, "decode", "token/s", "decode, one user");
    if (all && all != one && all->batch > 1)
        big_number(out, data, all, METRIC_DECODE_TPS, "decode", "token/s", "decode, all users");
    big_number(out, data, prefill, METRIC_PREFILL_TPS, "prefill", "token/s", "prefill");
    big_number(out, data, ttft, METRIC_TTFT, "prefill", "ns", "time to first token");
    str_append(out, "</div>");
    const struct cell_row *const shown[] = {one, all && all->batch > 1 ? all : NULL, prefill, ttft};
    only_disturbed(out, shown, sizeof shown / sizeof shown[0]);
    page_phase_limit(out, data, one ? one : all, "decode", one ? "Decode for one user" : "Decode");
    page_phase_limit(out, data, prefill, "prefill", "Prefill");
    str_append(out, "</section>");
}

// ---- the run ------------------------------------------------------------------------------------

static void count_cells(const struct report_data *data, size_t *measured, size_t *disturbed,
                        size_t *failed, size_t *left_out, size_t *pending)
{
    *measured = *disturbed = *failed = *left_out = *pending = 0;
    for (size_t i = 0; i < data->cell_count; i++) {
        const struct cell_row *cell = &data->cells[i];
        *measured += query_cell_measured(cell);
        *disturbed += query_cell_measured(cell) && !str_equal(cell->status, "ok");
        *failed += query_cell_failed(cell);
        *left_out += query_cell_left_out(cell);
        *pending += str_equal(cell->status, "pending");
    }
}

// Letters of a reason before its first number: what disturbed the cell.
static size_t reason_kind(const char *reason)
{
    return strcspn(reason, "0123456789;");
}

static int compare_kinds(const struct cell_row *a, const struct cell_row *b)
{
    size_t a_letters = reason_kind(a->reason), b_letters = reason_kind(b->reason);
    int order = strncmp(a->reason, b->reason, a_letters < b_letters ? a_letters : b_letters);
    return order ? order : (a_letters > b_letters) - (a_letters < b_letters);
}

// For qsort: by kind, cells of one kind in their own order.
static int by_kind(const void *a, const void *b)
{
    const struct cell_row *x = *(const struct cell_row *const *)a;
    const struct cell_row *y = *(const struct cell_row *const *)b;
    int order = compare_kinds(x, y);
    return order ? order : (x > y) - (x < y);
}

// The reason that most of the disturbed cells share, with the figures of the first of them.
static void commonest_reason(struct str *out, const struct report_data *data)
{
    const struct cell_row *first = NULL;
    size_t count = 0, most = 0;
    const struct cell_row **cells = calloc(data->cell_count + 1, sizeof *cells);
    out->failed |= cells == NULL;
    for (size_t i = 0; cells && i < data->cell_count; i++) {
        const struct cell_row *cell = &data->cells[i];
        if (query_cell_measured(cell) && !str_equal(cell->status, "ok") &&
            reason_kind(cell->reason) > 0)
            cells[count++] = cell;
    }
    if (cells)
        qsort(cells, count, sizeof *cells, by_kind);
    for (size_t i = 0, same; i < count; i += same) {
        for (same = 1; i + same < count && compare_kinds(cells[i], cells[i + same]) == 0;)
            same++;
        if (same > most || (same == most && cells[i] < first)) {
            most = same;
            first = cells[i];
        }
    }
    if (first)
        html_textf(out, " The commonest disturbance (%zu %s): %.*s.", most,
                   most == 1 ? "cell" : "cells, here the first", (int)strcspn(first->reason, ";"),
                   first->reason);
    free(cells);
}

static void outcome(struct str *out, const struct report_data *data)
{
    size_t measured, disturbed, failed, left_out, pending;
    count_cells(data, &measured, &disturbed, &failed, &left_out, &pending);
    str_printf(out, "<p>%zu of %zu cells %s measured", measured, data->cell_count,
               measured == 1 ? "was" : "were");
    if (disturbed) {
        str_printf(out, ", <span class=doubt>%zu of them disturbed</span> (", disturbed);
        page_term(out, "noisy", "noisy");
        str_append(out, " or ");
        page_term(out, "throttled", "throttled");
        str_append(out, ")");
    }
    str_append(out, "; ");
    if (failed)
        str_printf(out, "<a href=\"#failed\"><span class=bad>%zu failed</span></a>", failed);
    else
        str_append(out, "none failed");
    if (left_out)
        str_printf(out, "; <a href=\"#failed\">%zu left out</a>", left_out);
    if (pending)
        str_printf(out, "; %zu not run yet", pending);
    str_append(out, ".");
    commonest_reason(out, data);
    if (!str_equal(data->run.status, "done")) {
        str_append(out, " The run did not end: it is ");
        html_status(out, data->run.status);
        str_append(out, ".");
    }
    str_append(out, "</p>");
}

// "AMD EPYC, 2 cores, 24 GiB, virtual machine (kvm)", from the machine record.
void page_machine_words(struct str *out, const struct report_data *data)
{
    const char *processor = report_json_text(data->hardware, "processor.model");
    const char *hypervisor = report_json_text(data->hardware, "virtualization.hypervisor");
    const json_t *topology = json_object_get(data->hardware, "topology");
    const json_t *cores = json_object_get(topology, "cores");
    const json_t *memory = json_object_get(data->hardware, "memory_gib");
    html_text(out, processor ? processor : "unnamed processor");
    if (json_is_integer(cores))
        html_textf(out, ", %lld cores", (long long)json_integer_value(cores));
    if (json_is_integer(memory))
        html_textf(out, ", %lld GiB", (long long)json_integer_value(memory));
    if (hypervisor)
        html_textf(out, ", virtual machine (%s)", hypervisor);
}

// Whether this is the first measured cell on its device.
static bool is_first_of_device(const struct report_data *data, size_t cell)
{
    for (size_t i = 0; i < cell; i++)
        if (query_cell_measured(&data->cells[i]) &&
            str_equal(data->cells[i].device, data->cells[cell].device))
            return false;
    return query_cell_measured(&data->cells[cell]);
}

// The name alone: "NVIDIA H200 (cuda:0)" for "NVIDIA H200, sm_90, driver for CUDA 13.0".
static void device_words(struct str *out, const struct report_data *data, const char *device)
{
    const char *description =
        report_json_text(json_object_get(data->devices, device), "description");
    if (description)
        html_textf(out, "%.*s (%s)", (int)strcspn(description, ","), description, device);
    else
        html_text(out, device);
}

// The devices that the cells ran on. The machine is called the host if all cells ran elsewhere.
static void devices_words(struct str *out, const struct report_data *data)
{
    size_t others = 0;
    bool on_host = false;
    for (size_t i = 0; i < data->cell_count; i++) {
        if (!is_first_of_device(data, i))
            continue;
        if (query_cell_on_host(&data->cells[i])) {
            on_host = true;
            continue;
        }
        str_append(out, others++ ? ", " : "");
        device_words(out, data, data->cells[i].device);
    }
    if (others)
        str_append(out, on_host ? " and " : "; host: ");
    page_machine_words(out, data);
}

// Whether this is the first series of its model.
static bool is_first_of_model(const struct report_data *data, size_t series)
{
    for (size_t i = 0; i < series; i++)
        if (str_equal(data->series[i].model, data->series[series].model))
            return false;
    return true;
}

void page_verdict(struct str *out, const struct report_data *data)
{
    char when[32];
    str_append(out, "<h1>");
    html_text(out, data->run.suite_name);
    str_append(out, " on ");
    devices_words(out, data);
    str_append(out, "</h1><p class=soft>");
    clock_iso8601(data->run.started_ns, when, sizeof when); // 2026-11-28T21:51:21Z
    html_textf(out, "Run %lld, %.10s %.5s UTC", (long long)data->run.id, when, when + 11);
    if (data->run.ended_ns > data->run.started_ns) {
        char took[32];
        html_textf(
            out, ", took %s",
            format_wait_ns((double)(data->run.ended_ns - data->run.started_ns), took, sizeof took));
    }
    str_append(out, "</p>");
    outcome(out, data);
    str_append(out, "<div class=models>");
    for (size_t i = 0; i < data->series_count; i++)
        if (is_first_of_model(data, i))
            model_card(out, data, data->series[i].model);
    str_append(out, "</div>");
}
