// profile_page.c - a profile as one page: what would help, each phase class by class, overhead, energy.
#include <math.h>
#include <stdlib.h>

#include "report/html.h"
#include "report/page.h"
#include "report/profile.h"
#include "results/metric.h"

enum { GAINS_SHOWN = 6 };

// ---- small pieces -----------------------------------------------------------------------------------------

static void cell_value(struct str *out, double value, const char *unit)
{
    str_append(out, "<td class=n>");
    html_value(out, value, unit);
    str_append(out, "</td>");
}

// "42 %"; nothing where it is not known.
static void cell_share(struct str *out, double share)
{
    str_append(out, "<td class=n>");
    if (!isnan(share))
        html_textf(out, share > 0 && share < 0.0005 ? "under 0.1 %%" : "%.1f %%", 100 * share);
    str_append(out, "</td>");
}

static void cell_text(struct str *out, const char *class, const char *text)
{
    str_printf(out, "<td class=%s>", class);
    html_text(out, text);
    str_append(out, "</td>");
}

static void big(struct str *out, const struct profile *p, const char *metric, const char *phase,
                const char *unit, const char *what)
{
    const struct stat_summary *figure = report_data_figure(p->data, p->cell, metric, phase);
    if (!figure)
        return;
    str_append(out, "<div><b>");
    html_figure(out, figure, unit);
    str_printf(out, "</b><span>%s</span></div>", what);
}

// ---- the first screen -------------------------------------------------------------------------------------

static void headline(struct str *out, const struct profile *p)
{
    const struct cell_row *cell = p->cell;
    str_append(out, "<h1>Where the time goes: ");
    html_text(out, cell->label);
    str_append(out, "</h1><p class=soft>");
    page_machine_words(out, p->data);
    const json_t *device = json_object_get(p->data->devices, cell->device);
    const char *words = report_json_text(device, "description");
    if (words && !query_cell_on_host(cell))
        html_textf(out, "; %s: %s", cell->device, words);
    html_textf(out, "; %s", cell->arithmetic[0] ? cell->arithmetic : "arithmetic not reported");
    if (cell->caveat[0])
        html_textf(out, "; %s", cell->caveat);
    if (cell->step[0])
        html_textf(out, "; decode step: %s", cell->step);
    if (cell->products[0])
        html_textf(out, "; prefill products: %s", cell->products);
    str_append(out, ".</p>");
    if (str_equal(cell->status, "ok"))
        return;
    str_append(out, "<p class=note>The cell is ");
    html_status(out, cell->status);
    html_textf(out, ": %s.", cell->reason);
    str_append(out, "</p>");
}

static void summary(struct str *out, const struct profile *p)
{
    str_append(out, "<div class=models><section class=model><div class=big>");
    big(out, p, METRIC_TPOT, "decode", "ns", "one decode step");
    big(out, p, METRIC_DECODE_TPS, "decode", "token/s", "decode");
    big(out, p, METRIC_PREFILL_TIME, "prefill", "ns", "the whole prefill");
    big(out, p, METRIC_PREFILL_TPS, "prefill", "token/s", "prefill");
    big(out, p, METRIC_ENERGY_TOKEN, "decode", "J", "a generated token");
    str_append(out, "</div>");
    page_phase_limit(out, p->data, p->cell, "decode", "Decode");
    page_phase_limit(out, p->data, p->cell, "prefill", "Prefill");
    str_append(out, "</section></div>");
}

static void gain_row(struct str *out, const struct profile_gain *g)
{
    str_append(out, "<tr>");
    cell_text(out, "name", g->what);
    cell_text(out, "name", g->phase->name);
    cell_value(out, g->saved_ns, "ns");
    str_printf(out, "<td class=n>%.2f times</td><td class=n>%.2f times</td></tr>", g->phase_gain,
               g->request_gain);
}

