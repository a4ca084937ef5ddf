// pending.h - a signal that is pending, as after Ctrl-C.
#ifndef TESTS_PENDING_H
#define TESTS_PENDING_H

#include <signal.h>

#include "base/interrupt.h"

// Until interrupt_end.
static inline void pending_begin(struct interrupt *in, int number)
{
    signal(number, SIG_DFL);
    interrupt_begin(in);
    raise(number);
}

#endif
