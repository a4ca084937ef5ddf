// about.c - the end of the page: noise, machine and build, how to repeat the run, and the meaning of the metrics.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"
#include "report/page.h"
#include "results/metric.h"

// ---- noise --------------------------------------------------------------------------------------

struct noise_total {
    const char *name, *unit;
    double min, max, sum;
    int repetitions;
    int64_t worst; // cell with the largest value
};

enum { NOISE_KINDS_MAX = 64 };

static size_t total_noise(const struct report_data *data, struct noise_total *out)
{
    size_t count = 0;
    for (size_t i = 0; i < data->noise_count; i++) {
        const struct noise_row *row = &data->noise[i];
        size_t k = 0;
        while (k < count && !str_equal(out[k].name, row->name))
            k++;
        if (k == NOISE_KINDS_MAX)
            continue;
        if (k == count)
            out[count++] = (struct noise_total){
                .name = row->name, .unit = row->unit, .min = INFINITY, .max = -INFINITY};
        if (row->max > out[k].max) {
            out[k].max = row->max;
            out[k].worst = row->cell;
        }
        out[k].min = fmin(out[k].min, row->min);
        out[k].sum += row->sum;
        out[k].repetitions += row->repetitions;
    }
    return count;
}

static const char *label_of(const struct report_data *data, int64_t cell)
{
    for (size_t i = 0; i < data->cell_count; i++)
        if (data->cells[i].id == cell)
            return data->cells[i].label;
    return "";
}

void page_noise(struct str *out, const struct report_data *data)
{
    struct noise_total totals[NOISE_KINDS_MAX];
    size_t count = total_noise(data, totals);
    str_append(out, "<h2 id=noise>Noise</h2><p>What else happened on the machine during the timed "
                    "repetitions, and what short probes of compute and bandwidth saw around "
                    "them.</p>");
    if (count == 0) {
        str_append(out, "<p class=none>No noise was recorded.</p>");
        return;
    }
    str_append(out, "<div class=scroll><table><thead><tr><th>disturbance<th class=n>mean<th "
                    "class=n>least<th class=n>most<th>most in<th class=n>repetitions</tr></thead>"
                    "<tbody>");
    for (size_t i = 0; i < count; i++) {
        const struct metric_info *info = metric_find(totals[i].name);
        const double values[] = {totals[i].sum / totals[i].repetitions, totals[i].min,
                                 totals[i].max};
        str_append(out, "<tr><td>");
        html_text(out, info ? info->title : totals[i].name);
        str_append(out, "</td>");
        for (int v = 0; v < 3; v++) {
            str_append(out, "<td class=n>");
            html_value(out, values[v], totals[i].unit);
            str_append(out, "</td>");
        }
        str_append(out, "<td class=name>");
        html_text(out, totals[i].max > totals[i].min ? label_of(data, totals[i].worst) : "");
        str_printf(out, "</td><td class=n>%d</td></tr>", totals[i].repetitions);
    }
    str_append(out, "</tbody></table></div>");
}

// ---- machine ------------------------------------------------------------------------------------

enum { DEPTH_MAX = 4 };

static void json_plain(struct str *out, const json_t *value)
{
    if (json_is_string(value)) {
        html_text(out, json_string_value(value));
    } else if (json_is_null(value)) {
        str_append(out, "<span class=none>not reported</span>");
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        html_text(out, text);
        free(text);
    }
}

// Writes lists of plain values as "a, b, c".
static bool json_words(struct str *out, const json_t *list)
{
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value)
    {
        if (json_is_object(value) || json_is_array(value))
            return false;
    }
    json_array_foreach(list, i, value)
    {
        if (i)
            str_append(out, ", ");
        json_plain(out, value);
    }
    return true;
}

// Nested objects become "cpu model", "cpu cores"; lists of objects become "caches 1 size", one line per field.
static void json_rows(struct str *out, const char *prefix, const json_t *value, int depth)
{
    const char *key;
    json_t *inner;
    struct str words = {0};
    if (json_is_object(value) && depth < DEPTH_MAX) {
        json_object_foreach((json_t *)(uintptr_t)value, key, inner)
        {
            char name[160];
            snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? " " : "", key);
            for (char *p = name; *p; p++)
                *p = *p == '_' ? ' ' : *p;
            json_rows(out, name, inner, depth + 1);
        }
        return;
    }
    if (json_is_array(value) && !json_words(&words, value) && depth < DEPTH_MAX) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            char name[160];
            snprintf(name, sizeof name, "%s %zu", prefix, i + 1);
            json_rows(out, name, json_array_get(value, i), depth + 1);
        }
        str_fini(&words);
        return;
    }
    str_append(out, "<dt>");
    html_text(out, prefix);
    str_append(out, "</dt><dd>");
    if (json_is_array(value) && words.length)
        str_append(out, str_text(&words));
    else
        json_plain(out, value);
    str_append(out, "</dd>");
    str_fini(&words);
}

static void json_section(struct str *out, const char *title, const json_t *value)
{
    str_append(out, "<details><summary>");
    html_text(out, title);
    str_append(out, "</summary><dl>");
    json_rows(out, "", value, 0);
    str_append(out, "</dl></details>");
}

void page_machine(struct str *out, const struct report_data *data)
{
    str_append(out, "<h2 id=machine>Machine and build</h2><p class=soft>Fingerprint ");
    html_text(out, data->run.fingerprint);
    str_append(out, "</p>");
    json_section(out, "Hardware", data->hardware);
    const char *device;
    json_t *content;
    json_object_foreach(data->devices, device, content)
    {
        if (!query_device_is_host(device)) // its content repeats that of the hardware
            json_section(out, device, content);
    }
    json_section(out, "Environment", data->environment);
    json_section(out, "Build", data->build);
}

// ---- again --------------------------------------------------------------------------------------

void page_reproduce(struct str *out, const struct report_data *data)
{
    str_append(out, "<h2 id=again>Run it again</h2><pre>");
    html_text(out, data->run.command);
    str_append(out, "</pre><details><summary>The suite, resolved</summary><pre>");
    html_text(out, data->run.suite_text);
    str_append(out, "</pre></details>");
}
