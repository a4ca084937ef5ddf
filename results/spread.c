// spread.c - widens intervals so that they hold for the next run too: from earlier runs, or from canaries.
#include "results/spread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/stat.h"
#include "base/str.h"
#include "results/metric.h"
#include "results/rows.h"

#define PAST_RUNS "11" // SPREAD_RUNS_MAX - 1

// ---- runs ----------------------------------------------------------------------------------------------

// One repetition's value of one figure, in another run.
struct past {
    int64_t cell, run, trial; // cell: of this run
    const char *name, *phase;
    double value;
};

// The newest other runs of this machine and build in which the cell was ok. The query uses the indexes of the tables,
// and the state of one cell at a time, because joining a view would compute it for every run in the store.
static const char past_sql[] =
    "SELECT cur.id, other.run_id, trial.id, metric.name, metric.phase, metric.value"
    "  FROM cell AS cur"
    "  CROSS JOIN (SELECT then_.id FROM run AS now"
    "    JOIN run AS then_ ON then_.machine_id = now.machine_id AND then_.id <> now.id"
    "      AND then_.build_id = now.build_id"
    "    WHERE now.id = ?1 ORDER BY then_.id DESC LIMIT " PAST_RUNS ") AS past"
    "  CROSS JOIN cell AS other ON other.key = cur.key AND other.run_id = past.id"
    "  CROSS JOIN trial ON trial.cell_id = other.id"
    "  CROSS JOIN sample ON sample.trial_id = trial.id"
    "  CROSS JOIN metric ON metric.sample_id = sample.id"
    "  WHERE cur.run_id = ?1"
    "    AND (SELECT status FROM cell_state WHERE cell_id = other.id) = 'ok'"
    "    AND metric.op IS NULL AND metric.unit IN ('ns', 'token/s')"
    "    AND metric.phase IN ('prefill', 'decode') AND metric.value IS NOT NULL"
    "  ORDER BY cur.id, metric.name, metric.phase, other.run_id DESC, trial.id";

static void read_past(struct row *row, void *out)
{
    struct past *p = out;
    p->cell = row_int(row, 0);
    p->run = row_int(row, 1);
    p->trial = row_int(row, 2);
    p->name = row_text(row, 3);
    p->phase = row_text_or_null(row, 4);
    p->value = row_real(row, 5);
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

enum { VALUES_MAX = 256 }; // most repetitions of a trial, and trials of a run, that are used

// A run's median of one figure over its trials, where a trial's value is the median of its repetitions. past: the run's
// first row of the figure. *used: the number of its rows; 0: past belongs to another figure.
static double run_median(const struct past *past, size_t count, const struct summary_row *row,
                         size_t *used, struct error *err)
{
    double trials[VALUES_MAX], x[VALUES_MAX];
    size_t trial_count = 0, i = 0;
    while (i < count && past[i].run == past[0].run && same_figure(&past[i], row)) {
        size_t n = 0, first = i;
        for (; i < count && past[i].trial == past[first].trial && same_figure(&past[i], row); i++)
            if (n < VALUES_MAX)
                x[n++] = past[i].value;
        if (trial_count < VALUES_MAX)
            trials[trial_count++] = metric_median(x, n, row->unit, err);
    }
    *used = i;
    return trial_count ? metric_median(trials, trial_count, row->unit, err) : NAN;
}

// The medians of one figure over the runs, the row's own run first. Returns their number. past: the first row of its
// cell.
static size_t run_medians(const struct past *past, size_t count, const struct summary_row *row,
                          double out[SPREAD_RUNS_MAX], struct error *err)
{
    size_t runs = 0, i = 0, used = 1;
    out[runs++] = row->stat.median;
    while (i < count && past[i].cell == row->cell && !same_figure(&past[i], row))
        i++;
    for (; i < count && runs < SPREAD_RUNS_MAX; i += used) {
        double median = run_median(past + i, count - i, row, &used, err);
        if (!used)
            break;
        out[runs++] = median;
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

// Each trial's median canary as a share of its cell's median, because cells touch different data. x: (count),
// overwritten. Returns the number of trials.
static size_t relative_trials(const struct look *looks, size_t count, double *x, struct error *err)
{
    size_t trials = 0, first = 0; // of the current cell
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 0; i + n < count && looks[i + n].trial == looks[i].trial; n++)
            x[trials + n] = looks[i + n].value; // after the medians so far: trials <= i
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

// How far the slice of work moved from trial to trial of the run. 0 if there were no canaries.
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
    for (size_t i = 0, first = 0; i < count; i++) {
        if (!is_timed(&rows[i]))
            continue;
        double medians[SPREAD_RUNS_MAX], median = rows[i].stat.median;
        while (first < past_count && past[first].cell < rows[i].cell) // both are sorted by cell
            first++;
        size_t runs = run_medians(past + first, past_count - first, &rows[i], medians, err);
        if (runs >= SPREAD_RUNS_MIN) {
            widen(&rows[i], spread_predict(medians, runs), "runs");
            rows[i].stat.median_interval.level = 0.95;
        } else if (seen > 0) {
            widen(&rows[i], (struct spread_range){median / (1 + seen), median * (1 + seen)},
                  "canaries");
        }
    }
    return err->code;
}
