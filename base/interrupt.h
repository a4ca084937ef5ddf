// interrupt.h - SIGINT and SIGTERM blocked and remembered, then asked for where a call can stop cleanly.
//
// Nothing is handled, so there is no handler and no global: a pending signal is state that the system keeps.
// The pool's threads (base/pool.h) never take these signals, so that they wait for whoever asks.
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

struct interrupt {
    sigset_t before; // the thread's mask
    bool told;       // a signal came
};

void interrupt_set(sigset_t *out); // the two signals
void interrupt_begin(struct interrupt *in);
bool interrupt_pending(void); // a SIGINT or SIGTERM waits
// After the first: from now on a second one ends the program at once, as it does by default.
void interrupt_accept(struct interrupt *in);
// What came is taken (in->told); from now on a signal does what it did before.
void interrupt_end(struct interrupt *in);

#endif
