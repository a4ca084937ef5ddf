// pid.h - the number of a process that is no more, for names that killed processes leave behind.
#ifndef TESTS_PID_H
#define TESTS_PID_H

#include <sys/wait.h>
#include <unistd.h>

static inline pid_t gone_pid(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}

#endif