static void most(struct str *out, const struct profile *p)
{
    static const char *const heads[] = {"change",     "in",           ">saves",
                                        ">the phase", ">the request", NULL};
    if (p->gain_count == 0) {
        str_append(out, "<p class=none>No change was found that would help: nothing was timed, or "
                        "all of it is at its roof.</p>");
        return;
    }
    const struct profile_gain *g = &p->gains[0];
    str_append(out, "<div class=most><p>What would help most</p><p><b>");
    html_textf(out, "%s, in %s", g->what, g->phase->name);
    str_append(out, "</b></p><p>");
    html_text(out, g->words);
    str_append(out, "</p></div><details><summary>What else would help</summary>");
    page_table_head(out, heads);
    for (size_t i = 0; i < p->gain_count && i < GAINS_SHOWN; i++)
        gain_row(out, &p->gains[i]);
    page_table_end(out);
    str_append(out, "<p class=soft>Each alone, as the measured roof predicts: a class that reached "
                    "its roof, no gaps, or half the bytes at the loss of today.</p></details>");
}

// ---- a phase ----------------------------------------------------------------------------------------------

static void bar_part(struct str *out, const char *class, const char *name, double share)
{
    if (!(share > 0.0005))
        return;
    str_printf(out, "<span class=\"%s\" style=\"flex:%.4f\" title=\"", class, share);
    html_textf(out, "%s, %.1f %%", name, 100 * share);
    str_append(out, "\">");
    html_text(out, name);
    str_append(out, "</span>");
}

// Where no class has a time there is nothing to draw.
static bool has_shares(const struct profile_phase *phase)
{
    for (size_t i = 0; i < phase->class_count; i++)
        if (phase->classes[i].share > 0)
            return true;
    return false;
}

static void bar(struct str *out, const struct profile_phase *phase)
{
    if (!has_shares(phase))
        return;
    str_append(out, "<div class=bar>");
    for (size_t i = 0; i < phase->class_count; i++) {
        const struct profile_class *c = &phase->classes[i];
        bar_part(out, c->verdict ? c->verdict->bound : "", c->op, c->share);
    }
    for (size_t i = 0; i < phase->part_count; i++)
        if (!phase->parts[i].within)
            bar_part(out, "", phase->parts[i].name, phase->parts[i].ns / phase->time_ns);
    str_append(out, "</div>");
}

static void class_row(struct str *out, const struct profile_phase *phase,
                      const struct profile_class *c)
{
    str_append(out, "<tr>");
    cell_text(out, "name", c->op);
    if (phase->apart_ns > 0)
        str_append(out, "<td class=n></td>"); // measured, but no part: the sentence below says why
    else
        cell_value(out, c->time_ns, "ns");
    cell_share(out, c->share);
    str_printf(out, "<td class=\"limit %s\">", c->verdict ? c->verdict->bound : "");
    page_limit(out, c->verdict);
    str_append(out, "</td>");
    cell_value(out, c->bytes, "bytes");
    cell_value(out, c->flop, "FLOP");
    cell_share(out, c->memory_share);
    cell_share(out, c->compute_share);
    cell_value(out, c->roof_ns, "ns");
    str_append(out, "</tr>");
}

static void classes(struct str *out, const struct profile_phase *phase)
{
    static const char *const heads[] = {"class#op-class",
                                        ">time",
                                        ">share",
                                        "limit#verdict",
                                        ">bytes#compulsory-bytes",
                                        ">operations",
                                        ">of the bandwidth",
                                        ">of the peak",
                                        ">roof#roof",
                                        NULL};
    struct str sum = {0};
    page_table_head(out, heads);
    for (size_t i = 0; i < phase->class_count; i++)
        class_row(out, phase, &phase->classes[i]);
    page_table_end(out);
    report_profile_sum(phase, &sum);
    str_append(out, "<p class=soft>");
    html_text(out, str_text(&sum));
    str_append(out, "</p>");
    out->failed |= sum.failed;
    str_fini(&sum);
}

static void parts(struct str *out, const struct profile_phase *phase)
{
    static const char *const heads[] = {"overhead", ">time", ">share", "what it is", NULL};
    page_table_head(out, heads);
    for (size_t i = 0; i < phase->part_count; i++) {
        const struct profile_part *part = &phase->parts[i];
        str_append(out, "<tr>");
        cell_text(out, "name", part->name);
        cell_value(out, part->ns, "ns");
        cell_share(out, part->ns / phase->time_ns);
        cell_text(out, "words", part->note);
        str_append(out, "</tr>");
    }
    page_table_end(out);
}

