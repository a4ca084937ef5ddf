// test_figures.c - the figures of the page and of the data behind its pictures, each worked out by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "report/page.h"
#include "report/pictures.h"
#include "results/basis.h"
#include "results/metric.h"

#define MIB (1024.0 * 1024)

static char folder[] = "/tmp/test_figures_XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    struct error err = {0};
    (void)state;
    return file_remove_tree(folder, &err) == OK ? 0 : -1;
}

// ---- a run -----------------------------------------------------------------------------------------------

// Six cells of one series: two undisturbed, one disturbed, one that failed, two left out.
struct made {
    struct cell_row cells[6];
    const struct cell_row *list[6];
    struct summary_row figures[64];
    struct verdict_row verdicts[2];
    struct ceiling_row ceilings[8];
    struct series series[2];
    struct report_data data;
};

static void put_cell(struct made *m, int batch, int context, const char *status, const char *reason)
{
    size_t at = m->data.cell_count++;
    m->list[at] = &m->cells[at];
    m->cells[at] = (struct cell_row){.id = (int64_t)at + 1,
                                     .key = "k",
                                     .label = "m bf16 cpu",
                                     .params = "{}",
                                     .model = "m",
                                     .scheme = "bf16",
                                     .device = "cpu",
                                     .sweep = "s",
                                     .engine = "e",
                                     .threads = 2,
                                     .batch = batch,
                                     .context = context,
                                     .gen = 8,
                                     .status = status,
                                     .reason = reason,
                                     .trials = 1,
                                     .trials_planned = 1,
                                     .arithmetic = "",
                                     .stored = "",
                                     .step = "",
                                     .weights_caveat = "",
                                     .caveat = ""};
}

static void put_figure(struct made *m, int64_t cell, const char *name, const char *phase,
                       const char *unit, double median)
{
    m->figures[m->data.summary_count++] = (struct summary_row){
        .cell = cell,
        .name = name,
        .phase = phase,
        .unit = unit,
        .source = "host clock",
        .interval = "trials",
        .stat = {.n = 1, .median = median, .median_interval = {median, median, 0}}};
}

static void put_speed(struct made *m, int64_t cell, double tpot_ns, double decode, double prefill)
{
    put_figure(m, cell, METRIC_TPOT, "decode", "ns", tpot_ns);
    put_figure(m, cell, METRIC_DECODE_TPS, "decode", "token/s", decode);
    put_figure(m, cell, METRIC_TTFT, "prefill", "ns", 2 * tpot_ns);
    put_figure(m, cell, METRIC_PREFILL_TPS, "prefill", "token/s", prefill);
}

static void put_memory(struct made *m, int64_t cell, double weights, double kv, double scratch,
                       double peak)
{
    put_figure(m, cell, METRIC_MEM_WEIGHTS, NULL, "bytes", weights);
    put_figure(m, cell, METRIC_MEM_KV, NULL, "bytes", kv);
    put_figure(m, cell, METRIC_MEM_SCRATCH, NULL, "bytes", scratch);
    put_figure(m, cell, METRIC_PEAK_MEM, NULL, "bytes", peak);
}

static struct verdict_row verdict_of(const char *phase, const char *bound, double eta, double ns)
{
    return (struct verdict_row){.cell = 1,
                                .phase = phase,
                                .bound = bound,
                                .basis = "host clock + analytic",
                                .text = bound,
                                .trials = 1,
                                .agree = 1,
                                .measured_ns = ns,
                                .eta = eta};
}

