// test_home.c - data found from the executable, and the user's folders from the environment.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/os.h"

static void data_is_found_from_any_directory(void **state)
{
    (void)state;
    char *path = home_find("models/reference/config.json");
    assert_non_null(path);
    assert_int_equal(path[0], '/');
    assert_true(file_exists(path));
    free(path);
    path = home_find("models"); // folders too
    assert_non_null(path);
    free(path);
    assert_null(home_find("models/no-such-model"));
    assert_null(home_find("")); // an empty argument is not the folder of all
}

static void expect_dirs(const char *data, const char *cache)
{
    struct error err = {0};
    char *path = NULL;
    assert_int_equal(home_data_dir(&path, &err), OK);
    assert_string_equal(path, data);
    free(path);
    assert_int_equal(home_cache_dir(&path, &err), OK);
    assert_string_equal(path, cache);
    free(path);
}

static void names_of_a_folder_are_sorted(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct words words = {0};
    bool smoke = false;
    words_add(&words, "zero"); // what was there stays in front
    home_names("suites", ".conf", true, &arena, &words);
    home_names("models/no-such-folder", ".json", true, &arena, &words);
    assert_string_equal(words.items[0], "zero");
    for (size_t i = 1; i < words.count; i++) {
        smoke |= strcmp(words.items[i], "suites/smoke.conf") == 0;
        assert_true(i == 1 || strcmp(words.items[i - 1], words.items[i]) < 0);
    }
    assert_true(smoke);
    words.count = 0;
    home_names("models/shapes", ".json", false, &arena, &words);
    assert_true(words.count > 10);
    assert_string_equal(words.items[0], "bloom-7b1");
    arena_fini(&arena);
}

static void xdg_variables_win_over_home(void **state)
{
    (void)state;
    setenv("HOME", "/home/x", 1);
    setenv("XDG_DATA_HOME", "/data", 1);
    setenv("XDG_CACHE_HOME", "/cache", 1);
    expect_dirs("/data/ridge", "/cache/ridge");
    char data[128] = "/home/x/", cache[128] = "/home/x/";
    strcat(strcat(data, os_user_data_folder()), "/ridge");
    strcat(strcat(cache, os_user_cache_folder()), "/ridge");
    setenv("XDG_DATA_HOME", "relative/is/ignored", 1);
    unsetenv("XDG_CACHE_HOME");
    expect_dirs(data, cache);
}

static void without_a_home_the_variables_are_named(void **state)
{
    (void)state;
    struct error err = {0};
    char *path = NULL;
    unsetenv("HOME");
    unsetenv("XDG_DATA_HOME");
    assert_int_equal(home_data_dir(&path, &err), ERR_USAGE);
    assert_null(path);
    assert_non_null(strstr(err.message, "XDG_DATA_HOME"));
}

static void a_program_is_a_path_or_in_one(void **state)
{
    (void)state;
    setenv("PATH", "/no/such/folder::/bin", 1);
    assert_true(home_has_program("sh"));
    assert_true(home_has_program("/bin/sh"));
    assert_false(home_has_program(""));
    assert_false(home_has_program("no-such-program"));
    assert_false(home_has_program("Makefile")); // in the folder "", which is this one; no program
    assert_false(home_has_program("/bin"));
    setenv("PATH", "/no/such/folder", 1);
    assert_false(home_has_program("sh"));
    unsetenv("PATH");
    assert_true(home_has_program("sh"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_is_found_from_any_directory),
        cmocka_unit_test(names_of_a_folder_are_sorted),
        cmocka_unit_test(xdg_variables_win_over_home),
        cmocka_unit_test(without_a_home_the_variables_are_named),
        cmocka_unit_test(a_program_is_a_path_or_in_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
