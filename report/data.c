// data.c - loads a run and groups its cells into series.

#include "report/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "results/basis.h"
#include "results/metric.h"

// ---- series -------------------------------------------------------------------------------------

static enum status out_of_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the report's data");
}

// The parameters of a cell except batch and context, as canonical text in the arena.
static const char *rest_of(struct arena *arena, const struct cell_row *cell)
{
    json_t *params = json_loads(cell->params, 0, NULL);
    if (!json_is_object(params)) {
        json_decref(params);
        return "";
    }
    json_object_del(params, "batch");
    json_object_del(params, "context");
    char *text = json_canonical(params);
    char *kept = text ? arena_strdup(arena, text) : NULL;
    free(text);
    json_decref(params);
    return kept;
}

static bool in_series(const struct series *s, const struct cell_row *cell, const char *rest)
{
    return str_equal(s->model, cell->model) && str_equal(s->scheme, cell->scheme) &&
           str_equal(s->device, cell->device) && s->threads == cell->threads &&
           str_equal(s->rest, rest);
}

static struct series *series_of(struct report_data *data, const struct cell_row *cell,
                                const char *rest)
{
    for (size_t i = 0; i < data->series_count; i++)
        if (in_series(&data->series[i], cell, rest))
            return &data->series[i];
    struct series *s = &data->series[data->series_count++];
    s->model = cell->model;
    s->scheme = cell->scheme;
    s->device = cell->device;
    s->threads = cell->threads;
    s->rest = rest;
    s->cells = arena_alloc(&data->arena, data->cell_count, sizeof *s->cells);
    return s;
}

static bool namesakes(const struct series *a, const struct series *b)
{
    return str_equal(a->model, b->model) && str_equal(a->scheme, b->scheme) &&
           str_equal(a->device, b->device);
}