static void make(struct made *m)
{
    memset(m, 0, sizeof *m);
    put_cell(m, 1, 64, "ok", "");
    put_cell(m, 8, 128, "ok", "");
    put_cell(m, 1, 256, "noisy", "canaries");
    put_cell(m, 1, 512, "crashed", "signal 9");
    put_cell(m, 1, 1024, "skipped", "too long");
    put_cell(m, 1, 2048, "skipped", "too large");
    put_speed(m, 1, 4e6, 250, 3000);
    put_figure(m, 1, METRIC_E2E, NULL, "ns", 9e9);
    put_figure(m, 1, METRIC_BYTES, "decode", "bytes", 1e9);
    put_figure(m, 1, METRIC_FLOP, "decode", "FLOP", 2e9);
    put_memory(m, 1, 100 * MIB, 20 * MIB, 10 * MIB, 150 * MIB);
    put_speed(m, 2, 3.2e6, 2500, 4000); // a token of each of eight
    put_memory(m, 2, 100 * MIB, 160 * MIB, 20 * MIB, 300 * MIB);
    put_speed(m, 3, 1e6, 1000, 9000);
    put_speed(m, 4, 1e5, 10000, 90000); // of a trial before the one that crashed
    m->verdicts[0] = verdict_of("decode", "memory", 0.625, 4e6);
    m->verdicts[1] = verdict_of("prefill", "compute", 0.75, 8e6);
    m->ceilings[0] = (struct ceiling_row){.name = "read",
                                          .level = "DRAM",
                                          .kernel = "k",
                                          .unit = "B/s",
                                          .device = "cpu",
                                          .threads = 2,
                                          .value = 50e9};
    m->ceilings[1] = (struct ceiling_row){.name = "f32_fma",
                                          .level = "",
                                          .kernel = "k",
                                          .unit = "FLOP/s",
                                          .device = "cpu",
                                          .threads = 2,
                                          .value = 1e12};
    m->series[0] = (struct series){.label = "m bf16 cpu",
                                   .model = "m",
                                   .scheme = "bf16",
                                   .device = "cpu",
                                   .threads = 2,
                                   .rest = "{}",
                                   .cells = m->list,
                                   .cell_count = 6,
                                   .measured = 3};
    m->data.run = (struct run_row){.id = 1, .suite_name = "s", .suite_text = "", .status = "done"};
    m->data.cells = m->cells;
    m->data.summaries = m->figures;
    m->data.verdicts = m->verdicts;
    m->data.verdict_count = 2;
    m->data.ceilings = m->ceilings;
    m->data.ceiling_count = 2;
    m->data.series = m->series;
    m->data.series_count = 1;
}

// ---- what is said of it ----------------------------------------------------------------------------------

static void has(const char *page, const char *text)
{
    if (!strstr(page, text))
        fail_msg("'%s' is not in: %s", text, page);
}

static void the_commonest_disturbance(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    m.cells[0].status = "throttled";
    m.cells[0].reason = "took 3 % more; 1 of 3 trials were disturbed";
    m.cells[1].status = "noisy";
    m.cells[1].reason = "took 29 % more; 2 of 3 trials were disturbed";
    page_verdict(&out, &m.data);
    has(str_text(&out), ">3 of them disturbed</span>");
    has(str_text(&out), "The commonest disturbance (2 cells, here the first): took 3 % more.<");
    str_fini(&out);
    m.cells[1].status = "ok"; // of two as common, that of the first cell
    page_verdict(&out, &m.data);
    has(str_text(&out), "The commonest disturbance (1 cell): took 3 % more.<");
    str_fini(&out);
}

// As many reasons as cells: comparing each with each would take minutes.
static void a_reason_for_every_cell(void **state)
{
    enum { CELLS = 60000 };
    static char reasons[CELLS][8];
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    struct cell_row *cells = calloc(CELLS, sizeof *cells);
    assert_non_null(cells);
    for (int i = 0; i < CELLS; i++) {
        char *letter = reasons[i];
        for (int rest = i < CELLS - 1 ? i : 7; rest || letter == reasons[i]; rest /= 26)
            *letter++ = (char)('a' + rest % 26);
        cells[i] = m.cells[0];
        cells[i].id = 1000 + i;
        cells[i].status = "noisy";
        cells[i].reason = reasons[i];
    }
    m.data.cells = cells;
    m.data.cell_count = CELLS;
    m.data.series_count = 0;
    page_verdict(&out, &m.data);
    has(str_text(&out),
        "The commonest disturbance (2 cells, here the first): h."); // 7 and the last
    str_fini(&out);
    for (int i = 0; i < CELLS; i++)
        cells[i].status = "skipped";
    cells[7].label = "seven";
    cells[CELLS - 1].label = "last";
    page_failures(&out, &m.data);
    has(str_text(&out), "<td class=name>seven, last</td>");
    assert_null(strstr(str_text(&out), "<td class=name>last</td>"));
    str_fini(&out);
    free(cells);
}

