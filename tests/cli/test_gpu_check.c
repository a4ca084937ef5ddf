// test_gpu_check.c - tools/gpu-check profile: what passes, what fails and what is skipped by name.
//
// A script replaces the program: it lists a row of kernels, runs nothing and exports a CSV of the test.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"

static char dir[] = "/tmp/ridge-gpu-check-XXXXXX";

// A figure of a phase, with n values around the median.
struct figure {
    const char *phase, *name;
    double median, mad;
    int n;
};

static const struct figure ALL[] = {
    {"decode", "bytes", 1000, 0, 2},
    {"decode", "counter_dram_read", 900, 0, 2},
    {"decode", "counter_dram_written", 101, 0, 2},
    {"decode", "device_busy", 95, 0, 2},
    {"decode", "launch_gaps", 4, 0, 2},
    {"decode", "traced_time", 100, 0, 2},
    {"decode", "energy_token", 2, 0.01, 2},
    {"prefill", "bytes", 1000, 0, 2},
    {"prefill", "flop", 5000, 0, 2},
    {"prefill", "counter_dram_read", 500, 0, 2},
    {"prefill", "counter_dram_written", 460, 0, 2},
    {"prefill", "counter_tensor_ops", 5010, 0, 2},
    {"prefill", "device_busy", 95, 0, 2},
    {"prefill", "launch_gaps", 4, 0, 2},
    {"prefill", "traced_time", 100, 0, 2},
    {"prefill", "energy_prompt_token", 1, 0.001, 2},
};
enum { FIGURES = sizeof ALL / sizeof *ALL };

static void write_file(const char *name, const char *text)
{
    struct error err = {0};
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(file_write(path, text, strlen(text), &err), OK);
    assert_int_equal(chmod(path, 0755), 0);
}

static void write_csv(const struct figure *figures, size_t count)
{
    char text[8192];
    size_t used = (size_t)snprintf(text, sizeof text,
                                   "run,key,label,model,scheme,device,threads,batch,context,gen,"
                                   "status,reason,trials,metric,phase,op,unit,source,n,median,low,"
                                   "high,level,mad,outliers,engine,caveat\r\n");
    for (size_t i = 0; i < count; i++)
        if (figures[i].name)
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "1,key,cell,m,s,cuda:0,1,1,2080,33,ok,\"a, b\",2,%s,%s,,u,x,"
                                     "%d,%g,,,,%g,0,own,\r\n",
                                     figures[i].name, figures[i].phase, figures[i].n,
                                     figures[i].median, figures[i].mad);
    if (used < 400)
        snprintf(text + used, sizeof text - used,
                 "1,key,cell,m,s,cuda:0,1,1,2080,33,failed,x,0,,,,,,,,,,,,,own,\r\n");
    write_file("export.csv", text);
}

// Runs the stage over these figures. Returns its exit status and its output.
static int profile(const struct figure *figures, size_t count, char *out, size_t out_bytes)
{
    char command[256];
    write_csv(figures, count);
    snprintf(command, sizeof command, "tools/gpu-check --build %s --out %s/out profile 2>&1", dir,
             dir);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t length = fread(out, 1, out_bytes - 1, pipe);
    out[length] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *out, const char *part)
{
    if (!strstr(out, part))
        fail_msg("no \"%s\" in:\n%s", part, out);
}

// Sets the median of a figure; its name is removed if `median` is 0.
static void change(struct figure *figures, const char *phase, const char *name, double median)
{
    for (size_t i = 0; i < FIGURES; i++)
        if (figures[i].name && strcmp(figures[i].phase, phase) == 0 &&
            strcmp(figures[i].name, name) == 0) {
            figures[i].median = median;
            figures[i].name = median > 0 ? name : NULL;
        }
}

static void claims_that_hold_pass(void **state)
{
    (void)state;
    char out[8192];
    assert_int_equal(profile(ALL, FIGURES, out, sizeof out), 0);
    expect(out, " 1.0010 (within 5 %)");
    expect(out, " 0.9600 (within 10 %)");
    expect(out, " 1.0020 (within 2 %)");
    expect(out, "2 passed, 0 failed, 0 skipped");
}

static void a_claim_that_is_off_fails(void **state)
{
    (void)state;
    static const struct {
        const char *phase, *name;
        double median;
    } off[] = {
        {"decode", "counter_dram_read", 950},  {"decode", "counter_dram_read", 840},
        {"prefill", "counter_dram_read", 650}, {"prefill", "counter_tensor_ops", 5200},
        {"decode", "launch_gaps", 9},          {"prefill", "device_busy", 90},
        {"decode", "energy_token", 0.5},
    };
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        struct figure figures[FIGURES];
        char out[8192];
        memcpy(figures, ALL, sizeof ALL);
        change(figures, off[i].phase, off[i].name, off[i].median);
        assert_int_equal(profile(figures, FIGURES, out, sizeof out), 1);
        expect(out, "  OFF cell ");
        expect(out, "1 passed, 1 failed, 0 skipped");
    }
}

// Times and energies of a cell hold, but its counters failed.
static void a_run_that_counted_nothing_fails(void **state)
{
    (void)state;
    struct figure figures[FIGURES];
    char out[8192];
    memcpy(figures, ALL, sizeof ALL);
    for (size_t i = 0; i < FIGURES; i++)
        if (strncmp(ALL[i].name, "counter_", 8) == 0)
            figures[i].name = NULL;
    assert_int_equal(profile(figures, FIGURES, out, sizeof out), 1);
    expect(out, "skipped: no counter_dram_read");
    expect(out, "skipped: no counter_tensor_ops");
    expect(out, "nothing was counted");
    expect(out, "1 passed, 1 failed, 3 skipped");
    memcpy(figures, ALL, sizeof ALL);
    change(figures, "prefill", "counter_tensor_ops", 0);
    assert_int_equal(profile(figures, FIGURES, out, sizeof out), 1);
    expect(out, "1 passed, 1 failed, 1 skipped");
}

static void a_claim_without_its_figures_is_skipped_by_name(void **state)
{
    (void)state;
    struct figure figures[FIGURES];
    char out[8192];
    memcpy(figures, ALL, sizeof ALL);
    change(figures, "prefill", "traced_time", 0);
    figures[6].n = 1; // energy_token
    assert_int_equal(profile(figures, FIGURES, out, sizeof out), 0);
    expect(out, "kernels and gaps / phase         skipped: no traced_time");
    expect(out, "energy, one run / the other      skipped: 1 runs instead of 2");
    expect(out, "2 passed, 0 failed, 2 skipped");
}

static void a_cell_without_figures_is_no_pass(void **state)
{
    (void)state;
    char out[8192];
    assert_int_equal(profile(NULL, 0, out, sizeof out), 1);
    expect(out, "  --  cell ");
    expect(out, "1 passed, 1 failed, 7 skipped");
}

static int begin(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    write_file("bench", "#!/bin/sh\n"
                        "case $1 in\n"
                        "kernel) echo 'k_row yes' ;;\n"
                        "export) cat \"$(dirname \"$0\")/export.csv\" ;;\n"
                        "esac\n");
    return 0;
}

static int end(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_that_hold_pass),
        cmocka_unit_test(a_claim_that_is_off_fails),
        cmocka_unit_test(a_run_that_counted_nothing_fails),
        cmocka_unit_test(a_claim_without_its_figures_is_skipped_by_name),
        cmocka_unit_test(a_cell_without_figures_is_no_pass),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
