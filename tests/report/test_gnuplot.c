// test_gnuplot.c - gnuplot that is missing, fails, hangs or is interrupted: what is kept, and what is an error.
#include "tests/report/pages.h"

#include <sys/wait.h>

#include "base/interrupt.h"
#include "report/gnuplot.h"
#include "report/whole.h"
#include "tests/broken_disk.h"
#include "tests/report/make_store.c"

static void fake_gnuplot(const struct fixture *f, const char *script, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/fake", f->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(script, file);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
}

static void without_pictures(void **state, const char *script, enum status status,
                             const char *reason)
{
    struct fixture *f = *state;
    char path[128] = "no-such-gnuplot", dir[128];
    struct str note = {0};
    if (script)
        fake_gnuplot(f, script, path, sizeof path);
    struct store *store = made(f->path, small(NULL));
    char *page = page_of_status(f, store, path, 300, status, &note);
    if (!strstr(str_text(&note), reason))
        fail_msg("'%s' does not say '%s'", str_text(&note), reason);
    has(page, "Pictures are missing: ");
    has(page, reason);
    assert_null(strstr(page, ".tmp-")); // the folder that pictures are drawn in
    assert_null(strstr(str_text(&note), ".tmp-"));
    has(page, "All cells"); // the tables are there all the same
    check_nesting(page);
    snprintf(dir, sizeof dir, "%s/out", f->dir);
    assert_int_equal(files_in(dir, ".svg"), 0);
    assert_int_equal(files_in(dir, ".html"), 1);
    assert_int_equal(files_in(dir, ".csv"), 1);
    free(page);
    str_fini(&note);
    store_close(store);
}

static void test_gnuplot_missing(void **state)
{
    without_pictures(state, NULL, OK, "no such program");
}

static void test_gnuplot_is_no_program(void **state)
{
    without_pictures(state, "#!/dev/null\n", ERR_IO, "cannot be started: Permission denied");
}

static void test_gnuplot_hangs(void **state)
{
    without_pictures(state, "#!/bin/sh\nsleep 1000 & wait\n", ERR_TIMEOUT,
                     "no picture after 300 ms");
}

static void test_gnuplot_fails(void **state)
{
    without_pictures(state, "#!/bin/sh\necho '\"lines.gp\" line 3: no such colour' >&2\nexit 1\n",
                     ERR_IO, "line 3: no such colour");
}

static void test_gnuplot_dies(void **state)
{
    without_pictures(state, "#!/bin/sh\nkill -9 $$\n", ERR_IO, "ended by signal 9 (Killed)");
}

static void test_gnuplot_lies(void **state)
{
    without_pictures(state, "#!/bin/sh\nexit 0\n", ERR_IO, ".svg");
}

// A full disk: gnuplot exits with 0 and leaves what fitted. No part of a picture gets into the report.
static void test_half_a_picture_is_none(void **state)
{
    without_pictures(state,
                     "#!/bin/sh\nprintf '<?xml version=\"1.0\"?><svg></svg>\\n' >\"$3\".svg\n"
                     "printf '\\211PNG\\r\\n\\032\\nhalf of it' >\"$3\".png\nexit 0\n",
                     ERR_IO, ".png is not whole after 18 bytes: is the disk full?");
    const struct fixture *f = *state;
    char dir[128];
    snprintf(dir, sizeof dir, "%s/out", f->dir);
    assert_int_equal(files_in(dir, ".png"), 0);
}

static void test_half_an_svg_is_none(void **state)
{
    without_pictures(state, "#!/bin/sh\nprintf '<?xml version=\"1.0\"?><svg><g>' >\"$3\".svg\n",
                     ERR_IO, ".svg is not whole after 29 bytes");
}

// The error of a file names the folder that was asked for, on the page too.
static void test_a_picture_that_cannot_be_read(void **state)
{
    without_pictures(state, "#!/bin/sh\nhead -c 17000000 /dev/zero >\"$3\".svg\n", ERR_FORMAT,
                     "/out/decode-over-batch.svg: 17000000 bytes");
}

