// interrupt.c - sigpending, and sigwait to take what is pending.
#include "base/interrupt.h"

#include <stddef.h>

void interrupt_set(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGTERM);
}

void interrupt_begin(struct interrupt *in)
{
    sigset_t set;
    interrupt_set(&set);
    in->told = false;
    pthread_sigmask(SIG_BLOCK, &set, &in->before);
}

bool interrupt_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1;
}

static void take_pending(struct interrupt *in)
{
    sigset_t set;
    int which = 0;
    interrupt_set(&set);
    while (interrupt_pending()) {
        sigwait(&set, &which);
        in->told = true;
    }
}

void interrupt_accept(struct interrupt *in)
{
    sigset_t set;
    interrupt_set(&set);
    take_pending(in);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

// What came in the last moment is taken too: the work was over, or has been told already.
void interrupt_end(struct interrupt *in)
{
    take_pending(in);
    pthread_sigmask(SIG_SETMASK, &in->before, NULL);
}