static void the_first_screen(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    m.data.run.started_ns = 951827696LL * 1000000000;
    m.data.run.ended_ns = m.data.run.started_ns + 198LL * 1000000000;
    page_verdict(&out, &m.data);
    const char *page = str_text(&out), *one = strstr(page, "decode, one user"),
               *all = strstr(page, "decode, all users");
    has(page, ", 2000-02-29 12:34 UTC, took 3 min 18 s<");
    has(page, "The commonest disturbance (1 cell): canaries.");
    has(page, "3 of 6 cells were measured, <span class=doubt>1 of them disturbed</span>");
    has(page, "1 failed</span>");
    has(page, "2 left out</a>");
    assert_true(one && all && one < all);
    has(page, ">250 tok/s");
    assert_true(strstr(page, ">250 tok/s") < one);
    assert_true(strstr(page, ">2,500 tok/s") > one && strstr(page, ">2,500 tok/s") < all);
    has(all, ">4,000 tok/s"); // prefill
    has(all, ">8.00 ms");     // first token, of batch 1
    has(page, "is limited by memory: it reaches 62 % of the measured <a class=term "
              "href=\"#term-roof\">roof</a>, so perfect kernels would be 1.6 times as fast");
    str_fini(&out);
}

static void the_table_of_cells(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    page_cells(&out, &m.data);
    const char *page = str_text(&out);
    has(page, "<td class=n>8</td><td class=n>128</td>"); // batch, context
    has(page, ">4.00 ms");
    has(page, "<td class=limit>compute <small>75 % of the roof</small></td>"
              "<td class=limit>memory <small>62 % of the roof</small></td>");
    has(page, "too long");
    has(page, "too large");
    str_fini(&out);
}

static void figures_of_failed_cells_are_none(void **state)
{
    static struct made m;
    (void)state;
    make(&m);
    assert_true(isnan(report_data_value(&m.data, &m.cells[3], METRIC_TPOT, "decode")));
    assert_float_equal(report_data_value(&m.data, &m.cells[2], METRIC_TPOT, "decode"), 1e6, 0);
    assert_int_equal(report_cell_axis(&m.cells[1], AXIS_BATCH), 8);
    assert_int_equal(report_cell_axis(&m.cells[1], AXIS_CONTEXT), 128);
}

// ---- data of pictures ------------------------------------------------------------------------------------

static void expect_file(const char *name, const char *expected)
{
    char *text = NULL, *path = file_join(folder, name);
    struct error err = {0};
    if (file_read(path, 1 << 16, &text, NULL, &err) != OK)
        fail_msg("%s", err.message);
    if (!str_glob(expected, text))
        assert_string_equal(text, expected); // shows both
    free(text);
    free(path);
}

static void the_memory_of_the_largest_cell(void **state)
{
    static struct made m;
    struct error err = {0};
    struct pictures pictures = {0};
    (void)state;
    make(&m);
    assert_int_equal(picture_memory(&m.data, folder, &pictures, &err), OK);
    expect_file("memory.dat", "*b8 c128*\t100\t160\t20\t300\n");
    assert_int_equal(pictures.count, 1);
    assert_string_equal(pictures.row[0].args[1], "1"); // bars
    assert_string_equal(pictures.row[0].args[2], "MiB");
    assert_string_equal(pictures.row[0].args[3], "1"); // some bar has a peak
    pictures_fini(&pictures);
    for (size_t i = 0; i < m.data.summary_count; i++)
        m.figures[i].stat.median *= 1024;
    memset(&pictures, 0, sizeof pictures);
    assert_int_equal(picture_memory(&m.data, folder, &pictures, &err), OK);
    expect_file("memory.dat", "*b8 c128*\t100\t160\t20\t300\n");
    assert_string_equal(pictures.row[0].args[2], "GiB");
    pictures_fini(&pictures);
}

// The peak over what was predicted; none for a GPU, whose memory the process's peak does not hold.
static void the_peak_is_held_against_the_plan(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    m.cells[0].predicted_memory_bytes = m.cells[1].predicted_memory_bytes = 100 * MIB;
    m.cells[1].device = "cuda:0";
    page_memory(&out, &m.data);
    has(str_text(&out), "100 MiB</td><td class=n>150 MiB</td><td class=n>1.50</td></tr>");
    has(str_text(&out), "100 MiB</td><td class=n>300 MiB<small>of the host</small></td>"
                        "<td class=n>&ndash;</td></tr>");
    has(str_text(&out), "its libraries and small allocations");
    has(str_text(&out), "A GPU's cells have no ratio");
    str_fini(&out);
}

// Cells that have energy, and no table where none has.
static void energy_has_a_table(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    page_energy(&out, &m.data);
    assert_string_equal(str_text(&out), "");
    m.data.summary_count -= 4; // of cell 4: rows lie in the order of cells
    put_figure(&m, 3, METRIC_ENERGY_TOKEN, "decode", "J", 1.25);
    put_figure(&m, 3, METRIC_POWER, "decode", "W", 612);
    put_figure(&m, 3, METRIC_POWER_IDLE, NULL, "W", 76.5);
    page_energy(&out, &m.data);
    has(str_text(&out), "<td class=n>1.25 J</td><td class=n><span class=none>not "
                        "measured</span></td><td class=n>612 W</td>"
                        "<td class=n><span class=none>not measured</span></td><td class=n>76.5 "
                        "W</td></tr></tbody>");
    has(str_text(&out), "href=\"#term-energy\"");
    str_fini(&out);
}

