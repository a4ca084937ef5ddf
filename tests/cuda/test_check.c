// test_check.c - every NVIDIA kernel of this GPU against kernels/ref, and launchers that are broken on purpose.
#include "tests/cuda/gpu.h"

#include "kernels/cuda/check.h"
#include "tests/kernels/launcher_row.h"

static void keep_worst(void *user, const struct kernel_check_result *result)
{
    int *failures = user;
    print_message("%-30s %3d cases%s%s\n", result->kernel->name, result->cases,
                  result->failures ? ": " : "", result->reason);
    *failures += result->failures;
}

static void every_row_agrees_with_ref(void **state)
{
    (void)state;
    NEED_GPU();
    struct error err = {0};
    int failures = 0;
    gpu_ok(kernel_check("*", gpu, gpu_seed, 0, keep_worst, &failures, &err), &err);
    assert_int_equal(failures, 0);
}

// ---- broken launchers: each hands the right kernel a wrong job, or damages what it leaves ---------------

static void forgets_the_bias(const struct cuda_linear *job, void *on)
{
    struct cuda_linear wrong = *job;
    wrong.bias = NULL;
    gpu_launcher(KOP_LINEAR, job->layout.type, DT_BF16).linear(&wrong, on);
}

static void forgets_to_accumulate(const struct cuda_linear *job, void *on)
{
    struct cuda_linear wrong = *job;
    wrong.accumulate = false;
    gpu_launcher(KOP_LINEAR, job->layout.type, DT_BF16).linear(&wrong, on);
}

static void leaves_the_last_token(const struct cuda_linear *job, void *on)
{
    struct cuda_linear wrong = *job;
    wrong.tokens -= job->tokens > 1;
    gpu_launcher(KOP_LINEAR, job->layout.type, DT_BF16).linear(&wrong, on);
}

// Reads rows of x one element late: the last one reaches past its end.
static void reads_past_the_end(const struct cuda_linear *job, void *on)
{
    struct cuda_linear wrong = *job;
    wrong.x = (const char *)job->x + 16;
    gpu_launcher(KOP_LINEAR, job->layout.type, DT_BF16).linear(&wrong, on);
}

// A smaller window needs no more memory than the job has for its splits.
static void halves_the_window(const struct cuda_attention *job, void *on)
{
    struct cuda_attention wrong = *job;
    wrong.window = job->window > 1 ? job->window / 2 : job->window;
    gpu_launcher(KOP_ATTENTION, DT_BF16, DT_F32).attention(&wrong, on);
}

static void writes_past_the_end(const struct cuda_add *job, void *on)
{
    struct cuda_add wrong = *job;
    wrong.n++;
    gpu_launcher(KOP_ADD, DT_F32, DT_F32).add(&wrong, on);
}

static void writes_its_input(const struct cuda_add *job, void *on)
{
    struct cuda_softcap wrong = {.y = (float *)(uintptr_t)job->y, .n = 1, .cap = 0.01f};
    gpu_launcher(KOP_ADD, DT_F32, DT_F32).add(job, on);
    gpu_launcher(KOP_SOFTCAP, DT_F32, DT_F32).softcap(&wrong, on);
}

static const struct launcher_row broken[] = {
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, forgets_the_bias, "bias"),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, forgets_to_accumulate, "accumulate"),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_I4, DT_BF16, leaves_the_last_token, "y["),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, reads_past_the_end, "y["),
    LAUNCHER_ROW(attention, KOP_ATTENTION, DT_BF16, DT_F32, halves_the_window, "window"),
    LAUNCHER_ROW(add, KOP_ADD, DT_F32, DT_F32, writes_past_the_end,
                 "seed"), // of a row, or of them all
    LAUNCHER_ROW(add, KOP_ADD, DT_F32, DT_F32, writes_its_input, "an input"),
};

static void broken_launchers_are_found(void **state)
{
    (void)state;
    NEED_GPU();
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct kernel_check_result result;
        struct error err = {0};
        gpu_ok(cuda_check_row(&broken[i].kernel, gpu, gpu_seed, 16, &result, &err), &err);
        print_message("%-24s %2d of %d: %s\n", broken[i].kernel.name, result.failures, result.cases,
                      result.reason);
        if (result.failures == 0 || !strstr(result.reason, broken[i].reason))
            fail_msg("%s: \"%s\" lacks \"%s\"", broken[i].kernel.name, result.reason,
                     broken[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_agrees_with_ref),
        cmocka_unit_test(broken_launchers_are_found),
    };
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
