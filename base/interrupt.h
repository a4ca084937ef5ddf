// interrupt.h - blocks the signals that end a program, and polls them where a call can stop cleanly.
//
// There is no handler and no global: the system keeps a pending signal. The pool's threads (base/pool.h) never receive
// these signals, so they stay pending for the thread that polls.
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

#include "base/status.h"

struct interrupt {
    sigset_t before; // the thread's previous mask
    bool arrived;    // whether a signal arrived
};

void interrupt_set(sigset_t *out); // SIGINT, SIGTERM, SIGHUP and SIGQUIT
// Blocks these signals, except ignored ones: nohup's SIGHUP stays ignored.
void interrupt_begin(struct interrupt *in);
bool interrupt_pending(void); // whether one of them is pending
// ERR_INTERRUPTED, "stopped", when one is. For whatever may take longer than a person waits.
enum status interrupt_check(struct error *err);
// Call after the first signal. A second one then ends the program at once, by the default action.
void interrupt_accept(struct interrupt *in);
// Takes a pending signal (in->arrived) and restores the signals' previous actions.
void interrupt_end(struct interrupt *in);

// For a program that stops its children together with itself: also holds back Ctrl-Z (SIGTSTP) between begin and end.
// interrupt_end restores the mask. interrupt_take_stop takes a pending Ctrl-Z and returns whether there was one. The
// caller then stops itself.
void interrupt_hold_stop(void);
bool interrupt_take_stop(void);

// For the whole program: a closed pipe (SIGPIPE) or a file at its size limit (SIGXFSZ) makes a write fail instead of
// ending the process. The process can then report one line and remove its files.
void interrupt_spare_writes(void);

#endif
