// interrupt.c - polls with sigpending, and takes pending signals with sigwait.
#include "base/interrupt.h"

#include <stddef.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDING = sizeof ending / sizeof *ending };

void interrupt_set(sigset_t *out)
{
    sigemptyset(out);
    for (int i = 0; i < ENDING; i++)
        sigaddset(out, ending[i]);
}

// A signal that the parent had ignored (nohup, a shell's background job) stays ignored. Linux keeps even
// those pending while they are blocked.
static bool ignored(int signal)
{
    struct sigaction action;
    return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void wanted_set(sigset_t *out)
{
    sigemptyset(out);
    for (int i = 0; i < ENDING; i++)
        if (!ignored(ending[i]))
            sigaddset(out, ending[i]);
}

void interrupt_begin(struct interrupt *in)
{
    sigset_t set;
    wanted_set(&set);
    in->arrived = false;
    pthread_sigmask(SIG_BLOCK, &set, &in->before);
}

bool interrupt_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    for (int i = 0; i < ENDING; i++)
        if (sigismember(&pending, ending[i]) == 1 && !ignored(ending[i]))
            return true;
    return false;
}

enum status interrupt_check(struct error *err)
{
    return interrupt_pending() ? FAIL(err, ERR_INTERRUPTED, "stopped") : OK;
}

static void take_pending(struct interrupt *in)
{
    sigset_t set;
    int which = 0;
    wanted_set(&set);
    while (interrupt_pending()) {
        sigwait(&set, &which);
        in->arrived = true;
    }
}

void interrupt_accept(struct interrupt *in)
{
    sigset_t set;
    wanted_set(&set);
    take_pending(in);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

// Also takes a signal of the last moment: the work was done, or the caller already knows.
void interrupt_end(struct interrupt *in)
{
    take_pending(in);
    pthread_sigmask(SIG_SETMASK, &in->before, NULL);
}

void interrupt_hold_stop(void)
{
    sigset_t set;
    sigemptyset(&set);
    if (!ignored(SIGTSTP))
        sigaddset(&set, SIGTSTP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool interrupt_take_stop(void)
{
    sigset_t set;
    int which = 0;
    sigpending(&set);
    if (sigismember(&set, SIGTSTP) != 1 || ignored(SIGTSTP))
        return false;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigwait(&set, &which);
    return true;
}

static void do_nothing(int signal)
{
    (void)signal;
}

// Uses a handler, not SIG_IGN, so that programs started from here get the default action back.
void interrupt_spare_writes(void)
{
    struct sigaction action = {.sa_handler = do_nothing, .sa_flags = SA_RESTART};
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}
