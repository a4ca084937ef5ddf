// test_quantize.c - `bench quantize` as a person calls it, and what `bench model info` says of the result.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/cli/fixture.h"

extern const struct command command_quantize, command_model_info, command_generate;

enum { OUT_BYTES = 1 << 16 };

static json_t *json_of(const struct command *command, const char *const *words)
{
    static char out[OUT_BYTES];
    struct error err = {0};
    json_error_t where;
    enum exit_code code = run_command(command, words, out, sizeof out, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(code, EXIT_FINE);
    json_t *root = json_loads(out, 0, &where);
    assert_non_null(root);
    return root;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_quantize_and_look(void **state)
{
    (void)state;
    char dir[] = "/tmp/ridge-quantize-XXXXXX", out[64], command[96];
    assert_non_null(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/made", dir);
    const char *make[] = {"models/reference", "--scheme", "int4-rtn", "--group", "64", "-o", out,
                          "--json",           NULL};
    json_t *made = json_of(&command_quantize, make);
    assert_string_equal(text_of(made, "layout"), "AutoAWQ gemm, 4 bits, groups of 64, zero points");
    assert_true(json_integer_value(json_object_get(made, "bytes")) <
                json_integer_value(json_object_get(made, "source_bytes")));
    json_decref(made);

    const char *look[] = {out, "--json", NULL};
    json_t *info = json_of(&command_model_info, look);
    const json_t *quantization = json_object_get(info, "quantization");
    assert_string_equal(text_of(quantization, "method"), "awq");
    assert_int_equal(json_integer_value(json_object_get(quantization, "bits")), 4);
    assert_int_equal(json_integer_value(json_object_get(quantization, "group")), 64);
    assert_true(json_is_true(json_object_get(quantization, "zero_points")));
    assert_int_equal(json_integer_value(json_object_get(info, "parameters")), 7344384);
    json_decref(info);

    char printed[OUT_BYTES];
    struct error err = {0};
    assert_int_equal(run_command(&command_quantize, make, printed, sizeof printed, &err),
                     EXIT_ERROR); // it is there now
    assert_non_null(strstr(err.message, "exists already"));
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void refuse(const char *const *words, const char *message)
{
    char out[1024];
    struct error err = {0};
    assert_int_equal(run_command(&command_quantize, words, out, sizeof out, &err), EXIT_ERROR);
    if (!strstr(err.message, message))
        fail_msg("'%s' does not say '%s'", err.message, message);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    refuse((const char *[]){"models/reference", "-o", "/tmp/x", NULL}, "--scheme is missing");
    refuse((const char *[]){"models/reference", "--scheme", "int8", NULL}, "-o is missing");
    refuse((const char *[]){"models/reference", "--scheme", "int4-rtn", "--group", "12", "-o",
                            "/tmp/x", NULL},
           "--group 12: must be a multiple of 8");
    refuse((const char *[]){"models/reference", "--scheme", "fp8", "--group", "64", "-o", "/tmp/x",
                            NULL},
           "--group: only int4 has groups");
    refuse((const char *[]){"models/reference", "--scheme", "int8", "--calib", "x", "-o", "/tmp/x",
                            NULL},
           "--calib: only int4-awq calibrates");
    refuse((const char *[]){"models/reference", "--scheme", "int4-awq", "--calib", "nofile", "-o",
                            "/tmp/x", NULL},
           "--calib: nofile: No such file or directory");
    refuse((const char *[]){"models/reference", "--scheme", "bf16", "-o", "/nonexistent/x", NULL},
           "--scheme: no layout to write 'bf16' in (known: int8, fp8, int4-rtn, int4-awq)");
    refuse((const char *[]){"models/reference", "--scheme", "int8", "-o", "/nonexistent/x", NULL},
           "/nonexistent/x");
}

// ---- interrupted --------------------------------------------------------------------------------------

enum { PATIENCE_MS = 60000 };

static int names_in(const char *dir, const char *part)
{
    int count = 0;
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL;
    if (folder)
        closedir(folder);
    return count;
}

// Runs the command in a process of its own, as main does.
static pid_t run_apart(const struct command *command, const char *const *words)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char out[1024];
        struct error err = {0};
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        _exit((int)run_command(command, words, out, sizeof out, &err));
    }
    return pid;
}

// Sends the signal once there is something in `dir` whose name holds `making`, and waits for the end.
static int interrupt_when(pid_t pid, int number, const char *dir, const char *making)
{
    int status = 0;
    for (int waited = 0; waited < PATIENCE_MS && !names_in(dir, making); waited++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(names_in(dir, making), 1);
    kill(pid, number);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// One signal while quantizing, the other while a load calibrates.
static void test_interrupted(void **state)
{
    (void)state;
    char dir[] = "/tmp/ridge-quantize-XXXXXX", out[64], text[64], cache[64], command[96];
    assert_non_null(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/made", dir);
    snprintf(text, sizeof text, "%s/text", dir);
    snprintf(cache, sizeof cache, "%s/ridge/awq", dir);
    setenv("XDG_CACHE_HOME", dir, 1);
    FILE *file = fopen(text, "w");
    assert_non_null(file);
    for (int i = 0; i < 40; i++)
        fprintf(file, "The function %d returns a list of %d values.\n", i, i * 37 % 11);
    fclose(file);
    const char *make[] = {
        "models/reference", "--scheme", "int4-awq", "--calib", text, "-o", out, NULL};
    pid_t pid = run_apart(&command_quantize, make);
    assert_int_equal(interrupt_when(pid, SIGINT, dir, ".tmp-"), EXIT_INTERRUPTED);
    assert_int_equal(names_in(dir, "made"), 0);

    const char *say[] = {"models/reference", "def", "--scheme", "int4-awq", "--calib", text, NULL};
    pid = run_apart(&command_generate, say);
    assert_int_equal(interrupt_when(pid, SIGTERM, cache, ".making-"), EXIT_INTERRUPTED);
    assert_int_equal(names_in(cache, ""), 0);
    unsetenv("XDG_CACHE_HOME");
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize_and_look),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
