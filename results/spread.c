// spread.c - intervals that hold for the next run too: from runs before this one, or from canaries.
#include "results/spread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/stat.h"
#include "base/str.h"
#include "results/metric.h"
#include "results/rows.h"

// ---- runs ----------------------------------------------------------------------------------------------

struct past {
    int64_t cell, run;
    const char *name, *phase;
    double value;
};

// Values of trials of the same cell in other runs of this machine and build, the newest runs first.
static const char past_sql[] =
    "SELECT cur.id, other.run_id, v.name, v.phase, v.value"
    "  FROM cell AS cur JOIN run AS now ON now.id = cur.run_id"
    "  JOIN run AS then_ ON then_.machine_id = now.machine_id AND then_.build_id = now.build_id"
    "    AND then_.id <> now.id"
    "  JOIN cell AS other ON other.key = cur.key AND other.run_id = then_.id"
    "  JOIN cell_state ON cell_state.cell_id = other.id AND cell_state.status = 'ok'"
    "  JOIN trial_value AS v ON v.cell_id = other.id"
    "  WHERE cur.run_id = ?1 AND v.op IS NULL AND v.unit IN ('ns', 'token/s')"
    "    AND v.phase IN ('prefill', 'decode')"
    "  ORDER BY cur.id, v.name, v.phase, other.run_id DESC";

static void read_past(struct row *row, void *out)
{
    struct past *p = out;
    p->cell = row_int(row, 0);
    p->run = row_int(row, 1);
    p->name = row_text(row, 2);
    p->phase = row_text_or_null(row, 3);
    p->value = row_real(row, 4);
}

// Student's t, two-sided 95 %, for n - 1 degrees of freedom (any table of quantiles).
static double student(size_t n)
{
    static const double t[] = {12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                               2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131};
    size_t last = sizeof t / sizeof *t;
    return n - 2 < last ? t[n - 2] : 2.1;
}

struct spread_range spread_predict(const double *values, size_t n)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        mean += log(values[i]) / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (log(values[i]) - mean) * (log(values[i]) - mean);
    double deviation = sqrt(squares / (double)(n - 1));
    double half = student(n) * deviation * sqrt(1 + 1 / (double)n);
    return (struct spread_range){exp(mean - half), exp(mean + half)};
}

static bool same_figure(const struct past *p, const struct summary_row *row)
{
    return p->cell == row->cell && str_equal(p->name, row->name) && str_equal(p->phase, row->phase);
}

// The medians of the runs of one figure, the row's own first; returns how many.
static size_t run_medians(const struct past *past, size_t count, const struct summary_row *row,
                          double out[SPREAD_RUNS_MAX], struct error *err)
{
    size_t runs = 0;
    out[runs++] = row->stat.median;
    for (size_t i = 0; i < count && runs < SPREAD_RUNS_MAX;) {
        double x[64];
        size_t n = 0, from = i;
        for (; i < count && past[i].run == past[from].run && same_figure(&past[i], row); i++)
            if (n < sizeof x / sizeof *x)
                x[n++] = past[i].value;
        if (i == from)
            break;
        out[runs++] = metric_median(x, n, row->unit, err);
    }
    return runs;
}

// ---- canaries -------------------------------------------------------------------------------------------

struct look {
    int64_t cell, trial;
    double value;
};

static const char looks_sql[] =
    "SELECT trial.cell_id, trial.id, noise.value FROM noise"
    "  JOIN sample ON sample.id = noise.sample_id JOIN trial ON trial.id = sample.trial_id"
    "  JOIN cell ON cell.id = trial.cell_id"
    "  WHERE run_id = ?1 AND noise.name = '" NOISE_WORK_CANARY "' AND noise.value > 0"
    "  ORDER BY trial.cell_id, trial.id";

static void read_look(struct row *row, void *out)
{
    struct look *look = out;
    look->cell = row_int(row, 0);
    look->trial = row_int(row, 1);
    look->value = row_real(row, 2);
}

// Each trial's median look as a share of its cell's median, because cells differ in what they touch. x: (count),
// overwritten. Returns how many trials there are.
static size_t relative_trials(const struct look *looks, size_t count, double *x, struct error *err)
{
    size_t trials = 0, first = 0; // of the cell under way
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 0; i + n < count && looks[i + n].trial == looks[i].trial; n++)
            x[trials + n] = looks[i + n].value; // behind the medians made so far: trials <= i
        x[trials] = stat_median(x + trials, n, err);
        trials++;
        if (i + n < count && looks[i + n].cell == looks[i].cell)
            continue;
        double median = stat_median(x + first, trials - first, err);
        for (; first < trials; first++)
            x[first] /= median;
    }
    return trials;
}

// How far the slice of work moved from trial to trial of the run. 0 where there were no canaries.
static enum status canary_spread(struct store *store, struct arena *arena, int64_t run, double *out,
                                 struct error *err)
{
    struct look *looks = NULL;
    size_t count = 0;
    *out = 0;
    TRY(rows_read(store, arena, looks_sql, run, read_look, sizeof *looks, (void **)&looks, &count,
                  err));
    if (count == 0)
        return OK;
    double *x = arena_alloc(arena, count, sizeof *x);
    if (!x)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its canaries", store->path);
    size_t trials = relative_trials(looks, count, x, err);
    double low = stat_quantile(x, trials, 0.1, err), high = stat_quantile(x, trials, 0.9, err);
    *out = SPREAD_GAIN * (high - low) / 2;
    return err->code;
}

// ---- all ------------------------------------------------------------------------------------------------

static bool is_timed(const struct summary_row *row)
{
    bool unit = str_equal(row->unit, "ns") || str_equal(row->unit, "token/s");
    return unit && !row->op && row->stat.median > 0 &&
           (str_equal(row->phase, "prefill") || str_equal(row->phase, "decode"));
}

static void widen(struct summary_row *row, struct spread_range to, const char *by)
{
    struct stat_interval *interval = &row->stat.median_interval;
    if (to.low >= interval->low && to.high <= interval->high)
        return;
    interval->low = fmin(interval->low, to.low);
    interval->high = fmax(interval->high, to.high);
    row->interval = by;
}

enum status spread_widen(struct store *store, struct arena *arena, int64_t run,
                         struct summary_row *rows, size_t count, struct error *err)
{
    struct past *past = NULL;
    size_t past_count = 0;
    double seen = 0;
    for (size_t i = 0; i < count; i++)
        rows[i].interval = "trials";
    TRY(rows_read(store, arena, past_sql, run, read_past, sizeof *past, (void **)&past, &past_count,
                  err));
    TRY(canary_spread(store, arena, run, &seen, err));
    for (size_t i = 0; i < count; i++) {
        if (!is_timed(&rows[i]))
            continue;
        double medians[SPREAD_RUNS_MAX];
        size_t first = 0;
        while (first < past_count && !same_figure(&past[first], &rows[i]))
            first++;
        size_t runs = run_medians(past + first, past_count - first, &rows[i], medians, err);
        if (runs >= SPREAD_RUNS_MIN) {
            widen(&rows[i], spread_predict(medians, runs), "runs");
            rows[i].stat.median_interval.level = 0.95;
        } else if (seen > 0) {
            double median = rows[i].stat.median;
            widen(&rows[i], (struct spread_range){median / (1 + seen), median * (1 + seen)},
                  "canaries");
        }
    }
    return err->code;
}