static void kernels(struct str *out, const struct profile_phase *phase)
{
    static const char *const heads[] = {"kernel", ">time", ">share", NULL};
    if (phase->kernel_count == 0)
        return;
    str_append(out, "<details><summary>");
    html_textf(out, "The kernels that take most, of %.0f launches", phase->launches);
    str_append(out, "</summary>");
    page_table_head(out, heads);
    for (size_t i = 0; i < phase->kernel_count; i++) {
        str_append(out, "<tr>");
        cell_text(out, "\"name kernel\"", phase->kernels[i].name);
        cell_value(out, phase->kernels[i].ns, "ns");
        cell_share(out, phase->kernels[i].ns / phase->time_ns);
        str_append(out, "</tr>");
    }
    page_table_end(out);
    str_append(out, "</details>");
}

static void phase_section(struct str *out, const struct profile_phase *phase)
{
    char text[64];
    str_printf(out, "<h2 id=%s>%s</h2><p>", phase->name,
               str_equal(phase->name, "decode") ? "Decode" : "Prefill");
    html_textf(out, "Time of %s: %s", phase->unit,
               metric_format(phase->time_ns, "ns", text, sizeof text));
    if (phase->verdict)
        html_textf(out, "; its roof: %s (%s)",
                   metric_format(phase->verdict->t_roof_ns, "ns", text, sizeof text),
                   phase->verdict->basis);
    str_append(out, ".</p>");
    if (phase->analytic) {
        str_append(out, "<p>");
        html_textf(out, "By counted bytes: %s. ", phase->verdict->text);
        html_textf(out, "By analytic bytes: %s.", phase->analytic->text);
        str_append(out, "</p>");
    }
    bar(out, phase);
    classes(out, phase);
    str_append(out, "<h3>What the overhead is made of</h3>");
    parts(out, phase);
    kernels(out, phase);
}

// ---- the rest ---------------------------------------------------------------------------------------------

static void energy(struct str *out, const struct profile *p)
{
    static const char *const heads[] = {"phase", ">a token#energy", ">power", NULL};
    str_append(out, "<h2 id=energy>Energy</h2>");
    if (isnan(p->idle_w)) {
        str_append(out, "<p class=none>Not measured.</p>");
        return;
    }
    page_table_head(out, heads);
    for (size_t i = 0; i < p->phase_count; i++) {
        str_append(out, "<tr>");
        cell_text(out, "name", p->phases[i].name);
        cell_value(out, p->phases[i].energy.token_j, "J");
        cell_value(out, p->phases[i].energy.power_w, "W");
        str_append(out, "</tr>");
    }
    page_table_end(out);
    str_append(out, "<p class=soft>");
    html_textf(out,
               "The power at rest, %.1f W, is taken off the energies and is part of the powers.",
               p->idle_w);
    str_append(out, "</p>");
}

static void missing(struct str *out, const struct profile *p)
{
    static const char *const heads[] = {"instrument", "why, and what would lift it", NULL};
    str_append(out, "<h2 id=missing>Measured or computed</h2><p>");
    str_append(out, p->counted
                        ? "Bytes and operations were counted by the hardware, next to the "
                        : "The verdicts are analytic: bytes and operations are computed from the "
                          "shapes, not counted, by the ");
    page_term(out, "analytic-model", "analytic model");
    str_append(out, ".</p>");
    if (p->missing_count == 0)
        return;
    page_table_head(out, heads);
    for (size_t i = 0; i < p->missing_count; i++) {
        str_append(out, "<tr>");
        cell_text(out, "name", p->missing[i].instrument);
        cell_text(out, "words", p->missing[i].reason);
        str_append(out, "</tr>");
    }
    page_table_end(out);
}

enum status report_profile_page(const struct profile *p, struct str *out, struct error *err)
{
    struct str title = {0};
    char *css = NULL;
    TRY(page_css(&css, err));
    str_printf(&title, "profile of %s", p->cell->label);
    page_head(out, str_text(&title), css);
    headline(out, p);
    summary(out, p);
    most(out, p);
    for (size_t i = p->phase_count; i-- > 0;)
        phase_section(out, &p->phases[i]);
    energy(out, p);
    missing(out, p);
    page_machine(out, p->data);
    page_reproduce(out, p->data);
    page_glossary(out);
    str_append(out, "</main></body></html>\n");
    out->failed |= title.failed;
    str_fini(&title);
    free(css);
    return out->failed ? FAIL(err, ERR_NOMEM, "no memory for the page") : OK;
}
