// test_devices.c - device words, finding and opening, and that every call reaches the kind's own table.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "tests/device/pretend.h"

static void the_list_has_every_kind(void **state)
{
    (void)state;
    struct device_info list[DEVICES_MAX];
    assert_int_equal(device_list(list, DEVICES_MAX), 4);
    static const char *const names[] = {"cpu", "cuda:0", "cuda:1", "metal"};
    static const enum device_kind kinds[] = {DEVICE_HOST, DEVICE_CUDA, DEVICE_CUDA, DEVICE_METAL};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(list[i].name, names[i]);
        assert_int_equal(list[i].kind, kinds[i]);
        assert_int_equal(list[i].available, list[i].reason[0] == '\0');
    }
    assert_string_equal(list[3].reason, "no Metal here");
    for (size_t max = 0; max < 4; max++)
        assert_int_equal(device_list(list, max), max);
}

static void words_are_known(void **state)
{
    (void)state;
    static const char *const known[] = {"cpu", "cuda", "cuda:0", "cuda:17", "metal"};
    static const char *const unknown[] = {
        "",        "cp",     "cpu:0", "cuda:",   "cuda:x", "cuda:00",
        "cuda:1x", "metal2", "CPU",   "cuda: 1", "auto",   "cuda:11111111111111111111111111111111"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!device_word_known(known[i]))
            fail_msg("%s", known[i]);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (device_word_known(unknown[i]))
            fail_msg("%s", unknown[i]);
    assert_int_equal(device_word_kind("cuda:3"), DEVICE_CUDA);
    assert_int_equal(device_word_kind("gpu"), DEVICE_KINDS);

    assert_true(device_word_matches("cuda:1", "cuda"));
    assert_true(device_word_matches("cuda:1", "cuda:1"));
    assert_false(device_word_matches("cuda:1", "cuda:11"));
    assert_false(device_word_matches("cuda:11", "cuda:1"));
    assert_false(device_word_matches("cpu", "c"));

    const char *const *words;
    assert_int_equal(device_words(&words), 3);
    assert_string_equal(words[1], "cuda");
}

static void a_word_finds_its_device(void **state)
{
    (void)state;
    struct error err = {0};
    struct device_info info;
    assert_int_equal(device_find("cuda", &info, &err), OK);
    assert_string_equal(info.name, "cuda:0");
    assert_true(info.available);
    assert_int_equal(device_find("cuda:1", &info, &err), OK);
    assert_string_equal(info.reason, "it is lost");
    assert_int_equal(device_find("cuda:7", &info, &err), OK);
    assert_string_equal(info.name, "cuda:7");
    assert_int_equal(info.kind, DEVICE_CUDA);
    assert_false(info.available);
    assert_string_equal(info.reason, "no such device here");
    assert_int_equal(device_find("mtal", &info, &err), ERR_USAGE);
    assert_string_equal(err.message, "unknown device 'mtal': did you mean 'metal'?");
    error_clear(&err);
    assert_int_equal(device_find("accelerator", &info, &err), ERR_USAGE);
    assert_string_equal(err.message, "unknown device 'accelerator' (known: cpu, cuda, metal)");
}

static void what_is_not_there_does_not_open(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum status code;
        const char *message;
    } rows[] = {
        {"cuda:1", ERR_UNSUPPORTED, "device cuda:1: it is lost"},
        {"cuda:9", ERR_UNSUPPORTED, "device cuda:9: no such device here"},
        {"metal", ERR_UNSUPPORTED, "device metal: no Metal here"},
        {"cqu", ERR_USAGE, "unknown device 'cqu': did you mean 'cpu'?"},
    };
    struct device_options options = {.threads = 1, .isa = ISA_ALL};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        struct device *device = (struct device *)&options;
        assert_int_equal(device_open(rows[i].word, &options, &device, &err), rows[i].code);
        assert_string_equal(err.message, rows[i].message);
        assert_null(device);
    }
    device_close(NULL);
}

