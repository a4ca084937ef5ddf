// check.c - compares every kernel variant with kernels/ref, and catches variants that crash.
//
// With u = 2^-24 and n terms of a sum S = sum |x| |w|, the tolerance of a product is (4 sqrt(n) + 8) u S. A dot product
// that takes denormals as zero adds its loss. This is a bound in probability: the worst case n u S would hide a lost
// element, whose share of S is 1/n. The tolerances of other operations are next to their checks (check_linear.c,
// check_attention.c, check_vector.c, check_activate.c).
#include "kernels/check.h"

#include <setjmp.h>
#include <signal.h>
// A signal handler takes no argument, so the place to return to must be a global. It is set only while kernel_check_row
// runs, for each thread separately.
static _Thread_local sigjmp_buf *return_point;

static const int caught[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE};
enum { CAUGHT = sizeof caught / sizeof caught[0] };

static void on_signal(int number)
{
    if (return_point)
        siglongjmp(*return_point, number);
    signal(number, SIG_DFL); // a fault of another thread: let it end the program
    raise(number);
}

static const char *signal_name(int number)
{
    return number == SIGILL    ? "SIGILL (an instruction this processor lacks)"
           : number == SIGSEGV ? "SIGSEGV (touched memory beyond a buffer, or wrote an input)"
           : number == SIGBUS  ? "SIGBUS"
                               : "SIGFPE";
}

static void run_case(struct check_case *c)
{
    switch (c->kernel->op) {
    case KOP_GEMV:
    case KOP_GEMM:
        kernel_check_linear(c);
        break;
    case KOP_ATTENTION:
        kernel_check_attention(c);
        break;
    case KOP_SWIGLU:
    case KOP_GELU:
    case KOP_GELU_TANH:
    case KOP_RELU:
    case KOP_SOFTCAP:
        kernel_check_activate(c);
        break;
    case KOP_READ:
    case KOP_COPY:
    case KOP_TRIAD:
    case KOP_PEAK:
        kernel_check_probe(c);
        break;
    default:
        kernel_check_vector(c);
        break;
    }
    kernel_check_canaries(c);
}

static void run_guarded(struct check_case *c)
{
    sigjmp_buf here;
    int number = sigsetjmp(here, 1);
    if (number == 0) {
        return_point = &here;
        run_case(c);
    } else {
        kernel_check_fail(c, "%s", signal_name(number));
    }
    return_point = NULL;
    kernel_check_release(c);
}

void kernel_check_begin(struct check_case *c, const struct kernel *row, const struct kernel *ref,
                        uint64_t seed, int index, struct kernel_check_result *result)
{
    static const enum check_mode modes[] = {CHECK_PLAIN, CHECK_EXTREME, CHECK_PLAIN,
                                            CHECK_INFINITE};
    c->kernel = row;
    c->ref = ref;
    c->result = result;
    c->seed = seed;
    c->index = index;
    c->mode = modes[index % 4];
    c->rng = (struct rng){rng_hash(seed ^ rng_hash((uint64_t)index))};
    c->failed = false;
    c->shape[0] = '\0';
}

void kernel_check_row(const struct kernel *row, const struct kernel *ref, uint64_t seed, int cases,
                      struct kernel_check_result *result)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER}, before[CAUGHT];
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &action, &before[i]);
    *result = (struct kernel_check_result){.kernel = row};
    struct check_case c = {0};
    for (int i = 0; i < cases; i++) {
        kernel_check_begin(&c, row, ref, seed, i, result);
        run_guarded(&c);
        result->cases++;
    }
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &before[i], NULL);
}