static void put_verdict(struct made *m, const char *phase, const char *basis, const char *bound)
{
    m->verdicts[m->data.verdict_count++] = (struct verdict_row){.cell = 3,
                                                                .phase = phase,
                                                                .basis = basis,
                                                                .bound = bound,
                                                                .text = "",
                                                                .finding = FINDING_REACHED,
                                                                .eta = 0.75,
                                                                .eta_low = 0.75,
                                                                .eta_high = 0.75};
}

// Counted bytes next to the analytic ones, with both verdicts; the page says how often they disagree.
static void counted_bytes_have_a_table(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    m.data.summary_count -= 4; // of cell 4: rows lie in the order of cells
    m.data.verdict_count = 0;
    put_figure(&m, 3, METRIC_DRAM_READ, "decode", "bytes", 110 * MIB);
    put_figure(&m, 3, METRIC_DRAM_BYTES, "decode", "bytes", 130 * MIB);
    put_figure(&m, 3, METRIC_DRAM_RATIO, "decode", "1", 1.3);
    put_figure(&m, 3, METRIC_TENSOR_OPS, "decode", "FLOP", 106e9);
    put_figure(&m, 3, METRIC_OPS_RATIO, "decode", "1", 7.84);
    put_figure(&m, 3, METRIC_DRAM_BYTES, "prefill", "bytes", 50 * MIB);
    put_figure(&m, 3, METRIC_DRAM_RATIO, "prefill", "1", 0.95);
    put_verdict(&m, "decode", BASIS_CLOCK, "compute");
    put_verdict(&m, "decode", BASIS_COUNTERS, "memory");
    page_counted(&out, &m.data);
    has(str_text(&out), "agree within 10&thinsp;% in 1 of 2 phases.");
    has(str_text(&out), "1 had more than the model says</span>: caches lost");
    assert_null(strstr(str_text(&out), "had fewer"));
    has(str_text(&out), "operations agree within 10&thinsp;% in 0 of 1 phases.");
    has(str_text(&out), "1 had more than the model says</span>: tiles are wider");
    has(str_text(&out), "<td class=n>130 MiB</td>");
    has(str_text(&out), "<td class=n>1.30</td><td class=n>106 GFLOP</td><td class=n>7.84</td><td "
                        "class=limit>memory <small>75 % of the "
                        "roof</small></td><td class=limit>compute <small>75 % of the roof</small>");
    str_fini(&out);
}

// Where nothing is counted, the page says what would count it.
static void uncounted_bytes_have_a_reason(void **state)
{
    static struct made m;
    static struct uncounted_row why = {.cell = 1, .reason = "this is a virtual machine"};
    struct str out = {0};
    (void)state;
    make(&m);
    m.data.run.suite_text = "collect = timing\n";
    page_counted(&out, &m.data);
    has(str_text(&out), "<code>collect = counters</code> also counts them");
    str_fini(&out);
    m.data.run.suite_text = "collect = timing, counters\n";
    page_counted(&out, &m.data);
    has(str_text(&out), "No trial counted bytes of memory.");
    str_fini(&out);
    m.data.uncounted = &why;
    m.data.uncounted_count = 1;
    page_counted(&out, &m.data);
    has(str_text(&out), "Bytes of memory were not counted: this is a virtual machine.");
    str_fini(&out);
    for (size_t i = 0; i < m.data.cell_count; i++)
        m.cells[i].device = "cuda:0";
    page_counted(&out, &m.data);
    has(str_text(&out), "Bytes of memory were not counted: this is a virtual machine.");
    str_fini(&out);
}

// No mark of the process's peak at a GPU's bar, and none in the legend where no bar has one.
static void a_gpu_has_no_peak_in_the_picture(void **state)
{
    static struct made m;
    struct error err = {0};
    struct pictures pictures = {0};
    (void)state;
    make(&m);
    m.cells[1].device = "cuda:0";
    assert_int_equal(picture_memory(&m.data, folder, &pictures, &err), OK);
    expect_file("memory.dat", "*b8 c128*\t100\t160\t20\t?\n");
    assert_string_equal(pictures.row[0].args[3], "0");
    assert_null(strstr(pictures.row[0].alt, "peak"));
    pictures_fini(&pictures);
}

