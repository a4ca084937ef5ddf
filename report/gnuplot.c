// gnuplot.c - starts the program, waits at most for its time limit, and reports failures.
//
// Standard error is written to a file in the working folder, not to a pipe, because a hanging child with the pipe open
// could block the reader.

#include "report/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/home.h"
#include "base/interrupt.h"
#include "base/str.h"

enum { ARGS_MAX = 16, EXEC_FAILED = 127, COMPLAINT_MAX = 1 << 16, POLL_NS = 5000000 };

#define COMPLAINT_FILE "gnuplot.err"

// Runs in the child and never returns. `reason`, shared with the parent, is the errno of a failed start.
static void exec_child(const char *program, const char *dir, const char *const *argv, int *reason)
{
    sigset_t ending;
    setpgid(0, 0); // so that a timeout ends its children too
    interrupt_set(&ending);
    sigprocmask(SIG_UNBLOCK, &ending, NULL);
    if (chdir(dir) != 0) {
        *reason = errno;
        _exit(EXEC_FAILED);
    }
    int in = open("/dev/null", O_RDONLY);
    int out = open(COMPLAINT_FILE, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        *reason = errno;
        _exit(EXEC_FAILED);
    }
    execvp(program, (char *const *)(uintptr_t)argv);
    *reason = errno;
    _exit(EXEC_FAILED);
}

static void kill_child(pid_t child)
{
    int status;
    kill(-child, SIGKILL);
    kill(child, SIGKILL); // in case it has no process group yet
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
}

// Waits for the child, and kills its group if the time is up or a signal has arrived.
static enum status wait_child(pid_t child, const struct gnuplot *gnuplot, int *status,
                              struct error *err)
{
    uint64_t deadline = clock_ns() + (uint64_t)gnuplot->timeout_ms * 1000000u;
    const struct timespec pause = {.tv_nsec = POLL_NS};
    for (;;) {
        pid_t done = waitpid(child, status, WNOHANG);
        if (done == child)
            return OK;
        if (done < 0 && errno != EINTR)
            return FAIL_OS(err, errno, "%s", gnuplot->program);
        if (clock_ns() >= deadline || interrupt_pending())
            break;
        nanosleep(&pause, NULL);
    }
    kill_child(child);
    TRY(interrupt_check(err));
    char limit[32];
    return FAIL(err, ERR_TIMEOUT, "%s: no picture after %s, stopped", gnuplot->program,
                format_limit_ns(1e6 * gnuplot->timeout_ms, limit, sizeof limit));
}

// The first line with a message: gnuplot first draws a caret under the place of the error.
static void first_complaint(const char *dir, char *out, size_t out_bytes)
{
    char *path = file_join(dir, COMPLAINT_FILE), *text = NULL;
    size_t size = 0;
    struct error ignored = {0};
    out[0] = '\0';
    if (path && file_read(path, COMPLAINT_MAX, &text, &size, &ignored) == OK)
        for (char *line = text; line && *line;) {
            char *end = strchr(line, '\n');
            size_t length = end ? (size_t)(end - line) : strlen(line);
            const char *words = line + strspn(line, " \t^");
            if (words < line + length && length < out_bytes) {
                memcpy(out, line, length);
                out[length] = '\0';
                if (strstr(out, "line ")) // "script.gp" line 12: ...
                    break;
            }
            line = end ? end + 1 : NULL;
        }
    free(text);
    free(path);
}

static enum status judge(const struct gnuplot *gnuplot, const char *dir, int status, int reason,
                         struct error *err)
{
    char complaint[512];
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return OK;
    if (reason == ENOENT)
        return FAIL(err, ERR_UNSUPPORTED, "%s: no such program", gnuplot->program);
    if (reason != 0)
        return FAIL_OS(err, reason, "%s: cannot be started", gnuplot->program);
    if (WIFSIGNALED(status))
        return FAIL(err, ERR_IO, "%s: ended by signal %d (%s)", gnuplot->program, WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    first_complaint(dir, complaint, sizeof complaint);
    return FAIL(err, ERR_IO, "%s: failed: %s", gnuplot->program,
                complaint[0] ? complaint : "it did not say why");
}

static enum status run_program(const struct gnuplot *gnuplot, const char *program, const char *dir,
                               const char *script, const char *const *args, struct error *err)
{
    const char *argv[ARGS_MAX + 4] = {program, "-c", script};
    for (int i = 0; i < ARGS_MAX && args[i]; i++)
        argv[3 + i] = args[i];
    // Shared memory needs no descriptor, so a shortage of descriptors is reported correctly.
    int *reason =
        mmap(NULL, sizeof *reason, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reason == MAP_FAILED)
        return FAIL_OS(err, errno, "%s: cannot be started", gnuplot->program);
    pid_t child = fork();
    if (child == 0)
        exec_child(program, dir, argv, reason);
    int ended = 0;
    enum status status = child < 0 ? FAIL_OS(err, errno, "%s: cannot be started", gnuplot->program)
                                   : wait_child(child, gnuplot, &ended, err);
    if (status == OK)
        status = judge(gnuplot, dir, ended, *reason, err);
    munmap(reason, sizeof *reason);
    return status;
}

enum status gnuplot_check(const char *program, struct error *err)
{
    if (!*program)
        return FAIL(err, ERR_USAGE, "a program is expected");
    return home_has_program(program) ? OK : FAIL(err, ERR_USAGE, "%s: no such program", program);
}

enum status gnuplot_run(const struct gnuplot *gnuplot, const char *dir, const char *script,
                        const char *const *args, struct error *err)
{
    // The child changes its folder first, so a relative path is made absolute here. A bare name is looked up in PATH.
    bool path = strchr(gnuplot->program, '/') != NULL;
    char *absolute = path ? realpath(gnuplot->program, NULL) : NULL;
    if (path && !absolute)
        return errno == ENOENT ? FAIL(err, ERR_UNSUPPORTED, "%s: no such program", gnuplot->program)
                               : FAIL_OS(err, errno, "%s: cannot be started", gnuplot->program);
    enum status status =
        run_program(gnuplot, absolute ? absolute : gnuplot->program, dir, script, args, err);
    free(absolute);
    return status;
}
