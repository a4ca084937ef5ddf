// cuda_counters.h - which of CUPTI's metrics count a GPU, and the configurations that count them. For device/cuda*.c.
//
// Rows say which of CUPTI's metrics a quantity is. Chips name them differently, so a row lists names, and the first
// that CUPTI lists for the chip at hand is taken. Rows of one set belong together and come from the same passes. All of
// it is computed on the host: tests compute it without a GPU (tests/device/test_cuda_counters.c).
#ifndef DEVICE_CUDA_COUNTERS_H
#define DEVICE_CUDA_COUNTERS_H

#include "device/cuda_driver.h"

enum { COUNTER_ROWS = 14, COUNTER_SETS = 6, COUNTER_SET_ROWS = 4 };
enum { COUNTER_NAME_BYTES = 96, COUNTER_REASON_BYTES = 768 };

struct counter_row {
    enum device_quantity quantity; // rows of one quantity are added up
    int set;
    const char *bases;  // alternatives, separated by '|'
    const char *rollup; // appended to the base
    double scale;
    const char *words;         // for people
    const char *probe, *level; // known work (cuda_probe_once); NULL: the row is not tested
    double part;               // of the probe's work that the row counts
};
extern const struct counter_row cuda_counter_rows[COUNTER_ROWS];

// The rows that are counted together.
struct counter_set {
    void *host; // CUPTI's object
    int rows[COUNTER_SET_ROWS], count;
    const char *names[COUNTER_SET_ROWS]; // CUPTI's
    uint8_t *image;
    size_t image_bytes, passes;
};

// What is counted on a chip. The caller sets the first five members and zeroes the others.
struct counter_choice {
    const struct cuda_profiler *profiler;
    const struct cuda_cupti *cupti;
    const struct device *device; // whose tiers say what it multiplies
    const char *chip;            // CUPTI's name
    const uint8_t *availability; // of the GPU's counters; NULL: all that the chip has
    char names[COUNTER_ROWS][COUNTER_NAME_BYTES];
    struct counter_set sets[COUNTER_SETS];
    unsigned refused; // rows, by bit
    char reason[COUNTER_REASON_BYTES];
};

// Fills the sets. Rows that the chip does not count are refused. Errors: ERR_UNSUPPORTED for a chip that CUPTI does
// not list; the counters of another chip would be read as its own. ERR_NOMEM.
enum status cuda_counter_choice_make(struct counter_choice *c, struct error *err);
void cuda_counter_choice_fini(struct counter_choice *c);
// Adds a row to those that are not counted, with the reason.
PRINTF_LIKE(3, 4)
void cuda_counter_refuse(struct counter_choice *c, int row, const char *format, ...);
// Whether the chip has the multipliers that the row counts. One that it lacks counts nothing and is not missed.
bool cuda_counter_has_work(const struct counter_choice *c, int row);
// OK for result 0. Else what failed, CUPTI's words, and what would lift it.
enum status cuda_counter_check(const struct counter_choice *c, int result, const char *what,
                               struct error *err);

#endif