static void title_is(struct made *m, const char *expected)
{
    struct str out = {0};
    page_verdict(&out, &m->data);
    has(str_text(&out), expected);
    str_fini(&out);
}

// What the cells ran on: the host, a GPU in it, or both. A GPU that the store does not describe has its word.
static void the_title_names_what_was_measured(void **state)
{
    static struct made m;
    (void)state;
    make(&m);
    m.data.hardware = json_pack("{s:{s:s}}", "processor", "model", "EPYC");
    m.data.devices =
        json_pack("{s:{s:s}}", "cuda:0", "description", "NVIDIA H200, sm_90, driver for CUDA 13.0");
    m.cells[3].device = "cuda:0"; // it failed
    title_is(&m, "<h1>s on EPYC</h1>");
    m.cells[0].device = "cuda:0";
    title_is(&m, "<h1>s on NVIDIA H200 (cuda:0) and EPYC</h1>");
    m.cells[1].device = m.cells[2].device = "cuda:0";
    title_is(&m, "<h1>s on NVIDIA H200 (cuda:0); host: EPYC</h1>");
    m.cells[2].device = "cuda:1";
    title_is(&m, "<h1>s on NVIDIA H200 (cuda:0), cuda:1; host: EPYC</h1>");
    json_decref(m.data.hardware);
    json_decref(m.data.devices);
}

// The form of a decode step is of decode's figures alone.
static void the_form_of_a_step_is_of_decode(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    for (int i = 0; i < 6; i++)
        m.cells[i].step = "graph";
    page_verdict(&out, &m.data);
    has(str_text(&out),
        "decode, one user<br>bf16 on cpu, batch 1, context 64; decode step: graph<");
    has(str_text(&out), ">prefill<br>bf16 on cpu, batch 8, context 128<");
    has(str_text(&out), "time to first token<br>bf16 on cpu, batch 1, context 64<");
    str_fini(&out);
}

// Ceilings of a GPU have no threads.
static void no_threads_are_none(void **state)
{
    static struct made m;
    struct str out = {0};
    (void)state;
    make(&m);
    m.ceilings[1].device = "cuda:0";
    m.ceilings[1].threads = 0;
    page_ceilings(&out, &m.data);
    has(str_text(&out), "<td class=n></td><td class=n>2</td><td class=n>50.0 GB/s");
    has(str_text(&out), "<td class=n></td><td class=n></td><td class=n>1.00 TFLOP/s");
    str_fini(&out);
}

// 2 GFLOP and 1 GB in 4 ms: 2 FLOP/byte at 500 GFLOP/s. Prefill has no bytes, so no point.
static void points_under_the_roofline(void **state)
{
    static struct made m;
    struct error err = {0};
    struct pictures pictures = {0};
    (void)state;
    make(&m);
    assert_int_equal(picture_roofline(&m.data, folder, &pictures, &err), OK);
    expect_file("roofline.dat", "*m bf16 cpu*\n?\t?\n\n\n*m bf16 cpu*\n2\t5e+11\n\n\n");
    // The slope of memory ends where the peak takes over, at 20 FLOP/byte, and the peak begins there.
    expect_file("roofline.ceilings", "*\n20\t1e+12\n\n\n20\t1e+12\n*\t1e+12\n\n\n");
    pictures_fini(&pictures);
}

// Two ceilings that nearly coincide: the names are in the order of the lines, and a line of text apart.
static void names_of_close_ceilings_do_not_overlap(void **state)
{
    static struct made m;
    struct error err = {0};
    struct pictures pictures = {0};
    char *text = NULL, *path = file_join(folder, "roofline.flat"), low_name[32], high_name[32];
    double low, high, x, angle;
    (void)state;
    make(&m);
    m.ceilings[2] = m.ceilings[3] = m.ceilings[1];
    m.ceilings[2].name = "int8_dot";
    m.ceilings[2].value = 2.01e12;
    m.ceilings[3].name = "fp8_dot";
    m.ceilings[3].value = 2e12;
    m.data.ceiling_count = 4;
    assert_int_equal(picture_roofline(&m.data, folder, &pictures, &err), OK);
    assert_int_equal(file_read(path, 1 << 16, &text, NULL, &err), OK);
    const char *second = strchr(text, '\n') + 1; // the first is f32_fma's
    assert_int_equal(sscanf(second, "%lf\t%lf\t%lf\t%31s dot 2.00 TFLOP/s\n%lf\t%lf\t%lf\t%31s", &x,
                            &low, &angle, low_name, &x, &high, &angle, high_name),
                     8);
    assert_non_null(strstr(low_name, "fp8"));
    assert_non_null(strstr(high_name, "int8"));
    double y_min = strtod(pictures.row[0].args[5], NULL),
           y_max = strtod(pictures.row[0].args[6], NULL);
    double apart = 320 * log(high / low) / log(y_max / y_min); // in the frame of roofline.gp
    assert_true(apart > 16);                                   // its names are 13 units high
    assert_true(low > 2e12 && high < y_max);
    free(text);
    free(path);
    pictures_fini(&pictures);
}