// Nothing gets into the report that did not reach the disk. The error names the folder that was asked for.
static void test_a_broken_disk(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct str note = {0};
    char dir[128], path[160], *index = NULL;
    struct store *store = made(f->path, small(NULL));
    static const unsigned formats[] = {REPORT_HTML, REPORT_CSV};
    for (int i = 0; i < 2; i++) {
        struct report_options options = report_to(f, dir, formats[i], "no-such-gnuplot", 5000);
        broken_disk = true;
        assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_IO);
        broken_disk = false;
        assert_non_null(strstr(err.message, strerror(EIO)));
        assert_int_equal(strncmp(err.message, dir, strlen(dir)), 0);
        assert_null(strstr(err.message, ".tmp-"));
        assert_null(index);
        assert_int_not_equal(access(dir, F_OK), 0);
        error_clear(&err);
    }
    fake_gnuplot(f, "#!/bin/sh\nprintf '<?xml version=\"1.0\"?><svg></svg>\\n' >\"$3\".svg\n", path,
                 sizeof path);
    struct report_options options = report_to(f, dir, REPORT_PNG, path, 5000);
    broken_disk = true;
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_IO);
    broken_disk = false;
    assert_non_null(strstr(err.message, strerror(EIO)));
    assert_non_null(strstr(err.message, dir));
    assert_null(strstr(err.message, ".tmp-"));
    str_fini(&note);
    store_close(store);
}

static void test_a_picture_that_did_not_reach_the_disk(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    char path[160];
    static const char svg[] = "<?xml version=\"1.0\"?><svg></svg>\n";
    static const char png[] = "\x89PNG\r\n\x1a\nbytes\0\0\0\0IEND\xae\x42\x60\x82";
    snprintf(path, sizeof path, "%s/x.svg", f->dir);
    must(file_write(path, svg, sizeof svg - 1, &err), &err);
    snprintf(path, sizeof path, "%s/x.png", f->dir);
    must(file_write(path, png, sizeof png - 1, &err), &err);
    must(picture_svg_check(f->dir, "x", &err), &err);
    must(picture_png_check(f->dir, "x", &err), &err);
    broken_disk = true;
    assert_int_equal(picture_svg_check(f->dir, "x", &err), ERR_IO);
    error_clear(&err);
    assert_int_equal(picture_png_check(f->dir, "x", &err), ERR_IO);
    broken_disk = false;
    assert_non_null(strstr(err.message, strerror(EIO)));
}

// Where pictures are all that was asked for, an error; what was there before stays.
static void test_only_pictures(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct str note = {0};
    char dir[128], path[160], *index = NULL;
    struct store *store = made(f->path, small(NULL));
    fake_gnuplot(f, "#!/bin/sh\n: >\"$3\".svg; : >\"$3\".png\n", path, sizeof path);
    struct report_options options = report_to(f, dir, REPORT_PNG, path, 5000);
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_IO);
    assert_non_null(strstr(err.message, "is not whole after 0 bytes"));
    assert_null(index);
    assert_int_not_equal(access(dir, F_OK), 0); // nothing was made
    error_clear(&err);
    fake_gnuplot(f, "#!/bin/sh\nsleep 1000\n", path, sizeof path);
    options.timeout_ms = 50;
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_TIMEOUT);
    assert_non_null(strstr(err.message, "no picture after 50 ms, stopped"));
    error_clear(&err);
    options.gnuplot = "no-such-gnuplot";
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message, "pictures are missing: no-such-gnuplot: no such program");
    assert_int_not_equal(access(dir, F_OK), 0);
    store_close(store);
}

// A program that is missing is a note only where no one asked for pictures; where one did, the rest is in place.
static void test_needed_pictures(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct str note = {0};
    char dir[128], *index = NULL;
    struct store *store = made(f->path, small(NULL));
    struct report_options options =
        report_to(f, dir, REPORT_HTML | REPORT_CSV, "no-such-gnuplot", 5000);
    must(report_write(store, NULL, &options, &index, &note, &err), &err);
    assert_string_equal(str_text(&note), "pictures are missing: no-such-gnuplot: no such program");
    free(index);
    options.need_pictures = true;
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message, "pictures are missing: no-such-gnuplot: no such program");
    assert_non_null(index);
    assert_int_equal(files_in(dir, ".html") + files_in(dir, ".csv"), 2);
    free(index);
    str_fini(&note);
    store_close(store);
}

