// summary.c - combines trials to cells: medians with intervals, majority of verdicts, noise, quality.
//
// SQLite returns one row per trial, sorted by cell and name. Each run of equal names becomes one figure. metric.h has
// the statistics.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "results/basis.h"
#include "results/metric.h"
#include "results/query.h"
#include "results/rows.h"
#include "results/spread.h"

// ---- metrics ------------------------------------------------------------------------------------

struct value {
    int64_t cell;
    const char *name, *phase, *op, *unit, *source;
    double value;
};

// A trial's value of a metric is the median over its repetitions, or the value stored for the trial itself. Failed
// trials have none, because a wrong answer is never a speed. A rate is that of the median time, because over an even
// number of repetitions the median of the rates would differ. A cell's quality counts as one trial, because it does not
// scatter.
//
// The joins go from the run to its metrics by the indexes of their tables, so the cost depends on the run, not on the
// store.
#define MEASURED "run_id = ?1 AND trial.status" TRIAL_MEASURED " AND value IS NOT NULL"
static const char values_sql[] =
    "WITH one AS ("
    "  SELECT cell.id AS cell, trial.id AS trial, number, name, phase, op, value, unit, source"
    "    FROM cell CROSS JOIN trial ON trial.cell_id = cell.id"
    "      CROSS JOIN metric ON metric.trial_id = trial.id WHERE " MEASURED
    "  UNION ALL SELECT cell.id, trial.id, number, name, phase, op, value, unit, source"
    "    FROM cell CROSS JOIN trial ON trial.cell_id = cell.id"
    "      CROSS JOIN sample ON sample.trial_id = trial.id"
    "      CROSS JOIN metric ON metric.sample_id = sample.id WHERE " MEASURED "),"
    " ranked AS ("
    "  SELECT *, row_number() OVER (PARTITION BY trial, name, phase, op ORDER BY value) AS i,"
    "    count(*) OVER (PARTITION BY trial, name, phase, op) AS n FROM one)"
    " SELECT cell, name, phase, op, min(unit), min(source),"
    "   CASE WHEN min(unit) = 'token/s' AND min(value) > 0 THEN 1 / avg(1 / value)"
    "     ELSE avg(value) END, number"
    "   FROM ranked WHERE i IN ((n + 1) / 2, (n + 2) / 2) GROUP BY trial, name, phase, op"
    " UNION ALL SELECT cell.id, name, NULL, NULL, unit, source, value, 1"
    "   FROM cell JOIN quality_value USING (quality_id) WHERE run_id = ?1 AND value IS NOT NULL"
    " ORDER BY cell, name, phase, op, number";

static void read_value(struct row *row, void *out)
{
    struct value *v = out;
    v->cell = row_int(row, 0);
    v->name = row_text(row, 1);
    v->phase = row_text_or_null(row, 2);
    v->op = row_text_or_null(row, 3);
    v->unit = row_text(row, 4);
    v->source = row_text(row, 5);
    v->value = row_real(row, 6);
}

static bool same_figure(const struct value *a, const struct value *b)
{
    return a->cell == b->cell && str_equal(a->name, b->name) && str_equal(a->phase, b->phase) &&
           str_equal(a->op, b->op);
}

// The number of values from `begin` on that belong to one figure; copies them to x.
static size_t gather(const struct value *values, size_t begin, size_t count, double *x)
{
    size_t n = 0;
    for (size_t i = begin; i < count && same_figure(&values[begin], &values[i]); i++)
        x[n++] = values[i].value;
    return n;
}

static enum status summarize(const struct value *values, size_t value_count, double *x,
                             struct summary_row *rows, size_t *count, struct error *err)
{
    for (size_t i = 0, n; i < value_count; i += n) {
        n = gather(values, i, value_count, x);
        struct summary_row *row = &rows[(*count)++];
        row->cell = values[i].cell;
        row->name = values[i].name;
        row->phase = values[i].phase;
        row->op = values[i].op;
        row->unit = values[i].unit;
        row->source = values[i].source;
        TRY(metric_summarize(x, n, row->unit, &row->stat, err));
    }
    return OK;
}

enum status query_summaries(struct store *store, struct arena *arena, int64_t run,
                            struct summary_row **rows, size_t *count, struct error *err)
{
    struct value *values = NULL;
    size_t value_count = 0;
    *rows = NULL;
    *count = 0;
    TRY(rows_read(store, arena, values_sql, run, read_value, sizeof *values, (void **)&values,
                  &value_count, err));
    if (value_count == 0)
        return OK;
    double *x = arena_alloc(arena, value_count, sizeof *x);
    *rows = arena_alloc(arena, value_count, sizeof **rows);
    if (x == NULL || *rows == NULL)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its figures", store->path);
    TRY(summarize(values, value_count, x, *rows, count, err));
    return spread_widen(store, arena, run, *rows, *count, err);
}