// Appends to a label the parameters that distinguish a series from `other`: " threads=2 kv=f16".
static void append_differences(struct str *label, const struct series *s,
                               const struct series *other)
{
    json_t *mine = json_loads(s->rest, 0, NULL), *theirs = json_loads(other->rest, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(mine, key, value)
    {
        struct str word = {0};
        if (json_equal(value, json_object_get(theirs, key)))
            continue;
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        str_printf(&word, " %s=%s", key, text ? text : json_string_value(value));
        if (!strstr(str_text(label), str_text(&word)))
            str_append(label, str_text(&word));
        str_fini(&word);
        free(text);
    }
    json_decref(mine);
    json_decref(theirs);
}

// Appends the caveats of a label. They are the types of weights in the file, which is one file for all cells, and a
// form of decode steps in which not every cell ran.
static void append_caveats(struct str *label, const struct series *s)
{
    bool recoded = false, other_step = false;
    for (size_t i = 0; i < s->cell_count; i++) {
        const struct cell_row *cell = s->cells[i];
        if (cell->weights_caveat[0] && !recoded)
            str_printf(label, " (stored %s)", cell->stored);
        recoded |= cell->weights_caveat[0] != '\0';
        other_step |= !str_equal(cell->caveat, cell->weights_caveat);
    }
    if (other_step)
        str_append(label, " (not every cell ran so)");
}

static enum status name_series(struct report_data *data, size_t which, struct error *err)
{
    struct series *s = &data->series[which];
    struct str label = {0};
    str_printf(&label, "%s %s %s", s->model, s->scheme, s->device);
    size_t bare = label.length;
    bool alone = true;
    for (size_t i = 0; i < data->series_count; i++)
        if (i != which && namesakes(s, &data->series[i])) {
            alone = false;
            append_differences(&label, s, &data->series[i]);
        }
    if (!alone && label.length == bare)
        str_printf(&label, " #%zu", which + 1);
    append_caveats(&label, s);
    s->label = label.failed ? NULL : arena_strdup(&data->arena, str_text(&label));
    str_fini(&label);
    return s->label ? OK : out_of_memory(err);
}

static enum status group_series(struct report_data *data, struct error *err)
{
    if (data->cell_count == 0)
        return OK;
    data->series = arena_alloc(&data->arena, data->cell_count, sizeof *data->series);
    if (data->series == NULL)
        return out_of_memory(err);
    for (size_t i = 0; i < data->cell_count; i++) {
        const struct cell_row *cell = &data->cells[i];
        const char *rest = rest_of(&data->arena, cell);
        struct series *s = rest ? series_of(data, cell, rest) : NULL;
        if (s == NULL || s->cells == NULL)
            return out_of_memory(err);
        s->cells[s->cell_count++] = cell;
        s->measured += query_cell_measured(cell);
    }
    for (size_t i = 0; i < data->series_count; i++)
        TRY(name_series(data, i, err));
    return OK;
}

// ---- loading ------------------------------------------------------------------------------------

static json_t *parse_or_empty(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    return value ? value : json_object();
}

static json_t *parse_devices(const struct report_data *data)
{
    json_t *devices = json_object();
    for (size_t i = 0; i < data->ceiling_count; i++) {
        const struct ceiling_row *c = &data->ceilings[i];
        if (c->device_content && !json_object_get(devices, c->device))
            json_object_set_new(devices, c->device, parse_or_empty(c->device_content));
    }
    return devices;
}

static enum status load_rows(struct store *store, const char *run, struct report_data *d,
                             struct error *err)
{
    TRY(query_run(store, &d->arena, run, &d->run, err));
    TRY(query_cells(store, &d->arena, d->run.id, &d->cells, &d->cell_count, err));
    TRY(query_summaries(store, &d->arena, d->run.id, &d->summaries, &d->summary_count, err));
    TRY(query_verdicts(store, &d->arena, d->run.id, &d->verdicts, &d->verdict_count, err));
    TRY(query_ceilings(store, &d->arena, d->run.id, &d->ceilings, &d->ceiling_count, err));
    TRY(query_noise(store, &d->arena, d->run.id, &d->noise, &d->noise_count, err));
    TRY(query_uncounted(store, &d->arena, d->run.id, &d->uncounted, &d->uncounted_count, err));
    return query_quality(store, &d->arena, d->run.id, &d->qualities, &d->quality_count, err);
}

enum status report_data_load(struct store *store, const char *run, struct report_data *out,
                             struct error *err)
{
    memset(out, 0, sizeof *out);
    TRY(query_begin(store, err));
    enum status status = load_rows(store, run, out, err);
    query_end(store);
    if (status == OK)
        status = group_series(out, err);
    if (status != OK) {
        report_data_fini(out);
        return status;
    }
    out->hardware = parse_or_empty(out->run.hardware);
    out->environment = parse_or_empty(out->run.environment);
    out->build = parse_or_empty(out->run.build);
    out->devices = parse_devices(out);
    return OK;
}

void report_data_fini(struct report_data *data)
{
    json_decref(data->hardware);
    json_decref(data->environment);
    json_decref(data->build);
    json_decref(data->devices);
    arena_fini(&data->arena);
    memset(data, 0, sizeof *data);
}

// ---- looking up ---------------------------------------------------------------------------------

const struct stat_summary *report_data_figure(const struct report_data *data,
                                              const struct cell_row *cell, const char *name,
                                              const char *phase)
{
    if (!query_cell_measured(cell))
        return NULL;
    const struct summary_row *row =
        query_summary_find(data->summaries, data->summary_count, cell->id, name, phase);
    return row ? &row->stat : NULL;
}

double report_data_value(const struct report_data *data, const struct cell_row *cell,
                         const char *name, const char *phase)
{
    const struct stat_summary *figure = report_data_figure(data, cell, name, phase);
    return figure ? figure->median : NAN;
}

double report_data_peak_memory(const struct report_data *data, const struct cell_row *cell)
{
    return query_cell_on_host(cell) ? report_data_value(data, cell, METRIC_PEAK_MEM, NULL)
                                    : (double)NAN;
}

const struct verdict_row *report_data_verdict(const struct report_data *data,
                                              const struct cell_row *cell, const char *phase)
{
    if (!query_cell_measured(cell))
        return NULL;
    return query_verdict_find(data->verdicts, data->verdict_count, cell->id, phase);
}

const struct verdict_row *report_data_analytic(const struct report_data *data,
                                               const struct cell_row *cell, const char *phase)
{
    for (size_t i = 0; i < data->verdict_count; i++) {
        const struct verdict_row *v = &data->verdicts[i];
        if (v->cell == cell->id && !v->op && str_equal(v->phase, phase) &&
            !str_equal(v->basis, BASIS_COUNTERS))
            return v;
    }
    return NULL;
}

// The value of a line "key = value", or NULL if the key differs.
static const char *value_of(const char *line, const char *key)
{
    size_t length = strlen(key);
    line += strspn(line, " \t");
    if (strncmp(line, key, length) != 0)
        return NULL;
    line += length + strspn(line + length, " \t");
    return *line == '=' ? line + 1 : NULL;
}

bool report_data_asks_for(const struct report_data *data, const char *what)
{
    size_t length = strlen(what);
    for (const char *line = data->run.suite_text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *value = value_of(line, "collect");
        while (value && *value && *value != '\n') {
            size_t word = strcspn(value, ", \t\r\n");
            if (word == length && strncmp(value, what, word) == 0)
                return true;
            value += word + strspn(value + word, ", \t\r");
        }
    }
    return false;
}

const struct quality_row *report_data_quality(const struct report_data *data,
                                              const struct cell_row *cell)
{
    return query_quality_find(data->qualities, data->quality_count, cell->id);
}

int report_cell_axis(const struct cell_row *cell, enum axis axis)
{
    return axis == AXIS_BATCH ? cell->batch : cell->context;
}

const struct cell_row *report_series_at(const struct series *series, int batch, int context)
{
    for (size_t i = 0; i < series->cell_count; i++) {
        const struct cell_row *cell = series->cells[i];
        if (cell->batch == batch && cell->context == context && query_cell_measured(cell))
            return cell;
    }
    return NULL;
}

// The number of measured cells with this value on the axis.
static size_t measured_at(const struct report_data *data, enum axis axis, int value)
{
    size_t have = 0;
    for (size_t i = 0; i < data->cell_count; i++)
        have += report_cell_axis(&data->cells[i], axis) == value &&
                query_cell_measured(&data->cells[i]);
    return have;
}

int report_data_fixed(const struct report_data *data, enum axis axis)
{
    enum axis other = axis == AXIS_BATCH ? AXIS_CONTEXT : AXIS_BATCH;
    size_t most = 0;
    int best = 0;
    for (size_t i = 0; i < data->cell_count; i++) {
        size_t have = measured_at(data, other, report_cell_axis(&data->cells[i], other));
        most = have > most ? have : most;
    }
    for (size_t i = 0; i < data->cell_count && most > 0; i++) {
        int value = report_cell_axis(&data->cells[i], other);
        if (5 * measured_at(data, other, value) >= 4 * most && (best == 0 || value < best))
            best = value;
    }
    return best;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

size_t report_axis_values(const struct cell_row *const *cells, size_t count, enum axis axis,
                          int *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        int value = report_cell_axis(cells[i], axis);
        bool known = false;
        for (size_t j = 0; j < n; j++)
            known |= out[j] == value;
        if (!known && n < max)
            out[n++] = value;
    }
    qsort(out, n, sizeof *out, compare_ints);
    return n;
}

const char *report_json_text(const json_t *root, const char *path)
{
    char key[64];
    while (root && *path) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof key)
            return NULL;
        memcpy(key, path, length);
        key[length] = '\0';
        root = json_object_get(root, key);
        path += length + (path[length] == '.');
    }
    return json_string_value(root);
}
