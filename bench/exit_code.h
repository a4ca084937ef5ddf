// exit_code.h - what the program's exit says: the numbers that scripts and CI read.
#ifndef BENCH_EXIT_CODE_H
#define BENCH_EXIT_CODE_H

enum exit_code {
    EXIT_FINE = 0,        // skips included
    EXIT_ERROR = 1,       // usage or internal error
    EXIT_CELL_FAILED = 4, // a cell ended in wrong, oom, timeout, crashed or failed
    EXIT_INTERRUPTED = 130,
};

#endif