// The first of `count` rows, sorted by cell, that belongs to `cell` or a later one. Every row begins with the cell's
// id.
static size_t first_of(const void *rows, size_t count, size_t row_bytes, int64_t cell)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int64_t at;
        memcpy(&at, (const char *)rows + middle * row_bytes, sizeof at);
        if (at < cell)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct summary_row *query_summary_find(const struct summary_row *rows, size_t count,
                                             int64_t cell, const char *name, const char *phase)
{
    for (size_t i = first_of(rows, count, sizeof *rows, cell); i < count && rows[i].cell == cell;
         i++)
        if (rows[i].op == NULL && str_equal(rows[i].name, name) &&
            (phase == NULL || str_equal(rows[i].phase, phase)))
            return &rows[i];
    return NULL;
}

// ---- verdicts -----------------------------------------------------------------------------------

static const char verdicts_sql[] =
    "SELECT cell.id, phase, op, bound, basis, explanation, t_roof_ns, t_memory_ns, t_compute_ns,"
    "  measured_ns, eta, rho, overhead_share, eta_low, eta_high, bandwidth_moved, finding,"
    "  verdict.reason, loss_op, loss_share"
    " FROM verdict JOIN trial ON trial.id = trial_id JOIN cell ON cell.id = trial.cell_id"
    " WHERE run_id = ? AND trial.status" TRIAL_MEASURED
    " ORDER BY cell.id, phase, op, basis, trial.number";

enum { VERDICT_FIGURES = 10 };

static double *figure(struct verdict_row *v, int i)
{
    double *all[VERDICT_FIGURES] = {
        &v->t_roof_ns, &v->t_memory_ns,    &v->t_compute_ns, &v->measured_ns, &v->eta,
        &v->rho,       &v->overhead_share, &v->eta_low,      &v->eta_high,    &v->bandwidth_moved};
    return all[i];
}

static void read_verdict(struct row *row, void *out)
{
    struct verdict_row *v = out;
    v->cell = row_int(row, 0);
    v->phase = row_text(row, 1);
    v->op = row_text_or_null(row, 2);
    v->bound = row_text(row, 3);
    v->basis = row_text(row, 4);
    v->text = row_text(row, 5);
    for (int i = 0; i < VERDICT_FIGURES; i++)
        *figure(v, i) = row_real(row, 6 + i);
    v->finding = row_text_or_null(row, 6 + VERDICT_FIGURES);
    v->reason = row_text_or_null(row, 7 + VERDICT_FIGURES);
    v->loss_op = row_text_or_null(row, 8 + VERDICT_FIGURES);
    v->loss_share = row_real(row, 9 + VERDICT_FIGURES);
    v->trials = v->agree = 1;
}

static bool same_verdict(const struct verdict_row *a, const struct verdict_row *b)
{
    return a->cell == b->cell && str_equal(a->phase, b->phase) && str_equal(a->op, b->op) &&
           str_equal(a->basis, b->basis);
}

// The bound of most of n trials, and their number.
static const char *majority(const struct verdict_row *v, int n, int *agree)
{
    const char *best = v[0].bound;
    *agree = 0;
    for (int i = 0; i < n; i++) {
        int same = 0;
        for (int j = 0; j < n; j++)
            same += str_equal(v[i].bound, v[j].bound);
        if (same > *agree) {
            *agree = same;
            best = v[i].bound;
        }
    }
    return best;
}

// The median of the finite values, NaN if there are none.
static double median_of(struct verdict_row *v, int n, int which, double *x, struct error *err)
{
    size_t count = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(*figure(&v[i], which)))
            x[count++] = *figure(&v[i], which);
    return count ? stat_median(x, count, err) : NAN;
}

// Copies the texts of one trial's verdict.
static void take_words(struct verdict_row *whole, const struct verdict_row *trial)
{
    whole->text = trial->text;
    whole->finding = trial->finding;
    whole->reason = trial->reason;
    whole->loss_op = trial->loss_op;
    whole->loss_share = trial->loss_share;
}

static enum status merge(struct verdict_row *v, int n, double *x, struct verdict_row *out,
                         struct error *err)
{
    struct verdict_row whole = v[0];
    whole.trials = n;
    whole.bound = majority(v, n, &whole.agree);
    if (3 * whole.agree < 2 * n) { // the trials disagree, so the cell has no finding
        whole.bound = "undetermined";
        whole.finding = whole.reason = whole.loss_op = NULL;
        whole.loss_share = NAN;
    }
    for (int i = 0; i < VERDICT_FIGURES; i++)
        *figure(&whole, i) = median_of(v, n, i, x, err);
    double nearest = INFINITY;
    for (int i = 0; i < n; i++)
        if (str_equal(v[i].bound, whole.bound) && fabs(v[i].eta - whole.eta) < nearest) {
            nearest = fabs(v[i].eta - whole.eta);
            take_words(&whole, &v[i]);
        }
    *out = whole;
    return err->code;
}