static void options_cut_the_tiers(void **state)
{
    (void)state;
    struct device *all = pretend_opened("cuda", ISA_ALL), *old = pretend_opened("cuda:0", ISA_SM80);
    assert_int_equal(device_target(all).where, DEVICE_CUDA);
    assert_int_equal(device_target(all).isa, ISA_SM80 | ISA_SM90);
    assert_int_equal(device_target(old).isa, ISA_SM80);
    assert_int_equal(pretend.isa, ISA_SM80);
    device_close(old);
    device_close(all);
    assert_int_equal(pretend.opened, pretend.closed);
}

static int launch(void *native, void *arg)
{
    assert_ptr_equal(native, &pretend);
    pretend.launched += *(int *)arg;
    return pretend.code;
}

static void calls_reach_the_kind(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda", ISA_ALL);
    assert_string_equal(device_info(device)->description, "pretend GPU");
    assert_null(device_pool(device));
    pretend.now_ns = 12345;
    pretend.waits_ns = 67;
    assert_int_equal(device_now_ns(device), 12345);
    assert_int_equal(device_wait_ns(device), 67);
    assert_int_equal(device_memory(device).available_bytes, PRETEND_MEMORY / 2);
    assert_null(device_alloc(device, PRETEND_MEMORY + 1));

    char in[4] = "abc", out[4] = "";
    void *there = device_alloc(device, sizeof in);
    assert_int_equal(device_copy_in(device, there, in, sizeof in, &err), OK);
    assert_int_equal(device_copy_out(device, out, there, sizeof in, &err), OK);
    assert_string_equal(out, "abc");
    device_free(device, there);
    device_free(device, NULL);

    struct device_queue *queue = NULL;
    int step = 3;
    assert_int_equal(device_queue_create(device, &queue, &err), OK);
    assert_int_equal(device_queue_submit(queue, launch, &step, &err), OK);
    assert_int_equal(device_queue_wait(queue, &err), OK);
    assert_int_equal(pretend.launched, 3);
    assert_int_equal(pretend.waited, 1);
    device_queue_destroy(queue);
    device_queue_destroy(NULL);
    device_close(device);
}

// A launch that fails for memory ends a cell as out of memory, which prunes larger ones; any other is a failure.
static void a_launch_fails_for_memory_or_not(void **state)
{
    (void)state;
    static const struct {
        int code;
        enum status status;
        const char *message;
    } rows[] = {
        {7, ERR_IO, "device cuda:0: a kernel could not be launched: too many blocks"},
        {PRETEND_NO_MEMORY, ERR_NOMEM, "device cuda:0: a kernel could not be launched: no room"},
    };
    struct device *device = pretend_opened("cuda", ISA_ALL);
    struct device_queue *queue = NULL;
    struct error err = {0};
    int step = 1;
    assert_int_equal(device_queue_create(device, &queue, &err), OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pretend.code = rows[i].code;
        assert_int_equal(device_queue_submit(queue, launch, &step, &err), rows[i].status);
        assert_string_equal(err.message, rows[i].message);
        error_clear(&err);
    }
    pretend.code = 0;
    assert_int_equal(device_launch_failed(device, 7, "bad shape", &err), ERR_IO);
    assert_non_null(strstr(err.message, "bad shape")); // the launcher's words win
    device_queue_destroy(queue);
    device_close(device);
}

// Members of the table that a kind leaves out have the meaning that ops.h gives them.
static void what_a_kind_leaves_out(void **state)
{
    (void)state;
    struct device *device = pretend_opened("cpu", ISA_ALL);
    struct device_vitals v = device_vitals(device);
    assert_true(isnan(v.clock_hz) && isnan(v.memory_clock_hz) && isnan(v.power_w) &&
                isnan(v.temperature_c));
    assert_int_equal(v.hold, DEVICE_HOLD_NONE);
    struct device_clock_tie tie = device_clock_tie(device);
    assert_int_equal(tie.ahead_ns, 0);
    assert_int_equal(tie.uncertain_ns, 0);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_has_every_kind),
        cmocka_unit_test(words_are_known),
        cmocka_unit_test(a_word_finds_its_device),
        cmocka_unit_test(what_is_not_there_does_not_open),
        cmocka_unit_test(options_cut_the_tiers),
        cmocka_unit_test(calls_reach_the_kind),
        cmocka_unit_test(a_launch_fails_for_memory_or_not),
        cmocka_unit_test(what_a_kind_leaves_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