// A signal while a picture is drawn ends the drawing program, and the folder is as it was.
static void test_interrupted(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct interrupt interrupt;
    struct str note = {0};
    char dir[128], path[160], *index = NULL;
    struct store *store = made(f->path, small(NULL));
    fake_gnuplot(f, "#!/bin/sh\nkill -TERM $PPID\nsleep 1000\n", path, sizeof path);
    struct report_options options =
        report_to(f, dir, REPORT_HTML | REPORT_PNG | REPORT_CSV, path, 600000);
    interrupt_begin(&interrupt);
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_INTERRUPTED);
    interrupt_end(&interrupt);
    assert_true(interrupt.arrived);
    assert_null(index);
    assert_int_not_equal(access(dir, F_OK), 0);
    store_close(store);
}

static void check_program(const char *program, enum status status, const char *message)
{
    struct error err = {0};
    assert_int_equal(gnuplot_check(program, &err), status);
    assert_string_equal(err.message, message);
}

// Asked before anything is written, where a person named the program.
static void test_a_program_is_there_or_not(void **state)
{
    (void)state;
    check_program("sh", OK, "");
    check_program("/bin/sh", OK, "");
    check_program("", ERR_USAGE, "a program is expected");
    check_program("no-such-program", ERR_USAGE, "no-such-program: no such program");
    check_program("/bin", ERR_USAGE, "/bin: no such program");
    check_program("./Makefile", ERR_USAGE, "./Makefile: no such program");
}

// A relative path is of the folder the program was called in, not of the one gnuplot works in.
static void test_gnuplot_by_a_relative_path(void **state)
{
    struct fixture *f = *state;
    struct str note = {0};
    char path[160], here[512];
    struct store *store = made(f->path, small(NULL));
    fake_gnuplot(f, "#!/bin/sh\necho 'line 7: it was found' >&2\nexit 1\n", path, sizeof path);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(f->dir), 0);
    char *page = page_of_status(f, store, "./fake", 5000, ERR_IO, &note);
    assert_int_equal(chdir(here), 0);
    assert_non_null(strstr(str_text(&note), "it was found"));
    free(page);
    str_fini(&note);
    store_close(store);
}

// The working folder of a report that was killed is removed by the next; one of a live process stays.
static void test_leftovers_are_swept(void **state)
{
    struct fixture *f = *state;
    struct str note = {0};
    char gone[160], alive[160], file[200], dir[128];
    struct store *store = made(f->path, small(NULL));
    snprintf(dir, sizeof dir, "%s/out", f->dir);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    snprintf(gone, sizeof gone, "%s/.report.tmp-%d-0123456789abcdef", dir, (int)child);
    snprintf(alive, sizeof alive, "%s/.report.tmp-%d-0123456789abcdef", dir, (int)getppid());
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(mkdir(gone, 0755), 0);
    assert_int_equal(mkdir(alive, 0755), 0);
    snprintf(file, sizeof file, "%s/x.svg", gone);
    FILE *left = fopen(file, "w");
    assert_non_null(left);
    fclose(left);
    char *page = page_of(f, store, "no-such-program", 300, &note);
    assert_int_not_equal(access(gone, F_OK), 0);
    assert_int_equal(access(alive, F_OK), 0);
    assert_int_equal(rmdir(alive), 0);
    assert_int_equal(files_in(dir, ".svg"), 0); // and no working folder of its own
    free(page);
    str_fini(&note);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_gnuplot_missing),
        fixture_test(test_gnuplot_is_no_program),
        fixture_test(test_gnuplot_hangs),
        fixture_test(test_gnuplot_fails),
        fixture_test(test_gnuplot_dies),
        fixture_test(test_gnuplot_lies),
        fixture_test(test_half_a_picture_is_none),
        fixture_test(test_half_an_svg_is_none),
        fixture_test(test_a_picture_that_cannot_be_read),
        fixture_test(test_a_broken_disk),
        fixture_test(test_a_picture_that_did_not_reach_the_disk),
        fixture_test(test_only_pictures),
        fixture_test(test_needed_pictures),
        fixture_test(test_interrupted),
        cmocka_unit_test(test_a_program_is_there_or_not),
        fixture_test(test_gnuplot_by_a_relative_path),
        fixture_test(test_leftovers_are_swept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
