// interrupt.h - blocks the signals that end a program, and polls them where a call can stop cleanly.
//
// There is no handler and no global: the system keeps a pending signal. The pool's threads (base/pool.h) never receive
// these signals, so they stay pending for the thread that polls.
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

struct interrupt {
    sigset_t before; // the thread's mask
    bool told;       // a signal arrived
};

void interrupt_set(sigset_t *out); // SIGINT, SIGTERM, SIGHUP and SIGQUIT
// Blocks them, except those that are ignored: nohup's SIGHUP stays ignored.
void interrupt_begin(struct interrupt *in);
bool interrupt_pending(void); // one of them is pending
// Call after the first signal: a second one then ends the program at once, the default.
void interrupt_accept(struct interrupt *in);
// Takes a pending signal (in->told) and restores the signals' previous actions.
void interrupt_end(struct interrupt *in);

// For a program that has to stop its children with itself: between begin and end, Ctrl-Z (SIGTSTP) is held back too.
// interrupt_end restores the mask. interrupt_take_stop returns whether a Ctrl-Z came and takes it. The caller then
// stops itself.
void interrupt_hold_stop(void);
bool interrupt_take_stop(void);

// For the whole program: a reader that is gone (SIGPIPE) and a file that may not grow (SIGXFSZ) make a write fail and
// do not end the process. It then reports one line and removes its files.
void interrupt_spare_writes(void);

#endif
