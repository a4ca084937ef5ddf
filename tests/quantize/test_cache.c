// test_cache.c - the cache of calibrated models: keys, whole entries or none, damage, two at once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/quantize/cache.h"

static const struct calib_cache_recipe recipe = {
    .algorithm = "awq 1", .parameters = "group 128", .model = "aa", .text = "bb"};

struct fixture {
    char dir[64], key[65];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {0};
    strcpy(f->dir, "/tmp/ridge-test-cache-XXXXXX");
    log_set_level(LOG_ERROR);
    if (!mkdtemp(f->dir) || calib_cache_key(&recipe, f->key, &err) != OK)
        return -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    file_remove_tree(f->dir, &err);
    free(f);
    return 0;
}

static void ok(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->message);
}

static int names_in(const char *dir)
{
    int count = 0;
    DIR *folder = opendir(dir);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void put(const char *dir, const char *name, const char *text)
{
    struct error err = {0};
    char *path = file_join(dir, name);
    ok(file_write(path, text, strlen(text), &err), &err);
    free(path);
}

// Begins an entry and fills it with two files.
static char *begin(const struct fixture *f)
{
    struct error err = {0};
    char *making = NULL;
    ok(calib_cache_begin(f->dir, f->key, &making, &err), &err);
    char *model = file_join(making, "tiny");
    ok(file_make_dirs(model, &err), &err);
    put(model, "config.json", "{}");
    put(model, "model.safetensors", "weights");
    free(model);
    return making;
}

static char *commit(const struct fixture *f, char *making)
{
    struct error err = {0};
    char *path = NULL;
    ok(calib_cache_commit(f->dir, f->key, making, "tiny", &recipe, 12.5e9, &path, &err), &err);
    free(making);
    return path;
}

static char *find(const struct fixture *f, double *time_ns)
{
    struct error err = {0};
    char *path = NULL;
    ok(calib_cache_find(f->dir, f->key, &path, time_ns, &err), &err);
    return path;
}

static void the_key_changes_with_each_part(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct calib_cache_recipe other[5];
    char keys[5][65];
    for (int i = 0; i < 5; i++)
        other[i] = recipe;
    other[0].algorithm = "awq 2";
    other[1].parameters = "group 64";
    strcpy(other[2].model, "ab");
    strcpy(other[3].text, "bc");
    for (int i = 0; i < 5; i++)
        ok(calib_cache_key(&other[i], keys[i], &err), &err);
    assert_string_equal(keys[4], f->key);
    for (int i = 0; i < 4; i++) {
        assert_string_not_equal(keys[i], f->key);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(keys[i], keys[j]);
    }
}

static void an_entry_is_found_when_it_is_whole(void **state)
{
    const struct fixture *f = *state;
    double time_ns = 0;
    assert_null(find(f, &time_ns));
    char *making = begin(f);
    assert_null(find(f, &time_ns)); // not yet
    char *made = commit(f, making), *found = find(f, &time_ns);
    assert_non_null(found);
    assert_string_equal(found, made);
    assert_true(file_is_dir(found));
    assert_true(time_ns == 12.5e9);
    assert_int_equal(names_in(f->dir), 1);
    free(made);
    free(found);
}

// Each kind of damage: the entry is not found, is gone, and can be made again.
static void damage_is_noticed(void **state)
{
    const struct fixture *f = *state;
    double time_ns;
    for (int kind = 0; kind < 6; kind++) {
        char path[256], *made = commit(f, begin(f));
        switch (kind) {
        case 0: // a bit
            put(made, "model.safetensors", "weighty");
            break;
        case 1: // cut short
            put(made, "model.safetensors", "weigh");
            break;
        case 2: // a file is gone
            snprintf(path, sizeof path, "%s/config.json", made);
            remove(path);
            break;
        case 3: // one too many
            put(made, "model-2.safetensors", "more");
            break;
        case 4:
            snprintf(path, sizeof path, "%s/%s", f->dir, f->key);
            put(path, "calibration.json", "{\"key\": 3}");
            break;
        default:
            snprintf(path, sizeof path, "%s/%s/calibration.json", f->dir, f->key);
            remove(path);
        }
        assert_null(find(f, &time_ns));
        assert_int_equal(names_in(f->dir), 0);
        free(made);
    }
    char *made = commit(f, begin(f)), *found = find(f, &time_ns);
    assert_non_null(found);
    free(made);
    free(found);
}

// A second process makes the same entry meanwhile: both get a whole one, nothing else is left.
static void two_at_once_do_no_harm(void **state)
{
    const struct fixture *f = *state;
    double time_ns = 0;
    char *mine = begin(f);
    pid_t other = fork();
    if (other == 0) {
        char *made = commit(f, begin(f));
        _exit(made && file_is_dir(made) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    char *made = commit(f, mine), *found = find(f, &time_ns);
    assert_string_equal(made, found);
    assert_int_equal(names_in(f->dir), 1);
    free(made);
    free(found);
}

// What a killed process leaves goes when the next one begins; what a living one makes stays.
static void leftovers_are_swept(void **state)
{
    const struct fixture *f = *state;
    pid_t killed = fork();
    if (killed == 0) {
        free(begin(f));
        _exit(0);
    }
    assert_int_equal(waitpid(killed, NULL, 0), killed);
    assert_int_equal(names_in(f->dir), 1);
    char living[192];
    snprintf(living, sizeof living, "%s/%s.making-%ld", f->dir, f->key, (long)getppid());
    assert_int_equal(mkdir(living, 0777), 0);
    char *making = begin(f);
    assert_int_equal(names_in(f->dir), 2);
    assert_true(file_is_dir(living) && file_is_dir(making));
    free(making);
}

// A failure on the way (the model's folder is missing) leaves nothing.
static void a_failed_commit_leaves_nothing(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    char *making = NULL, *path = NULL;
    ok(calib_cache_begin(f->dir, f->key, &making, &err), &err);
    assert_int_equal(calib_cache_commit(f->dir, f->key, making, "tiny", &recipe, 1, &path, &err),
                     ERR_IO);
    assert_null(path);
    assert_int_equal(names_in(f->dir), 0);
    free(making);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_key_changes_with_each_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_is_found_when_it_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_at_once_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leftovers_are_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_commit_leaves_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