enum status query_verdicts(struct store *store, struct arena *arena, int64_t run,
                           struct verdict_row **rows, size_t *count, struct error *err)
{
    size_t all = 0;
    TRY(rows_read(store, arena, verdicts_sql, run, read_verdict, sizeof **rows, (void **)rows, &all,
                  err));
    *count = 0;
    if (all == 0)
        return OK;
    double *x = arena_alloc(arena, all, sizeof *x);
    if (x == NULL)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its verdicts", store->path);
    // Rows are merged in place: a merged row is never after its source rows.
    for (size_t i = 0, n; i < all; i += n) {
        for (n = 1; i + n < all && same_verdict(&(*rows)[i], &(*rows)[i + n]);)
            n++;
        TRY(merge(&(*rows)[i], (int)n, x, &(*rows)[(*count)++], err));
    }
    return OK;
}

const struct verdict_row *query_verdict_find(const struct verdict_row *rows, size_t count,
                                             int64_t cell, const char *phase)
{
    const struct verdict_row *best = NULL;
    for (size_t i = first_of(rows, count, sizeof *rows, cell); i < count && rows[i].cell == cell;
         i++)
        if (rows[i].op == NULL && str_equal(rows[i].phase, phase) &&
            (!best || metric_basis_rank(rows[i].basis) < metric_basis_rank(best->basis)))
            best = &rows[i];
    return best;
}

// ---- what was not counted -----------------------------------------------------------------------

static const char uncounted_sql[] =
    "SELECT cell.id, substr(source, instr(source, '" METRIC_NO_DRAM "') +"
    "  length('" METRIC_NO_DRAM "')), max(trial.number)"
    " FROM metric JOIN trial ON trial.id = metric.trial_id JOIN cell ON cell.id = trial.cell_id"
    " WHERE run_id = ? AND name = '" METRIC_INSTRUMENT_PREFIX "counters' AND value IS NULL"
    "  AND instr(source, '" METRIC_NO_DRAM "') > 0"
    " GROUP BY cell.id ORDER BY cell.id";

static void read_uncounted(struct row *row, void *out)
{
    struct uncounted_row *u = out;
    u->cell = row_int(row, 0);
    u->reason = row_text(row, 1);
}

enum status query_uncounted(struct store *store, struct arena *arena, int64_t run,
                            struct uncounted_row **rows, size_t *count, struct error *err)
{
    return rows_read(store, arena, uncounted_sql, run, read_uncounted, sizeof **rows, (void **)rows,
                     count, err);
}

const char *query_uncounted_find(const struct uncounted_row *rows, size_t count, int64_t cell)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].cell == cell)
            return rows[i].reason;
    return NULL;
}

// ---- noise --------------------------------------------------------------------------------------

static const char noise_sql[] =
    "WITH ranked AS (SELECT trial.cell_id AS cell, name, unit, value,"
    "    row_number() OVER (PARTITION BY trial.cell_id, name ORDER BY value) AS i,"
    "    count(*) OVER (PARTITION BY trial.cell_id, name) AS n"
    "  FROM noise JOIN sample ON sample.id = sample_id JOIN trial ON trial.id = sample.trial_id"
    "    JOIN cell ON cell.id = trial.cell_id"
    "  WHERE run_id = ? AND value IS NOT NULL)"
    " SELECT cell, name, min(unit), max(n), avg(value) FILTER (WHERE i IN ((n+1)/2, (n+2)/2)),"
    "  min(value), max(value), sum(value) FROM ranked GROUP BY cell, name ORDER BY cell, name";

static void read_noise(struct row *row, void *out)
{
    struct noise_row *n = out;
    n->cell = row_int(row, 0);
    n->name = row_text(row, 1);
    n->unit = row_text(row, 2);
    n->repetitions = (int)row_int(row, 3);
    n->median = row_real(row, 4);
    n->min = row_real(row, 5);
    n->max = row_real(row, 6);
    n->sum = row_real(row, 7);
}

enum status query_noise(struct store *store, struct arena *arena, int64_t run,
                        struct noise_row **rows, size_t *count, struct error *err)
{
    return rows_read(store, arena, noise_sql, run, read_noise, sizeof **rows, (void **)rows, count,
                     err);
}

// ---- quality ------------------------------------------------------------------------------------

static void read_quality(struct row *row, void *out)
{
    struct quality_row *q = out;
    q->cell = row_int(row, 0);
    q->id = row_int(row, 1);
    q->status = row_text(row, 2);
    q->reason = row_text(row, 3);
    q->params = row_text(row, 4);
    q->arithmetic = row_text_or_null(row, 5);
    q->run = row_int(row, 6);
    q->build = row_text_or_null(row, 7);
}

enum status query_quality(struct store *store, struct arena *arena, int64_t run,
                          struct quality_row **rows, size_t *count, struct error *err)
{
    return rows_read(store, arena,
                     "SELECT cell.id, quality.id, status, reason, quality.params, arithmetic,"
                     "  quality.run_id, content FROM cell JOIN quality ON quality.id = quality_id"
                     "  LEFT JOIN build ON build.id = build_id"
                     " WHERE cell.run_id = ? ORDER BY cell.id",
                     run, read_quality, sizeof **rows, (void **)rows, count, err);
}

const struct quality_row *query_quality_find(const struct quality_row *rows, size_t count,
                                             int64_t cell)
{
    size_t i = first_of(rows, count, sizeof *rows, cell);
    return i < count && rows[i].cell == cell ? &rows[i] : NULL;
}