// A cell of a GPU next to those of the processor: two pictures, each under the ceilings of its own device.
static void each_device_has_its_own_roof(void **state)
{
    static struct made m;
    struct error err = {0};
    struct pictures pictures = {0};
    (void)state;
    make(&m);
    for (int i = 2; i < 4; i++) {
        m.ceilings[i] = m.ceilings[i - 2];
        m.ceilings[i].device = "cuda:0";
        m.ceilings[i].threads = 0; // for any number
    }
    m.ceilings[2].value = 4e12;
    m.ceilings[3].value = 8e14;
    m.ceilings[4] = m.ceilings[3];
    m.ceilings[4].name = "launch_gap";
    m.ceilings[4].unit = "ns";
    m.ceilings[4].value = 1100;
    m.data.ceiling_count = 5;
    m.series[1] = m.series[0];
    m.series[0].cell_count = 5;
    m.cells[5] = m.cells[0]; // its figures too
    m.cells[5].device = "cuda:0";
    m.series[1].label = "m bf16 cuda:0";
    m.series[1].device = "cuda:0";
    m.series[1].cells = m.list + 5;
    m.series[1].cell_count = m.series[1].measured = 1;
    m.data.series_count = 2;
    assert_int_equal(picture_roofline(&m.data, folder, &pictures, &err), OK);
    assert_int_equal(pictures.count, 2);
    assert_string_equal(pictures.row[0].title, "Roofline of cpu");
    expect_file("roofline.dat", "*m bf16 cpu*\n?\t?\n\n\n*m bf16 cpu*\n2\t5e+11\n\n\n");
    expect_file("roofline.ceilings", "*\n20\t1e+12\n\n\n20\t1e+12\n*\t1e+12\n\n\n");
    assert_string_equal(pictures.row[1].title, "Roofline of cuda:0");
    expect_file("roofline-2.dat", "*m bf16 cuda:0*\n?\t?\n\n\n*m bf16 cuda:0*\n2\t5e+11\n\n\n");
    expect_file("roofline-2.ceilings", "*\n200\t8e+14\n\n\n200\t8e+14\n*\t8e+14\n\n\n");
    pictures_fini(&pictures);

    memset(&pictures, 0, sizeof pictures);
    m.data.ceiling_count = 2; // none of the GPU: no picture under another's
    assert_int_equal(picture_roofline(&m.data, folder, &pictures, &err), OK);
    assert_int_equal(pictures.count, 1);
    assert_int_equal(pictures.absent_count, 1);
    assert_string_equal(pictures.absent[0].what, "Roofline of cuda:0");
    assert_string_equal(pictures.absent[0].reason, "no ceilings of this device were measured");
    pictures_fini(&pictures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_commonest_disturbance),
        cmocka_unit_test(a_reason_for_every_cell),
        cmocka_unit_test(the_first_screen),
        cmocka_unit_test(the_table_of_cells),
        cmocka_unit_test(figures_of_failed_cells_are_none),
        cmocka_unit_test(the_memory_of_the_largest_cell),
        cmocka_unit_test(the_peak_is_held_against_the_plan),
        cmocka_unit_test(energy_has_a_table),
        cmocka_unit_test(counted_bytes_have_a_table),
        cmocka_unit_test(uncounted_bytes_have_a_reason),
        cmocka_unit_test(a_gpu_has_no_peak_in_the_picture),
        cmocka_unit_test(the_title_names_what_was_measured),
        cmocka_unit_test(the_form_of_a_step_is_of_decode),
        cmocka_unit_test(no_threads_are_none),
        cmocka_unit_test(points_under_the_roofline),
        cmocka_unit_test(names_of_close_ceilings_do_not_overlap),
        cmocka_unit_test(each_device_has_its_own_roof),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
